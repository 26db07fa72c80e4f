"""Finds card numbers, so that they are never accepted, stored or logged.

A card number has 13 to 19 digits, the last of which is a Luhn check digit (ISO/IEC 7812-1). It begins with 3 to 6 or
with 2221 to 2720, and people write it with spaces or hyphens between groups of digits. One in ten of all long numbers
passes the Luhn check. The first digits and the grouping are checked too, because otherwise one in ten timestamps, and
of callers' names made of dates and counters, would be rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_RUN = re.compile(r"\d(?:[\s\-]*\d){12,}")
_GROUP = re.compile(r"\d+")
# Random ids contain long runs of digits by chance: one in 600 ids of 32 hexadecimal characters would be rejected.
_RANDOM = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"  # UUIDs
    r"|(?<![0-9A-Za-z])(?=\d*[a-fA-F])[0-9a-fA-F]{16,}(?![0-9A-Za-z])"  # hexadecimal, with letters in it
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit is the Luhn check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each card number: groups of digits, separated by white space or hyphens.

    Each sequence of groups is checked, so a card number next to other numbers ("2 4111111111111111 12/27") is found.
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
    """Return whether a text contains a card number. Digits within UUIDs and hexadecimal ids do not count."""
    return _RUN.search(text) is not None and any(True for _ in _cards(text))


def mask(text: str) -> str:
    """Return the text with each card number replaced by its last four digits, which PCI DSS 3.4 allows."""
    if not _RUN.search(text):
        return text
    masked, last = [], 0
    for begin, end in _cards(text):
        masked += [text[last:begin], f"[card ...{text[end - 4 : end]}]"]
        last = end
    return "".join([*masked, text[last:]])
