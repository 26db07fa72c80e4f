"""Finding card numbers, so that none is ever accepted, stored or logged.

A primary account number is 13 to 19 digits whose last is a Luhn check digit (ISO/IEC 7812-1);
people write it with spaces or hyphens in it.
"""

from __future__ import annotations

import re

_RUN = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}(?!\d)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def _is_card(run: str) -> bool:
    digits = run.replace(" ", "").replace("-", "")
    return 13 <= len(digits) <= 19 and passes_luhn(digits)


def has_card_number(text: str) -> bool:
    """Whether a string holds a card number; a UUID that stands alone never counts as one."""
    if len(text) < 13 or _UUID.fullmatch(text):
        return False
    return any(_is_card(match.group()) for match in _RUN.finditer(text))


def mask(text: str) -> str:
    """The text with each card number replaced by its last four digits (PCI DSS 3.4 allows as much)."""
    if len(text) < 13 or _UUID.fullmatch(text):
        return text
    return _RUN.sub(lambda m: f"[card ...{m.group()[-4:]}]" if _is_card(m.group()) else m.group(), text)
