"""Amounts and ages as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from order.operator import words


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (450, "EUR", "4.50 EUR"),
        (123456789, "EUR", "1,234,567.89 EUR"),
        (450, "JPY", "450 JPY"),
        (-1, "KWD", "-0.001 KWD"),
        (2**63 - 1, "EUR", "92,233,720,368,547,758.07 EUR"),
        (5, "???", "5 ???"),
        (None, "EUR", "–"),
    ],
)
def test_amounts(minor: int | None, currency: str, said: str) -> None:
    assert words.amount(minor, currency) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (-0.1, "0.000 s"),
        (0.0123, "0.012 s"),
        (4.26, "4.3 s"),
        (61, "1 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (9 * 86400, "9 d"),
    ],
)
def test_ages(seconds: float | None, said: str) -> None:
    assert words.age(seconds) == said


def test_times_are_utc() -> None:
    noon = datetime(2030, 1, 31, 13, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
    assert words.iso(noon) == "2030-01-31T12:00:00.250Z"
    assert words.clock(noon) == "2030-01-31 12:00:00"
    assert words.instant(noon.astimezone(UTC)) == "2030-01-31 12:00:00.250"


def test_what_an_event_says_besides() -> None:
    data = {"payment_id": "p", "refund_amount": 450, "failure_reason": None, "note": ""}
    assert words.fields(data, "EUR") == "refund_amount 4.50 EUR"
