"""Formatting of amounts, times and durations for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from chassis import money


def amount(minor: Any, currency: Any) -> str:
    """Format minor units as major units with the currency: 450 EUR is `4.50 EUR`."""
    if minor is None:
        return "–"
    if not money.is_currency(str(currency)):
        return f"{minor} {currency}"
    return f"{money.to_major(int(minor), str(currency)):,f} {currency}"


def plain_amount(minor: int, currency: str) -> str:
    """Format minor units as major units, as a person types them: 123450 EUR is `1234.50`."""
    return f"{money.to_major(minor, currency):f}"


def age(seconds: float | None) -> str:
    """Format a duration: `0.012 s`, `4.2 s`, `3 min`, `2 h 5 min`, `9 d`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{max(seconds, 0):.3f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"


def offset(seconds: float) -> str:
    """Format the time since the first step, with milliseconds within the first minute: `+4.260 s`, `+3 min`."""
    return f"+{seconds:.3f} s" if seconds < 60 else f"+{age(seconds)}"


def iso(at: datetime) -> str:
    """Format a time for the HTML attribute `datetime`: `2030-01-31T12:00:00.250Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: datetime) -> str:
    """Format a time in UTC, to the second: `2030-01-31 12:00:00`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def utc_milliseconds(at: datetime) -> str:
    """Format a time in UTC, to the millisecond: `2030-01-31 12:00:00.250`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def event_data(data: Mapping[str, Any], currency: str) -> str:
    """Format the data of an order event: `refund_amount 4.50 EUR, reason wet`. Empty values are left out."""
    formatted = {
        name: amount(value, currency) if name.endswith("_amount") else value
        for name, value in data.items()
        if value and name != "payment_id"  # The page shows the payment id elsewhere.
    }
    return ", ".join(f"{name} {value}" for name, value in formatted.items())


def register(app: Flask) -> None:
    """Make the functions available as template filters."""
    app.jinja_env.filters.update(
        amount=amount, age=age, offset=offset, iso=iso, utc=utc, utc_milliseconds=utc_milliseconds
    )
