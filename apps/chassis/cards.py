"""Finding card numbers, so that none is ever accepted, stored or logged.

A primary account number is 13 to 19 digits whose last is a Luhn check digit (ISO/IEC 7812-1). Those of cards begin
with 3 to 6 or 2221 to 2720; people write them with spaces or hyphens between groups of digits. One in ten of all
long numbers passes Luhn: without these two limits, one in ten of all time stamps and of the names that callers make
of dates and counters would be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_RUN = re.compile(r"\d(?:[\s\-]*\d){12,}")
_GROUP = re.compile(r"\d+")
# Random names have long runs of digits by chance: one in 600 of 32 hexadecimal characters would be refused.
_RANDOM = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"  # UUIDs
    r"|(?<![0-9A-Za-z])(?=\d*[a-fA-F])[0-9a-fA-F]{16,}(?![0-9A-Za-z])"  # hexadecimal, with letters in it
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers begin and end: groups of digits, with white space or hyphens between them at most.

    A number next to others ("2 4111111111111111 12/27") is found too: any groups in a row are looked at.
    """
    text = _RANDOM.sub(lambda name: "x" * len(name.group()), text)
    for run in _RUN.finditer(text):
        groups = [(run.start() + g.start(), run.start() + g.end()) for g in _GROUP.finditer(run.group())]
        taken = 0
        for first, (begin, _) in enumerate(groups):
            if begin < taken:
                continue
            digits, lengths = "", list[int]()
            for start, end in groups[first:]:
                digits += text[start:end]
                if len(digits) > 19:
                    break
                lengths.append(end - start)
                if len(digits) >= 13 and _is_card(digits, lengths):
                    yield begin, end
                    taken = end
                    break


def _is_card(digits: str, lengths: list[int]) -> bool:
    if not (digits.isascii() and (digits[0] in "3456" or "2221" <= digits[:4] <= "2720")):
        return False
    even = len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0]  # 4-4-4-4, 4-4-4-1, 2-2-2-..., 1-1-1-...
    return (even or min(lengths) >= 3) and passes_luhn(digits)  # 4-6-5


def has_card_number(text: str) -> bool:
    """Whether a string holds a card number; UUIDs and random hexadecimal names never count as one."""
    return _RUN.search(text) is not None and any(True for _ in _cards(text))


def mask(text: str) -> str:
    """The text with each card number replaced by its last four digits (PCI DSS 3.4 allows as much)."""
    if not _RUN.search(text):
        return text
    masked, last = [], 0
    for begin, end in _cards(text):
        masked += [text[last:begin], f"[card ...{text[end - 4 : end]}]"]
        last = end
    return "".join([*masked, text[last:]])
