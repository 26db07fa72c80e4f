"""Amounts in Stripe's units, where they differ from ISO 4217.

Both use minor units, which are the same for nearly all currencies. The exceptions, from docs.stripe.com/currencies
(zero-decimal, three-decimal and special cases):

    ISK, UGX                  no decimals in ISO 4217; Stripe takes two, which must be 00
    MGA                       two decimals in ISO 4217 (the subunit is a fifth); Stripe takes whole ariary
    BHD IQD JOD KWD LYD       three decimals in both, but card networks use two: the last digit must be 0
    OMR TND

An amount that Stripe cannot represent exactly is refused, never rounded.
"""

from __future__ import annotations

_HUNDREDFOLD = frozenset({"ISK", "UGX"})
_HUNDREDTH = frozenset({"MGA"})
_TENS_ONLY = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


class NotExact(Exception):
    """Stripe cannot represent this amount exactly."""


def from_stripe(amount: int, currency: str) -> int:
    """Convert Stripe's `amount` to ISO 4217 minor units. An amount made by hand may be rounded down (ISK, UGX)."""
    if currency in _HUNDREDFOLD:
        return amount // 100
    return amount * 100 if currency in _HUNDREDTH else amount


def to_stripe(amount: int, currency: str) -> int:
    """Convert an amount in ISO 4217 minor units to Stripe's `amount`. Raises NotExact."""
    if currency in _HUNDREDFOLD:
        return amount * 100
    step = 100 if currency in _HUNDREDTH else 10 if currency in _TENS_ONLY else 1
    if amount % step:
        raise NotExact(f"Stripe takes {currency} in steps of {step} minor units, and {amount} is not a multiple")
    return amount // 100 if currency in _HUNDREDTH else amount
