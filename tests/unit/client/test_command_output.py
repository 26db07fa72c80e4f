"""Amounts in the tables of `tandem`, and points in time in its options."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
import pytest
from iso4217 import Currency

from ci import ROOT
from tandem_client.cli.output import money
from tandem_client.cli.settings import time


def test_amounts_have_the_decimals_of_their_currency() -> None:
    document = json.loads((ROOT / "docs" / "openapi" / "order.json").read_text())
    codes = [each for each in Currency if each.code in json.dumps(document["components"]["schemas"]["Currency"])]
    assert len(codes) > 100
    for currency in codes:
        whole, _, decimals = money(-(10**6) - 5, currency.code).removesuffix(f" {currency.code}").partition(".")
        assert len(decimals) == currency.exponent, currency
        assert int(whole + decimals) == -(10**6) - 5
    assert [money(5, "EUR"), money(900, "EUR"), money(0, "JPY")] == ["0.05 EUR", "9.00 EUR", "0 JPY"]
    assert money(2**63 - 1, "EUR") == "92233720368547758.07 EUR"


@pytest.mark.parametrize(("text", "ago"), [("now", 0), ("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604800)])
def test_a_time_can_be_how_long_ago_it_was(text: str, ago: int) -> None:
    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - time(text)) < timedelta(seconds=60)


def test_a_time_can_be_a_moment() -> None:
    assert time("2030-01-31T12:00:00Z") == datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "h", "2 h", "2w", "-1h", "yesterday", "2030-01-31T12:00:00", "9" * 5000 + "d", "999999d"]
)
def test_another_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 2h"):
        time(text)
