"""Finds card numbers, so that they are never accepted, stored or logged.

A number is a card number if it has the first digits of an issuer, one of the lengths of that issuer's cards, and a Luhn
check digit (ISO/IEC 7812-1). Of all numbers with the right first digits and length, one in ten has the check digit. So
the place decides too:

- Free text, such as a name or a reason, must hold no card number at all (`has_card_number`).
- A code, such as an article number or an idempotency key, is often a long number. It must hold nothing that is written
  as a card number: grouped like on a card, beside a word such as "card" or an expiry date, or as the data of a card's
  magnetic track (`is_written_as_card`). The networks' published test numbers are found in codes in any notation, so
  that a test with such a number shows that cards are refused.

Before a text is searched it is normalized: compatibility characters (NFKC), digits of all scripts, and separators.
Letters next to a number do not hide it. docs/cards.md has the measured rates.

All searches take linear time, and little of it: a text with very many numbers that could be card numbers counts as one
with a card number. Among so many, one passes by chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from chassis.folding import fold

# Issuer: the first digits of its cards, and the lengths of its card numbers.
_ISSUERS: dict[str, tuple[str, tuple[int, ...]]] = {
    "Visa": ("4", (13, 16, 18, 19)),
    "Mastercard": ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    "American Express": ("3[47]", (15,)),
    "Diners Club": ("30[0-5]|3095|3[689]", (14, 15, 16, 17, 18, 19)),
    "JCB": ("352[89]|35[3-8]", (16, 17, 18, 19)),
    "Discover": ("6011|64[4-9]|65", (16, 17, 18, 19)),
    "Unionpay": ("62|81", (16, 17, 18, 19)),
    "Maestro": ("5[0678]|6304|639|67", (13, 14, 15, 16, 17, 18, 19)),
    "Solo, Switch": ("633", (16, 18, 19)),
    "Mir": ("220[0-4]", (16, 17, 18, 19)),
    "NPCI (India), Elo, Hipercard and others": ("60|82|63[678]", (16, 17, 18, 19)),
    "Troy, Humo, Uzcard": ("9792|9860|8600", (16,)),
}
_PREFIXES = {
    length: re.compile("|".join(prefix for prefix, lengths in _ISSUERS.values() if length in lengths))
    for length in range(13, 20)
}

# The numbers that card networks and their acquirers publish for tests.
_TEST_NUMBERS = frozenset(
    (
        "4111111111111111",
        "4012888888881881",
        "4222222222222",
        "4242424242424242",
        "4000000000000002",
        "4000056655665556",
        "4000000000009995",
        "5555555555554444",
        "5105105105105100",
        "5200828282828210",
        "2223003122003222",
        "2223000048400011",
        "378282246310005",
        "371449635398431",
        "378734493671000",
        "6011111111111117",
        "6011000990139424",
        "6011981111111113",
        "30569309025904",
        "38520000023237",
        "3056930009020004",
        "36227206271667",
        "3530111333300000",
        "3566002020360505",
        "6200000000000005",
        "6205500000000000004",
        "6304000000000000000",
        "6759649826438453",
        "5019717010103742",
        "6331101999990016",
        "6799990100000000019",
        "2200000000000053",
    )
)

MAX_PATH = 500
"""The most characters of a request's path that are logged, traced or quoted in a response."""

_MAX_CANDIDATES = 100  # numbers of a text that lack only the check digit
_MAX_STARTS = 150  # places of a text where 13 digits or more begin like a card number
_MIN_IN_CODE = 14  # EAN-13 numbers of German articles begin with 4, and cards of 13 digits are no longer issued

# In folded text, " " is a separator and "\0" invisible. "+" separates too, but also begins phone numbers.
_GAP = r"[ \0+]*+"
_PREFIX = "|".join(
    _GAP.join(re.findall(r"\[.+?\]|[0-9]", prefix))
    for prefixes, _ in _ISSUERS.values()
    for prefix in prefixes.split("|")
)
_START = re.compile(rf"(?<![0-9])(?={_PREFIX})(?=([0-9](?:{_GAP}[0-9]){{12,19}}))")
_ANY = re.compile(rf"[0-9](?:{_GAP}[0-9]){{12}}")

# Digits within these occur by chance: one in 600 random ids of 32 hexadecimal characters holds a card number.
_RANDOM = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"  # UUIDs
    r"|(?<![0-9A-Za-z])(?=[0-9]{0,127}+[a-fA-F])"  # hashes and ids: hexadecimal, with letters, of a usual length
    r"(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{96}|[0-9a-fA-F]{64}|[0-9a-fA-F]{56}|[0-9a-fA-F]{48}|[0-9a-fA-F]{40}"
    r"|[0-9a-fA-F]{32}|[0-9a-fA-F]{24})(?![0-9A-Za-z])"
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

_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_PLAIN = bytes.maketrans(b"0123456789", bytes(range(10)))


def passes_luhn(digits: str) -> bool:
    """Return whether the last of these ASCII digits is the Luhn check digit of the others."""
    data = digits.encode()
    plain = sum(data[-1::-2].translate(_PLAIN))
    return (plain + sum(data[-2::-2].translate(_DOUBLED))) % 10 == 0


def may_have_card_number(text: str) -> bool:
    """Return whether an ASCII text has 13 digits with only separators between, as every card number has.

    This is a fast check for texts that usually have none. True for all texts that are not ASCII.
    """
    return not text.isascii() or _ANY_ASCII.search(text) is not None


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
    try:
        return next((begin for begin, _, _ in _cards(_folded(text, code=code), code)), None)
    except _TooMany as error:
        return error.at


def mask(text: str) -> str:
    """Return the text with each card number replaced by its last four digits, which PCI DSS 3.4 allows.

    Finds the same as `has_card_number`. In a text with too many candidates, `*` replaces the remaining digits.
    """
    if not may_have_card_number(text):
        return text
    folded = _folded(text, code=False)
    masked, last = [], 0
    try:
        for begin, end, digits in _cards(folded, code=False):
            if begin >= last:
                masked += [text[last:begin], f"[card ...{digits[-4:]}]"]
                last = end
    except _TooMany:
        rest = zip(text[last:], folded[last:], strict=True)
        return "".join([*masked, *("*" if plain in "0123456789" else char for char, plain in rest)])
    return "".join([*masked, text[last:]])


def masked_start(text: str, length: int) -> str:
    """Return the masked first `length` characters of a text of any size, in time that does not depend on its size.

    If the text is longer, it is cut before a number rather than within, and "..." marks the cut.
    """
    if len(text) <= length:
        return mask(text)
    kept = text[:length]
    folded = fold(kept).translate(_SEPARATING)
    return mask(kept[: len(folded.rstrip("0123456789 \0+"))]) + "..."


def masked_path(path: str) -> str:
    """Return a request's path as logs, traces and responses quote it: masked, and at most `MAX_PATH` characters."""
    return masked_start(path, MAX_PATH)


class _TooMany(Exception):
    """The text has too many numbers that could be card numbers; those before `at` were checked."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


def _folded(text: str, *, code: bool) -> str:
    folded = fold(_RANDOM.sub(lambda found: "x" * len(found.group()), text))
    return folded if code else folded.translate(_SEPARATING)


def _cards(folded: str, code: bool) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and digits of each card number. It begins and ends where a group of digits does.

    Raises _TooMany.
    """
    if _ANY.search(folded) is None:
        return
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
            prefixes = _PREFIXES.get(len(digits))
            if prefixes is None or not prefixes.match(digits) or not _is_grouping(lengths):
                continue
            if len(digits) == 13 and folded[start.start() - 1 : start.start()] == "+":
                continue  # a phone number (E.164)
            tried += 1
            if passes_luhn(digits):
                begin, end = start.start(), _end(folded, start.start(), len(digits))
                if not code or digits in _TEST_NUMBERS or _is_marked(folded, begin, end, digits, lengths, invisible):
                    yield begin, end, digits
                    break
            elif tried > _MAX_CANDIDATES:
                raise _TooMany(start.start())


def _is_grouping(lengths: list[int]) -> bool:
    """Return whether somebody may have written one number in these groups: 4-4-4-4, 4-4-4-1, 2-2-2-..., 4-6-5."""
    return min(lengths) >= 3 or (len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0])


def _is_marked(folded: str, begin: int, end: int, digits: str, lengths: list[int], invisible: bool) -> bool:
    """Return whether the notation or the text around a number says that it is a card number."""
    if len(digits) < _MIN_IN_CODE:
        return False
    if invisible or _FOURS.fullmatch(",".join(map(str, lengths))):
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
