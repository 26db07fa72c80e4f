"""The chassis serves any service: nothing in its source names what a service of Tandem does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import chassis

ROOT = Path(chassis.__file__).parent

FORBIDDEN = {"order", "orders", "refund", "refunds", "refunded", "capture", "captures", "captured", "charge", "charges"}
FORBIDDEN |= {"charged", "pay", "pays", "paid", "payer", "payable", "payment", "payments", "payout", "payouts"}
FORBIDDEN |= {"ledger", "ledgers", "invoice", "invoices", "customer", "customers", "checkout", "stripe", "sketch"}
# "order" is also a plain English word and a part of SQL.
HARMLESS = re.compile(
    r"""\bORDER\ BY\b
      | \bin\ (?:this|that|any|random|the\ same|the\ usual|no\ particular)?\s?order\b(?!\ service)
      | \b[Ii]nsertion\ order\b
      | \bthe\ order\ (?:of|in\ which)\b
    """,
    re.VERBOSE,
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def named(text: str) -> set[str]:
    """Find the forbidden words of a text, in identifiers too: `placeOrder` and `place_order` both hold `order`."""
    return FORBIDDEN & {word.lower() for word in WORD.findall(HARMLESS.sub("", text))}


def sources() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT)


def test_the_search_splits_names_and_tells_plain_english_from_orders() -> None:
    assert named("def place_order(): ...") == {"order"}
    assert named("class PaymentGateway") == {"payment"}
    assert named("MERCHANT_PAYABLE = 'merchant_payable'") == {"payable"}
    assert named('"orders:read"  # sent to the order service') == {"orders", "order"}
    assert named("SELECT 1 ORDER BY id  -- in that order, in order") == set()
    assert named("ordering the border, recorded and unauthorized") == set()


def test_the_chassis_names_nothing_that_a_service_does() -> None:
    found = {
        f"{path}:{number}": words
        for path in sources()
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if (words := named(line))
    }
    assert not found
    assert not {str(path): words for path in sources() if (words := named(path.name))}
