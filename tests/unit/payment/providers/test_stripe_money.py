"""Amounts in Stripe's units are exact or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import money
from payment.providers.stripe_money import NotExact, to_stripe

CODES = sorted(code for code in money._EXPONENTS)
STRIPE_DECIMALS = {"ISK": 2, "UGX": 2, "MGA": 0}
"""The decimals of the currencies for which docs.stripe.com/currencies differs from ISO 4217."""


@pytest.mark.parametrize(
    ("currency", "amount", "expected"),
    [
        ("EUR", 1999, 1999),
        ("JPY", 500, 500),  # no decimals in either
        ("ISK", 5, 500),
        ("UGX", 5, 500),
        ("MGA", 500, 5),
        ("KWD", 5120, 5120),
        ("HUF", 1045, 1045),  # Stripe's exceptions for it, and for TWD, are about payouts
        ("EUR", 2**63 - 1, 2**63 - 1),
    ],
)
def test_an_amount_is_converted_to_stripes_units(currency: str, amount: int, expected: int) -> None:
    assert to_stripe(amount, currency) == expected


@pytest.mark.parametrize(("currency", "amount"), [("MGA", 501), ("MGA", 20), ("KWD", 5124), ("BHD", 1)])
def test_an_amount_that_stripe_cannot_represent_is_refused(currency: str, amount: int) -> None:
    with pytest.raises(NotExact, match=currency):
        to_stripe(amount, currency)


@given(st.sampled_from(CODES), st.integers(1, 2**63 - 1))
def test_the_conversion_never_changes_the_value(currency: str, amount: int) -> None:
    try:
        sent = to_stripe(amount, currency)
    except NotExact:
        return
    theirs = STRIPE_DECIMALS.get(currency, money.exponent(currency))
    ours = money.exponent(currency)
    assert sent * 10**ours == amount * 10**theirs
