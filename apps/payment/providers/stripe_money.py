"""Amounts as Stripe counts them, where that differs from ISO 4217.

Both count in minor units, and for nearly all currencies in the same ones. What differs, by
docs.stripe.com/currencies (zero-decimal, three-decimal and special cases):

    ISK, UGX                  no decimals in ISO 4217; Stripe still takes two, and they must be 00
    MGA                       two decimals in ISO 4217 (a fifth is the real subunit); Stripe takes whole ariary
    BHD IQD JOD KWD LYD       three decimals in both, but card networks see two: the last digit must be 0
    OMR TND

Amounts that Stripe can't move exactly are refused here, never rounded: a rounded charge is a wrong one.
"""

from __future__ import annotations

_HUNDREDFOLD = frozenset({"ISK", "UGX"})
_HUNDREDTH = frozenset({"MGA"})
_TENS_ONLY = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


class NotExact(Exception):
    """Stripe has no amount that is exactly this one."""


def to_stripe(amount: int, currency: str) -> int:
    """An amount in ISO 4217's minor units as what Stripe calls `amount`. Raises NotExact."""
    if currency in _HUNDREDFOLD:
        return amount * 100
    step = 100 if currency in _HUNDREDTH else 10 if currency in _TENS_ONLY else 1
    if amount % step:
        raise NotExact(f"Stripe moves {currency} in steps of {step} minor units, and {amount} is not one")
    return amount // 100 if currency in _HUNDREDTH else amount
