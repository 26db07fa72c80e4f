"""How the page says things: amounts, times and ages as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from chassis import money


def amount(minor: Any, currency: Any) -> str:
    """Minor units as major ones with the currency: 450 EUR is `4.50 EUR`."""
    if minor is None:
        return "–"
    if not money.is_currency(str(currency)):
        return f"{minor} {currency}"
    return f"{money.to_major(int(minor), str(currency)):,f} {currency}"


def age(seconds: float | None) -> str:
    """A duration in words, short: `0.012 s`, `4.2 s`, `3 min`, `2 h 5 min`, `9 d`."""
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
    """How long after the beginning: to the millisecond within a minute."""
    return f"+{seconds:.3f} s" if seconds < 60 else f"+{age(seconds)}"


def iso(at: datetime) -> str:
    """A time for the attribute `datetime`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime) -> str:
    """A time for people, in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def instant(at: datetime) -> str:
    """The same to the millisecond."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def fields(values: Mapping[str, Any], currency: str) -> str:
    """What an event says besides, in one line: amounts as people read them, and nothing of what is empty."""
    said = {
        name: amount(value, currency) if name.endswith("_amount") else value
        for name, value in values.items()
        if value and name != "payment_id"  # which the page has beside it
    }
    return ", ".join(f"{name} {value}" for name, value in said.items())


def register(app: Flask) -> None:
    """Let templates say it."""
    app.jinja_env.filters.update(amount=amount, age=age, offset=offset, iso=iso, clock=clock, instant=instant)
