"""Corpora of numbers to measure how cards are found: card numbers in every notation, and numbers that are no cards.

    PYTHONPATH=apps python -m tests.support.cards [--count 100000] [--seed 1]

prints, for each corpus, how many of its texts are refused in fields of codes and in fields of free text.
"""

from __future__ import annotations

import argparse
import random
import sys
import uuid
from collections.abc import Callable

from chassis import cards

ISSUERS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "Visa": (("4",), (13, 16, 19)),
    "Mastercard": (("51", "52", "53", "54", "55", "2221", "2300", "2699", "2719", "2720"), (16,)),
    "American Express": (("34", "37"), (15,)),
    "Diners Club": (("300", "305", "3095", "36", "38", "39"), (14,)),
    "JCB": (("3528", "3540", "3589"), (16,)),
    "Discover": (("6011", "644", "649", "65"), (16, 19)),
    "UnionPay": (("62", "81"), (16, 17, 18, 19)),
    "Maestro": (("5018", "5020", "5612", "5893", "6304", "6759", "6761", "6799"), (13, 16, 18, 19)),
    "Mir": (("2200", "2204"), (16,)),
    "RuPay": (("60", "6521", "8172", "8201"), (16,)),
    "Elo": (("5066", "5090", "627780", "636297", "6516"), (16,)),
    "Troy": (("9792",), (16,)),
}
"""First digits and lengths of card numbers, by issuer."""

SEPARATORS = [
    *' .-_/:,!"#$%&();<=>?@[]^{}',
    *("\u00a0", "\u2009", "\u202f", "\u3000", "\t", "  ", " - "),
    *("\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\ufe58", "\ufe63", "\uff0d"),
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad"),
    *("\uff0e", "\uff0f", "\uff1a", "\uff0c", "\u00b7", "\u2022", "\u0301"),
    *("%20", "%2D", "%C2%A0", "&nbsp;", "&#8211;", "\\u0020", "\\n", "\r\n"),
]
"""What people and programs write between groups of digits."""

SCRIPTS = ["0", "\uff10", "\u0660", "\u06f0", "\u0966", "\u09e6", "\u0e50", "\U0001d7ce", "\U0001d7f6"]
"""The digit 0 of several scripts; the other nine follow it."""


def check_digit(digits: str) -> str:
    """Return the Luhn check digit of these digits."""
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def random_digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def card(chance: random.Random) -> str:
    """Return the number of a random card of a random issuer."""
    prefixes, lengths = ISSUERS[chance.choice(list(ISSUERS))]
    prefix, length = chance.choice(prefixes), chance.choice(lengths)
    digits = prefix + random_digits(chance, length - len(prefix) - 1)
    return digits + check_digit(digits)


def grouped(number: str, chance: random.Random) -> str:
    """Return a card number in the groups of cards, or in groups of the same length."""
    usual = {15: [4, 6, 5], 14: [4, 6, 4]}.get(len(number), [4, 4, 4, 4, 4])
    irregular = [chance.randint(1, 6) for _ in range(19)]
    lengths = chance.choice([usual, usual, [4] * 5, [2] * 10, [1] * 19, irregular])
    groups, at = [], 0
    for length in lengths:
        groups.append(number[at : at + length])
        at += length
    separator: str = chance.choice(SEPARATORS)
    return separator.join(filter(None, groups))


def in_script(number: str, chance: random.Random) -> str:
    zero = ord(chance.choice(SCRIPTS))
    return "".join(chr(zero + int(digit)) for digit in number)


def within(number: str, chance: random.Random) -> str:
    """Return a card number beside letters or words, or as the data of a magnetic stripe."""
    text: str = chance.choice(
        [
            "CC{}",
            "{}a",
            "x{}y",
            "card:{}.",
            "paid with {}, thanks",
            "2 {}",
            "{} 12/27",
            "%B{}^DOE/J^2912101",
            ";{}=29121010000",
            "\u5361{}\u53f7",
        ]
    )
    return text.format(number)


def written(chance: random.Random) -> str:
    """Return a random card number in a random notation."""
    number = card(chance)
    forms: list[Callable[[str, random.Random], str]] = [lambda plain, _: plain, grouped, in_script, within]
    form = chance.choice(forms)
    return within(form(number, chance), chance) if chance.random() < 0.3 else form(number, chance)


def ean13(chance: random.Random) -> str:
    digits = random_digits(chance, 12)
    return digits + str(-sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits)) % 10)


def imei(chance: random.Random) -> str:
    digits = chance.choice(["35", "01", "86", "99"]) + random_digits(chance, 12)
    return digits + check_digit(digits)


def phone(chance: random.Random) -> str:
    country = chance.choice(["49", "41", "43", "44", "45", "46", "47", "48", "33", "34", "39", "52", "55", "62", "1"])
    national = random_digits(chance, chance.randint(8, 11))
    return chance.choice(
        [
            f"+{country}{national}",
            f"00{country}{national}",
            f"{country}{national}",
            f"+{country} {national[:3]} {national[3:]}",
            f"+{country}-{national[:3]}-{national[3:7]}-{national[7:]}",
            f"({national[:3]}) {national[3:6]}-{national[6:]}",
            f"0{national[:4]}/{national[4:]}",
        ]
    )


def order_number(chance: random.Random) -> str:
    day = f"20{chance.randint(20, 39)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    return chance.choice(
        [
            random_digits(chance, 16),
            random_digits(chance, 19),
            f"ORD{random_digits(chance, 16)}",
            f"{day[2:]}{random_digits(chance, 10)}",
            f"{day}-{random_digits(chance, 6)}-{chance.randint(1, 9)}",
            f"order-{day}-{random_digits(chance, 6)}",
            f"{random_digits(chance, 3)}-{random_digits(chance, 7)}-{random_digits(chance, 7)}",
            f"k{chance.randint(1, 9)}-9{random_digits(chance, 8)}-{random_digits(chance, 3)}",
            str(1_700_000_000_000 + chance.randrange(10**11)),
            str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            f"{chance.getrandbits(128):032x}",
        ]
    )


def article(chance: random.Random) -> str:
    """Return a number of an article or a shipment: GTIN-14, ISBN-13, SSCC, or a tracking number of 12 to 22 digits."""
    kind = chance.choice(["gtin14", "isbn", "sscc", "tracking"])
    if kind == "tracking":
        return chance.choice(["", "1Z", "JJD", "00"]) + random_digits(chance, chance.randint(12, 22))
    digits = {"gtin14": chance.choice("123456789") + random_digits(chance, 12), "sscc": random_digits(chance, 17)}.get(
        kind, "978" + random_digits(chance, 9)
    )
    odd = len(digits) % 2
    return digits + str(-sum(int(digit) * (3 if place % 2 != odd else 1) for place, digit in enumerate(digits)) % 10)


def imsi(chance: random.Random) -> str:
    country = chance.choice(["262", "310", "302", "440", "460", "520", "655", "404"])
    return country + random_digits(chance, 12)


def iban(chance: random.Random) -> str:
    country, length = chance.choice(
        [("DE", 18), ("ES", 20), ("FR", 23), ("AT", 16), ("PL", 24), ("BE", 12), ("CH", 17)]
    )
    account = random_digits(chance, length)
    checked = "".join(str(int(char, 36)) for char in f"{account}{country}00")
    plain = f"{country}{98 - int(checked) % 97:02}{account}"
    return chance.choice([plain, " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))])


def generated_id(chance: random.Random) -> str:
    return chance.choice(
        [
            str(chance.getrandbits(63)),  # snowflake ids
            str(1_700_000_000_000_000_000 + chance.randrange(10**17)),  # nanoseconds
            f"{chance.getrandbits(96):024x}",
            f"{chance.getrandbits(160):040x}",
        ]
    )


HARMLESS: dict[str, Callable[[random.Random], str]] = {
    "EAN-13": ean13,
    "IMEI": imei,
    "phone numbers": phone,
    "order numbers": order_number,
    "articles and shipments": article,
    "IMSI": imsi,
    "IBAN": iban,
    "generated ids": generated_id,
}


def refused(make: Callable[[random.Random], str], count: int, seed: int) -> tuple[int, int]:
    """Return how many of `count` texts are refused as codes and as free text."""
    chance = random.Random(seed)
    texts = [make(chance) for _ in range(count)]
    return sum(map(cards.is_written_as_card, texts)), sum(map(cards.has_card_number, texts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"| {given.count:,} random | refused in codes | refused in free text |\n|---|---|---|")
    for name, make in {**HARMLESS, "cards in every notation": written}.items():
        code, free = refused(make, given.count, given.seed)
        print(f"| {name} | {code / given.count:.3%} | {free / given.count:.3%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
