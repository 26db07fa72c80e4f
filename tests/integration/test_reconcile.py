"""`flask reconcile`: three accounts of the same money, compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result
from flask import Flask

from tests.integration.eventually import eventually
from tests.integration.pair import ORDER, Pair


def reconcile(app: Flask) -> Result:
    until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    return app.test_cli_runner().invoke(args=["reconcile", "--until", until])


def test_all_three_agree(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 100, "it is refunded")
    for app in (pair.order_app, pair.payment_app):
        result = reconcile(app)
        assert (result.exit_code, "no differences" in result.output) == (0, True), result.output


@pytest.mark.parametrize(
    ("service", "statement", "says"),
    [
        ("payment", "UPDATE simulator.operations SET result = 'declined'", "provider"),
        ("payment", "DELETE FROM simulator.operations", "provider"),
        ("order", "UPDATE orders SET refunded_amount = 1, version = version + 1", "refunded"),
    ],
)
def test_a_difference_is_told_and_is_an_error(pair: Pair, service: str, statement: str, says: str) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    waiting = "SELECT id FROM outbox WHERE delivered_at IS NULL"
    eventually(lambda: not pair.databases.query("payment", waiting), "order has been told, and puts nothing right")
    pair.databases.query(service, statement)
    result = reconcile(pair.order_app)
    assert result.exit_code == 1
    assert order["id"] in result.output
    assert says in result.output
    assert (reconcile(pair.payment_app).exit_code == 1) == (service == "payment")


def test_a_payment_service_that_is_away_is_a_difference(pair: Pair) -> None:
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    pair.stop_payment()
    result = reconcile(pair.order_app)
    assert (result.exit_code, "payment does not answer" in result.output) == (1, True)


def test_a_period_that_makes_no_sense_is_refused(pair: Pair) -> None:
    result = pair.order_app.test_cli_runner().invoke(args=["reconcile", "--since", "yesterday"])
    assert (result.exit_code, "2030-01-31T12:00:00Z" in result.output) == (2, True)
