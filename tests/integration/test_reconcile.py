"""`flask reconcile` compares the records of order, payment and the provider."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from click.testing import Result
from flask import Flask

import order
from tests.support.eventually import eventually
from tests.support.outbox import delivered
from tests.support.pair import ORDER, Pair
from tests.support.settings import KEY, environment


def reconcile(app: Flask) -> Result:
    until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    return app.test_cli_runner().invoke(args=["reconcile", "--until", until])


def differences(pair: Pair, order_id: str) -> list[list[str]]:
    """Return the words of each line of order's report about an order that differs."""
    result = reconcile(pair.order_app)
    assert result.exit_code == 1, result.output
    return [line.split() for line in result.output.splitlines() if order_id in line]


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
    delivered(pair)  # order corrects nothing afterwards
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
    assert result.exit_code == 2
    assert "3 not compared" in result.output, "payment, the order, and the merchant's ledger at payment"


def test_nothing_to_compare_is_no_agreement_if_payment_does_not_answer(pair: Pair) -> None:
    pair.stop_payment()
    result = reconcile(pair.order_app)
    assert (result.exit_code, "1 not compared" in result.output) == (2, True), result.output


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PAYMENT_API_KEY": ""}, "PAYMENT_API_KEY is not set"),
        ({"PAYMENT_API_KEY": "not-the-key"}, "The key is not valid"),
        ({"PAYMENT_API_KEY": KEY}, "merchants:any"),
        ({"PAYMENT_URL": "order"}, "payment"),
        ({"PAYMENT_URL": "http://127.0.0.1:9"}, "payment does not answer"),
    ],
)
def test_a_half_configured_comparison_reports_no_differences_but_that_it_could_not_compare(
    pair: Pair, paid: bool, settings: dict[str, str], said: str
) -> None:
    if paid:
        pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    peers = {"PAYMENT_URL": pair.payment.url, "ORDER_URL": pair.order.url}
    if settings.get("PAYMENT_URL") == "order":
        settings = {"PAYMENT_URL": pair.order.url}
    env = {**environment(pair.databases.service_url("order"), peers), **settings}
    with mock.patch.dict(os.environ, env):
        app = order.create_app()
    result = reconcile(app)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "  differences" not in result.output
    assert "Traceback" not in result.output


def test_an_invalid_period_is_an_error(pair: Pair) -> None:
    result = pair.order_app.test_cli_runner().invoke(args=["reconcile", "--since", "yesterday"])
    assert (result.exit_code, "2030-01-31T12:00:00Z" in result.output) == (2, True)


def captured_payment(pair: Pair, order_id: str) -> str:
    """Create a payment as a third party does; return its id."""
    wanted = {"order_id": order_id, "amount": 900, "currency": "EUR", "payment_method": "pm_ok"}
    payment: dict[str, str] = pair.payment.post("/v1/payments", wanted).json()
    assert payment["status"] == "captured"
    return payment["id"]


def test_sums_by_currency_are_reported(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    pair.order.post("/v1/orders", {**ORDER, "currency": "USD"}, Prefer="wait=10")
    pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    delivered(pair)
    lines = [line.split() for line in reconcile(pair.order_app).output.splitlines()]
    assert ["captured", "EUR", "900", "900", "900"] in lines
    assert ["refunded", "EUR", "100", "100", "100"] in lines
    assert ["captured", "USD", "900", "900", "900"] in lines


def test_an_order_is_compared_when_it_changed_and_not_when_it_was_placed(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    delivered(pair)
    long_ago = "now() - interval '30 days'"
    for statement in (
        "ALTER TABLE order_events DISABLE TRIGGER USER",
        f"UPDATE order_events SET at = {long_ago}",
        "ALTER TABLE order_events ENABLE TRIGGER USER",
        "ALTER TABLE orders DISABLE TRIGGER USER",
        f"UPDATE orders SET created_at = {long_ago}, updated_at = {long_ago}",
        "ALTER TABLE orders ENABLE TRIGGER USER",
    ):
        pair.databases.query("order", statement)
    pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    delivered(pair)
    pair.databases.query("payment", "UPDATE simulator.operations SET result = 'declined' WHERE kind = 'refund'")
    result = reconcile(pair.order_app)
    assert (result.exit_code, order["id"] in result.output) == (1, True), result.output


def test_a_payment_without_an_order_is_a_difference_until_its_money_is_returned(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    payment_id = captured_payment(pair, order_id)
    delivered(pair)
    (line,) = differences(pair, order_id)
    assert payment_id in line
    assert "no order" in " ".join(line)
    pair.payment.post(f"/v1/payments/{payment_id}/refunds")
    delivered(pair)
    assert reconcile(pair.order_app).exit_code == 0


@pytest.mark.parametrize("knows_merchant", [True, False])
def test_a_payment_without_an_order_is_found_although_order_has_no_record_of_it(
    pair: Pair, knows_merchant: bool
) -> None:
    if knows_merchant:
        pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    order_id = str(uuid.uuid4())
    payment_id = captured_payment(pair, order_id)
    delivered(pair)
    pair.databases.query("order", "TRUNCATE orphan_payments")
    (line,) = differences(pair, order_id)
    assert payment_id in line
    assert "no order" in " ".join(line)


@pytest.mark.parametrize("known", [{}, {"capture": "manual"}, None], ids=["captured", "authorized", "no other order"])
def test_an_authorization_without_an_order_is_found_although_order_has_no_record_of_it(
    pair: Pair, known: dict[str, str] | None
) -> None:
    """The order database was restored to a moment before the order; nothing of the payment is in the ledger."""
    if known is not None:
        pair.order.post("/v1/orders", {**ORDER, **known}, Prefer="wait=10")
    order_id = str(uuid.uuid4())
    wanted = {"order_id": order_id, "amount": 900, "currency": "EUR", "payment_method": "pm_ok", "capture": "manual"}
    payment_id = pair.payment.post("/v1/payments", wanted).json()["id"]
    delivered(pair)
    pair.databases.query("order", "TRUNCATE orphan_payments")
    (line,) = differences(pair, order_id)
    assert payment_id in line
    assert "no order" in " ".join(line)
    pair.payment.post(f"/v1/payments/{payment_id}/void")
    delivered(pair)
    assert reconcile(pair.order_app).exit_code == 0


def unheard(pair: Pair, path: str) -> None:
    """Have payment do something of which order never hears."""
    gateway = pair.payment_app.extensions["tandem"].use_cases["payments"]._gateway
    with mock.patch.object(gateway, "send"):
        assert pair.payment.post(path, {}).status_code == 200
        delivered(pair)


def test_an_order_that_waits_for_the_capture_of_a_voided_payment_is_a_difference(pair: Pair) -> None:
    """No amount differs: nothing was captured."""
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    delivered(pair)
    unheard(pair, f"/v1/payments/{order['payment']['id']}/void")
    assert differences(pair, order["id"]) == [[order["id"], "payment", "status", "authorized", "voided"]]


def test_a_canceled_order_whose_payment_is_authorized_is_a_difference(pair: Pair) -> None:
    """Payment's database was restored to a moment before the void; no amount differs."""
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    canceled = pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10").json()
    assert canceled["status"] == "canceled"
    delivered(pair)
    for statement in (
        "ALTER TABLE payments DISABLE TRIGGER USER",
        "UPDATE payments SET status = 'authorized', version = version - 2",
        "DELETE FROM operations WHERE kind = 'void'",
    ):
        pair.databases.query("payment", statement)
    assert differences(pair, order["id"]) == [[order["id"], "payment", "status", "voided", "authorized"]]


def test_an_order_whose_payment_is_unknown_to_payment_is_a_difference(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    delivered(pair)
    for table in ("idempotency_keys", "operations", "payments"):
        pair.databases.query("payment", f"DELETE FROM {table}")
    assert differences(pair, order["id"]) == [[order["id"], "payment", order["payment"]["id"], "unknown"]]


def test_a_second_payment_of_an_order_that_holds_money_is_a_difference(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    delivered(pair)
    payment_id = captured_payment(pair, str(uuid.uuid4()))
    delivered(pair)
    for statement in ("DROP INDEX payments_one_live", "ALTER TABLE payments DISABLE TRIGGER USER"):
        pair.databases.query("payment", statement)
    pair.databases.query("payment", "UPDATE payments SET order_id = %s", order["id"])
    second = [order["id"], "payment", order["payment"]["id"], payment_id, "holds", "900"]
    assert second in differences(pair, order["id"])
