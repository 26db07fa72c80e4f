"""Formatting of amounts, durations, times and event data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from order.operator import formatting


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
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
def test_amounts_are_shown_in_major_units(minor: int | None, currency: str, expected: str) -> None:
    assert formatting.amount(minor, currency) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
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
def test_durations_are_rounded_to_readable_units(seconds: float | None, expected: str) -> None:
    assert formatting.age(seconds) == expected


def test_times_are_shown_in_utc() -> None:
    noon = datetime(2030, 1, 31, 13, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
    assert formatting.iso(noon) == "2030-01-31T12:00:00.250Z"
    assert formatting.utc(noon) == "2030-01-31 12:00:00"
    assert formatting.utc_milliseconds(noon.astimezone(UTC)) == "2030-01-31 12:00:00.250"


def test_event_data_is_one_line_without_empty_values() -> None:
    data = {"payment_id": "p", "refund_amount": 450, "failure_reason": None, "note": ""}
    assert formatting.event_data(data, "EUR") == "refund_amount 4.50 EUR"
