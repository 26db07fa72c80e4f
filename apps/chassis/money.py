"""Amounts: whole numbers of a currency's minor unit (ISO 4217), never floats."""

from __future__ import annotations

from decimal import Decimal

from iso4217 import Currency

MAX_AMOUNT = 2**63 - 1
"""The largest amount in minor units: the largest bigint of PostgreSQL."""

_EXPONENTS: dict[str, int] = {c.value: c.exponent for c in Currency if c.exponent is not None}

CURRENCIES = frozenset(_EXPONENTS)
"""The codes of ISO 4217 for currencies with a minor unit. Gold (XAU) has none."""


def is_currency(code: str) -> bool:
    """Return whether a code is one of `CURRENCIES`."""
    return code in CURRENCIES


def exponent(currency: str) -> int:
    """Return the number of decimals of a currency: EUR 2, JPY 0, KWD 3."""
    return _EXPONENTS[currency]


def to_minor(amount: Decimal, currency: str) -> int:
    """Convert major units to minor units: 19.99 EUR is 1999.

    Raises ValueError if the amount has more decimals than the currency, is not finite or is too large.
    """
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    if amount.is_zero():
        return 0
    if amount.adjusted() > 18:
        raise ValueError("is too large")
    digits = exponent(currency)
    sign, figures, point = amount.as_tuple()
    assert isinstance(point, int)
    # Not with decimal's arithmetic: its context would round an amount with very many digits.
    written = "".join(map(str, figures)).rstrip("0")
    point += len(figures) - len(written)
    if point < -digits:
        raise ValueError(f"has more decimals than {currency}, which has {digits}")
    minor: int = int(written) * 10 ** (point + digits)
    if minor > MAX_AMOUNT:
        raise ValueError("is too large")
    return -minor if sign else minor


def to_major(amount: int, currency: str) -> Decimal:
    """Convert minor units to major units, exactly: 1999 EUR is 19.99."""
    return Decimal(amount).scaleb(-exponent(currency))
