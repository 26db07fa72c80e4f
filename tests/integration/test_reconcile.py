"""`flask reconcile` compares the records of order, payment and the provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result
from flask import Flask

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair


def reconcile(app: Flask) -> Result:
    until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    return app.test_cli_runner().invoke(args=["reconcile", "--until", until])


def test_matching_records_are_no_error(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 100, "it is refunded")
    for app in (pair.order_app, pair.payment_app):
        result = reconcile(app)
        assert (result.exit_code, "no differences" in result.output) == (0, True), result.output


@pytest.mark.parametrize(
    ("service", "statement", "reported"),
    [
        ("payment", "UPDATE simulator.operations SET result = 'declined'", "provider"),
        ("payment", "DELETE FROM simulator.operations", "provider"),
        ("order", "UPDATE orders SET refunded_amount = 1, version = version + 1", "refunded"),
    ],
)
def test_a_difference_is_reported_and_is_an_error(pair: Pair, service: str, statement: str, reported: str) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    undelivered = "SELECT id FROM outbox WHERE delivered_at IS NULL"
    eventually(
        lambda: not pair.databases.query("payment", undelivered),
        "payment's events are delivered, so order corrects nothing afterwards",
    )
    pair.databases.query(service, statement)
    result = reconcile(pair.order_app)
    assert result.exit_code == 1
    assert order["id"] in result.output
    assert reported in result.output
    assert (reconcile(pair.payment_app).exit_code == 1) == (service == "payment")


def test_records_that_could_not_be_compared_have_an_exit_status_of_their_own(pair: Pair) -> None:
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    pair.stop_payment()
    result = reconcile(pair.order_app)
    assert (result.exit_code, "1 not compared" in result.output) == (2, True)


def test_an_invalid_period_is_an_error(pair: Pair) -> None:
    result = pair.order_app.test_cli_runner().invoke(args=["reconcile", "--since", "yesterday"])
    assert (result.exit_code, "2030-01-31T12:00:00Z" in result.output) == (2, True)
