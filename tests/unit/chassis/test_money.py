from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import money

CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KWD", "CLF", "BHD", "ISK"])
AMOUNTS = st.integers(-money.MAX_AMOUNT, money.MAX_AMOUNT)


@given(AMOUNTS, CURRENCIES)
def test_an_amount_converts_to_major_units_and_back(amount: int, currency: str) -> None:
    assert money.to_minor(money.to_major(amount, currency), currency) == amount


@given(AMOUNTS, CURRENCIES)
def test_an_amount_can_be_formatted_and_parsed_again(amount: int, currency: str) -> None:
    assert money.to_minor(Decimal(f"{money.to_major(amount, currency):f}"), currency) == amount


@pytest.mark.parametrize(
    ("major", "currency", "minor"),
    [
        ("19.99", "EUR", 1999),
        ("100", "EUR", 10000),
        ("100.000", "EUR", 10000),
        ("1E+2", "EUR", 10000),
        ("-0.01", "EUR", -1),
        ("0", "EUR", 0),
        ("-0.0", "EUR", 0),
        ("0E+999999999999999999", "EUR", 0),
        ("0E-1000100", "EUR", 0),
        ("1." + "0" * 5000, "EUR", 100),
        ("12345678901234567.890000000000000000000000000000", "EUR", 1234567890123456789),
        ("500", "JPY", 500),
        ("500.0", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("92233720368547758.07", "EUR", 2**63 - 1),
        ("9223372036854775807", "JPY", 2**63 - 1),
        ("9223372036854775.807", "KWD", 2**63 - 1),
    ],
)
def test_major_units_convert_to_minor_units_exactly(major: str, currency: str, minor: int) -> None:
    assert money.to_minor(Decimal(major), currency) == minor


@pytest.mark.parametrize(
    ("major", "currency"),
    [
        ("0.001", "EUR"),
        ("19.999", "EUR"),
        ("0.5", "JPY"),
        ("1.2345", "KWD"),
        ("1E-400", "EUR"),
        ("1.00000000000000000000000000000001", "EUR"),
        ("100.00000000000000000000000000000000000001", "JPY"),
        ("1E-1000100", "EUR"),
        ("-1E-1000100", "EUR"),
        ("1E-999999999999999999", "EUR"),
    ],
)
def test_more_decimals_than_the_currency_has_are_rejected(major: str, currency: str) -> None:
    with pytest.raises(ValueError, match="has more decimals"):
        money.to_minor(Decimal(major), currency)


@pytest.mark.parametrize(
    ("major", "currency"),
    [
        ("92233720368547758.08", "EUR"),
        ("-92233720368547758.08", "EUR"),
        ("9223372036854775808", "JPY"),
        ("9223372036854775807", "KWD"),
        ("1E+400", "EUR"),
        ("1E+999999999999999999", "EUR"),
        ("9" * 5000, "JPY"),
        ("1E+1000100", "EUR"),
        ("-1E+999999999999999999", "EUR"),
    ],
)
def test_an_amount_that_exceeds_a_bigint_is_rejected(major: str, currency: str) -> None:
    with pytest.raises(ValueError, match="is too large"):
        money.to_minor(Decimal(major), currency)


@pytest.mark.parametrize("major", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_infinity_and_nan_are_rejected(major: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        money.to_minor(Decimal(major), "EUR")


def test_currencies_are_those_of_iso_4217_with_a_minor_unit() -> None:
    assert [money.exponent(code) for code in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
    assert not any(money.is_currency(code) for code in ("", "eur", "EURO", "XAU", "XXX", "ZZZ", " EUR", "€"))
