"""Finds card numbers, so that they are never accepted, stored or logged.

A number is a card number if it has the first digits of an issuer, one of the lengths of that issuer's cards, and a Luhn
check digit (ISO/IEC 7812-1). Of all numbers with the right first digits and length, one in ten has the check digit. So
the place decides too:

- Free text, such as a name or a reason, must hold no card number at all (`has_card_number`).
- A code, such as an article number or an idempotency key, is often a long number. It must hold nothing that is written
  as a card number: grouped like on a card, in digits that are not ASCII, beside a word such as "card" or a date, or
  as the data of a card's magnetic track (`is_written_as_card`). The networks' published test numbers are found in
  codes in any notation, so that a test with such a number shows that cards are refused.

Before a text is searched it is normalized: compatibility characters (NFKC), digits of all scripts, separators, and
characters that are escaped for URLs, JSON or HTML. Letters next to a number do not hide it. docs/cards.md has the
measured rates.

All searches take linear time, and little of it: a text with very many numbers that could be card numbers counts as one
with a card number. Among so many, one passes by chance.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator

from chassis import identifiers
from chassis.folding import fold, has_escapes, unescaped
from chassis.issuers import ISSUERS, PREFIXES, TEST_NUMBERS, passes_luhn

MAX_PATH = 500
"""The most characters of a request's path that are logged, traced or quoted in a response."""

_MAX_CANDIDATES = 100  # numbers of a text that lack only the check digit
_MAX_STARTS = 150  # places of a text where 13 digits or more begin like a card number
_MIN_IN_CODE = 14  # EAN-13 numbers of German articles begin with 4, and cards of 13 digits are no longer issued

# In folded text, " " is a separator and "\0" invisible. "+" separates too, but also begins phone numbers.
_GAP = r"[ \0+]*+"
_PREFIX = "|".join(
    _GAP.join(re.findall(r"\[.+?\]|[0-9]", prefix))
    for prefixes, _ in ISSUERS.values()
    for prefix in prefixes.split("|")
)
_START = re.compile(rf"(?<![0-9])(?={_PREFIX})(?=([0-9](?:{_GAP}[0-9]){{12,19}}))")
_ANY = re.compile(rf"[0-9](?:{_GAP}[0-9]){{12}}")

# A long number, or one that is filled with zeros, and what may stand after a card number in it: month, year, code.
_LONG = re.compile(r"(?<![0-9])(?:0(?:\0*+[0-9]){15,}|[0-9](?:\0*+[0-9]){19,})")
_DATA = re.compile(
    r"(?:0[1-9]|1[0-2])(?:20)?[2-4][0-9](?:[0-9]{3,4})?|(?:20)?[2-4][0-9](?:0[1-9]|1[0-2])(?:[0-9]{3,4})?|"
)

_FOURS = re.compile(r"4,4,4,[1-4](?:,[1-4])?|4,6,[45]|6,13")  # the lengths of the groups that are embossed on cards
_WORDS = re.compile(
    r"(?<![a-z])(?:cards?|(?:credit|debit)card|card(?:no|num|number)|cc|cc?num|ccn|pan|cv[vc]2?|csc|cid|exp|expir[a-z]{1,6}"
    r"|valid|visa|mastercard|amex|maestro|discover|diners|jcb|unionpay|(?:kredit)?karten?(?:nummer)?|carte|carta|tarjeta"
    r"|kaart|karta|kort)(?![a-z])"
)
_EXPIRY = re.compile(r"[ \0]{1,4}(?:0[1-9]|1[0-2]) ?(?:20)?[2-4][0-9](?![0-9])")
_AFTER_TRACK = re.compile(r"\^|[=d][0-9]{4}")
_NEAR = 24  # characters before and after a number that are searched for a word


def may_have_card_number(text: str) -> bool:
    """Return whether an ASCII text has 13 digits with only separators between, as every card number has.

    This is a fast check for texts that usually have none, and for JSON text. Digits of UUIDs do not count: a request
    with many UUIDs usually has one with 13 such digits. True for all texts that are not ASCII.
    """
    if not text.isascii():
        return True
    if _ANY_ASCII.search(text) is not None and _ANY_ASCII.search(identifiers.without_uuids(text)) is not None:
        return True
    return has_escapes(text) and _ANY.search(fold(unescaped(text))) is not None


_ANY_ASCII = re.compile(r"[0-9](?:[\x00-/:-@\[-`{-\x7f]*+[0-9]){12}")

# In free text, punctuation that folding keeps separates groups of digits, too. In a code it may tell what they are.
_SEPARATING = str.maketrans(dict.fromkeys('!"#$%&();<=>?@[]^{}', " "))


def has_card_number(text: str) -> bool:
    """Return whether free text contains a card number in any notation."""
    return find(text, code=False) is not None


def is_written_as_card(text: str) -> bool:
    """Return whether a code contains something that is written as a card number, or a published test number."""
    return find(text, code=True) is not None


def find(text: str, *, code: bool) -> int | None:
    """Return the position of the first card number in a code or in free text; None if the text has no card number.

    In a text with too many candidates, it is the place up to which candidates were checked.
    """
    if not may_have_card_number(text):
        return None
    found = _first(text, code)
    return _first(unescaped(text), code) if found is None and has_escapes(text) else found


def _first(text: str, code: bool) -> int | None:
    try:
        return next((begin for begin, _, _ in _cards(text, code=code)), None)
    except _TooMany as error:
        return error.at


def mask(text: str) -> str:
    """Return the text with each card number replaced by its last four digits, which PCI DSS 3.4 allows.

    Finds the same as `has_card_number`. In a text with too many candidates, `*` replaces the remaining digits.
    """
    if not may_have_card_number(text):
        return text
    if has_escapes(text):
        text = _masked(text, unescaped(text))
    return _masked(text, text)


def _masked(text: str, searched: str) -> str:
    """Return the text without the card numbers of `searched`, which has the same length."""
    masked, last = list[str](), 0
    try:
        for begin, end, digits in _cards(searched, code=False):
            if begin >= last:
                masked += [text[last:begin], f"[card ...{digits[-4:]}]"]
                last = end
    except _TooMany:
        rest = zip(text[last:], fold(searched[last:]), strict=True)
        return "".join([*masked, *("*" if plain in "0123456789" else char for char, plain in rest)])
    return "".join([*masked, text[last:]])


def masked_start(text: str, length: int) -> str:
    """Return the masked first `length` characters of a text of any size, in time that does not depend on its size.

    If the text is longer, it is cut before a number rather than within, and "..." marks the cut.
    """
    if len(text) <= length:
        return mask(text)
    kept = text[:length]
    folded = fold(unescaped(kept)).translate(_SEPARATING)
    return mask(kept[: len(folded.rstrip("0123456789 \0+"))]) + "..."


def shown(text: object, length: int) -> str:
    """Return a text of another system as it is logged and stored: masked, printable, and cut to about `length`."""
    start = str(text)[: 2 * length]
    return masked_start("".join(char if char.isprintable() else "?" for char in start), length)


def masked_path(path: str) -> str:
    """Return a request's path as logs, traces and responses quote it: masked, and at most `MAX_PATH` characters."""
    return masked_start(path, MAX_PATH)


class _TooMany(Exception):
    """The text has too many numbers that could be card numbers; those before `at` were checked."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


def _cards(text: str, *, code: bool) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and digits of each card number, in the order of their starts.

    It begins and ends where a group of digits does, except for what is packed with other data into one long number.
    Raises _TooMany.
    """
    folded = fold(identifiers.hidden(text))
    if not code:
        folded = folded.translate(_SEPARATING)
    if _ANY.search(folded) is None:
        return
    found = _in_groups(text, folded, code)
    yield from found if code else heapq.merge(found, _packed(folded))


def _packed(folded: str) -> Iterator[tuple[int, int, str]]:
    """Yield each long number that begins with a card number, after zeros, and has other data of a card after it.

    That is another card number, or an expiry date with or without the security code. Raises _TooMany.
    """
    for number, run in enumerate(_LONG.finditer(folded)):
        if number >= _MAX_STARTS:
            raise _TooMany(run.start())
        digits = run.group().replace("\0", "")
        packed = digits.lstrip("0")
        for length in range(min(19, len(packed)), 12, -1):
            card, rest = packed[:length], packed[length:]
            if _is_card(card) and (_DATA.fullmatch(rest) or any(_is_card(rest[:size]) for size in range(13, 20))):
                yield run.start(), run.end(), card
                break


def _is_card(digits: str) -> bool:
    prefixes = PREFIXES.get(len(digits))
    return prefixes is not None and prefixes.match(digits) is not None and passes_luhn(digits)


def _in_groups(text: str, folded: str, code: bool) -> Iterator[tuple[int, int, str]]:
    """Yield the card numbers that begin and end where a group of digits does. Raises _TooMany."""
    tried = 0
    for number, start in enumerate(_START.finditer(folded)):
        if number >= _MAX_STARTS:
            raise _TooMany(start.start())
        window = start[1]
        invisible = "\0" in window
        digits, lengths = "", list[int]()
        for group in window.replace("\0", "").replace("+", " ").split():
            digits += group
            if len(digits) > 19:
                break
            lengths.append(len(group))
            prefixes = PREFIXES.get(len(digits))
            if prefixes is None or not prefixes.match(digits) or (code and not _is_grouping(lengths)):
                continue
            if len(digits) == 13 and folded[start.start() - 1 : start.start()] == "+":
                continue  # a phone number (E.164)
            tried += 1
            if passes_luhn(digits):
                begin, end = start.start(), _end(folded, start.start(), len(digits))
                if code:
                    is_disguised = invisible or not text[begin:end].isascii()
                    is_card = digits in TEST_NUMBERS or _is_marked(folded, begin, end, digits, lengths, is_disguised)
                else:
                    is_card = _is_grouping(lengths) or _has_one_separator(text[begin:end], folded[begin:end])
                if is_card:
                    yield begin, end, digits
                    break
            elif tried > _MAX_CANDIDATES:
                raise _TooMany(start.start())


def _is_grouping(lengths: list[int]) -> bool:
    """Return whether somebody may have written one number in these groups: 4-4-4-4, 4-4-4-1, 2-2-2-..., 1-3-3-3-3-3."""
    if min(lengths) >= 3 or (len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0]):
        return True
    return len(lengths) > 2 and len(set(lengths[1:])) == 1 and lengths[0] <= lengths[1]  # 4,539,578,763,621,486


def _has_one_separator(text: str, folded: str) -> bool:
    """Return whether the same separator stands between all groups, unlike in a time. Lists of numbers have ", "."""
    pairs = zip(text, folded, strict=True)
    gaps = "".join("0" if plain.isdigit() else char for char, plain in pairs if plain != "\0").split("0")
    return len(set(gaps)) == 2 and max(gaps) not in (", ", "; ")


def _is_marked(folded: str, begin: int, end: int, digits: str, lengths: list[int], is_disguised: bool) -> bool:
    """Return whether the notation or the text around a number says that it is a card number."""
    if len(digits) < _MIN_IN_CODE:
        return False
    if is_disguised or _FOURS.fullmatch(",".join(map(str, lengths))):
        return True
    after = folded[end : end + _NEAR]
    if _AFTER_TRACK.match(after) or _EXPIRY.match(after) or folded[max(0, begin - 2) : begin] == "%b":
        return True
    return _WORDS.search(folded[max(0, begin - _NEAR) : begin] + "#" + after) is not None


def _end(folded: str, at: int, count: int) -> int:
    """Return where the first `count` digits from `at` end."""
    while count:
        count -= folded[at] in "0123456789"
        at += 1
    return at
