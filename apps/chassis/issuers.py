"""The issuers of cards: the first digits and lengths of their card numbers, test numbers, and the check digit."""

from __future__ import annotations

import re

ISSUERS: dict[str, tuple[str, tuple[int, ...]]] = {
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
"""For each issuer, a pattern of the first digits of its cards, and the lengths of its card numbers."""

PREFIXES = {
    length: re.compile("|".join(prefix for prefix, lengths in ISSUERS.values() if length in lengths))
    for length in range(13, 20)
}
"""For each length of a card number, a pattern of the first digits that cards of this length have."""

TEST_NUMBERS = frozenset(
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
"""The numbers that card networks and their acquirers publish for tests."""

_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_PLAIN = bytes.maketrans(b"0123456789", bytes(range(10)))


def passes_luhn(digits: str) -> bool:
    """Return whether the last of these ASCII digits is the Luhn check digit of the others."""
    data = digits.encode()
    plain = sum(data[-1::-2].translate(_PLAIN))
    return (plain + sum(data[-2::-2].translate(_DOUBLED))) % 10 == 0
