"""`flask --app order resync`: what was asked since a moment is asked again, under the same ids."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases
from tests.support.pair import ORDER, Pair

__all__ = ["databases"]

UNDELIVERED = "SELECT topic FROM outbox WHERE delivered_at IS NULL"


@pytest.fixture
def pair(databases: Databases) -> Iterator[Pair]:
    """Both services with empty databases."""
    with Pair(databases) as pair:
        yield pair


def resync(pair: Pair, *options: str, since: datetime | None = None) -> Result:
    since = since or datetime.now(UTC) - timedelta(hours=1)
    return pair.order_app.test_cli_runner().invoke(args=["resync", "--since", since.isoformat(), *options])


def place(pair: Pair, **changes: Any) -> dict[str, Any]:
    order: dict[str, Any] = pair.order.post("/v1/orders", {**ORDER, **changes}, Prefer="wait=10").json()
    settled(pair)
    return order


def pay(pair: Pair, **changes: Any) -> dict[str, Any]:
    """Create a payment for an order that does not exist."""
    wanted = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}
    payment: dict[str, Any] = pair.payment.post("/v1/payments", wanted).json()
    settled(pair)
    return payment


def settled(pair: Pair) -> None:
    for service in ("order", "payment"):
        eventually(lambda service=service: not pair.databases.query(service, UNDELIVERED), "all is delivered")  # type: ignore[misc]


def get(pair: Pair, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.order.get(f"/v1/orders/{order['id']}").json()
    return found


def provider_operations(pair: Pair) -> list[dict[str, Any]]:
    return pair.databases.query("payment", "SELECT kind, amount, result FROM simulator.operations ORDER BY kind")


def test_an_order_that_missed_an_event_gets_the_current_payment(pair: Pair) -> None:
    order = place(pair, capture="manual")
    pair.databases.query(
        "payment",
        """CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
           CREATE TRIGGER lose BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION lose()""",
    )
    assert pair.payment.post(f"/v1/payments/{order['payment']['id']}/capture").json()["status"] == "captured"
    assert get(pair, order)["status"] == "authorized"
    result = resync(pair)
    assert result.exit_code == 0, result.output
    eventually(lambda: get(pair, order)["status"] == "paid", "the order is paid")


def test_a_repetition_charges_and_refunds_nothing_again(pair: Pair) -> None:
    orders = [place(pair), place(pair, payment_method="pm_declined"), place(pair, capture="manual")]
    pair.order.post(f"/v1/orders/{orders[0]['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    pair.order.post(f"/v1/orders/{orders[2]['id']}/capture", Prefer="wait=10")
    settled(pair)
    before = [get(pair, order) for order in orders], provider_operations(pair)
    for _ in range(2):
        result = resync(pair)
        assert "5 commands are sent again" in result.output
        settled(pair)
    assert ([get(pair, order) for order in orders], provider_operations(pair)) == before


def test_only_commands_delivered_since_the_moment_are_sent_again(pair: Pair) -> None:
    place(pair)
    pair.databases.query("order", "UPDATE outbox SET delivered_at = now() - interval '2 hours'")
    assert "0 commands are sent again" in resync(pair).output
    assert "1 commands are sent again" in resync(pair, since=datetime.now(UTC) - timedelta(hours=3)).output


def test_an_order_that_waits_is_asked_about_however_old_it_is(pair: Pair) -> None:
    place(pair, capture="manual")
    pair.databases.query("order", "UPDATE outbox SET delivered_at = now() - interval '2 hours'")
    assert "1 commands are sent again" in resync(pair).output


def test_a_command_that_was_purged_is_sent_under_its_id(pair: Pair) -> None:
    pair.stop_payment()
    order = pair.order.post("/v1/orders", ORDER).json()
    (command,) = pair.databases.query("order", "SELECT id FROM outbox")
    pair.databases.query("order", "DELETE FROM outbox")
    pair.start_payment()
    result = resync(pair)
    assert "1 of them were rebuilt" in result.output
    eventually(lambda: get(pair, order)["status"] == "paid", "the order is paid")
    assert pair.databases.query("payment", "SELECT key FROM idempotency_keys") == [{"key": str(command["id"])}]


def test_a_refund_that_was_purged_is_sent_under_its_id_with_amount_and_reason(pair: Pair) -> None:
    order = place(pair)
    pair.stop_payment()
    refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 300, "reason": "wet"}).json()
    pair.databases.query("order", "DELETE FROM outbox WHERE topic = 'payment.refund'")
    pair.start_payment()
    assert "1 of them were rebuilt" in resync(pair).output
    eventually(lambda: get(pair, order)["refunded_amount"] == 300, "the refund has succeeded")
    (made,) = pair.payment.get(f"/v1/payments/{order['payment']['id']}/refunds").json()["data"]
    assert (made["amount"], made["reason"]) == (300, "wet")
    (shown,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert (shown["id"], shown["status"]) == (refund["id"], "succeeded")


def test_payments_without_an_order_are_listed_by_name_and_nothing_else_happens(pair: Pair) -> None:
    payment = pay(pair)
    result = resync(pair)
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if payment["id"] in line]
    assert payment["order_id"] in line
    assert "--refund-orphans" in result.output
    assert pair.payment.get(f"/v1/payments/{payment['id']}").json()["refunded_amount"] == 0


def test_the_money_of_payments_without_an_order_is_returned_once(pair: Pair) -> None:
    payments = [pay(pair), pay(pair, capture="manual"), pay(pair)]
    pair.payment.post(f"/v1/payments/{payments[2]['id']}/refunds", {"amount": 300})
    settled(pair)
    for _ in range(2):
        result = resync(pair, "--refund-orphans")
        assert result.exit_code == 0, result.output
    found = [pair.payment.get(f"/v1/payments/{payment['id']}").json() for payment in payments]
    assert [(each["status"], each["refunded_amount"]) for each in found] == [
        ("captured", 900),
        ("voided", 0),
        ("captured", 900),
    ]
    assert "0 payments have become known" in result.output
    kinds = [operation["kind"] for operation in provider_operations(pair)]
    assert (kinds.count("refund"), kinds.count("void")) == (3, 1)


def test_payments_that_were_without_an_order_before_the_moment_are_left_alone(pair: Pair) -> None:
    payment = pay(pair)
    pair.databases.query("order", "UPDATE orphan_payments SET first_seen_at = now() - interval '2 hours'")
    result = resync(pair, "--refund-orphans")
    assert payment["id"] not in result.output
    assert pair.payment.get(f"/v1/payments/{payment['id']}").json()["refunded_amount"] == 0


def test_money_that_could_not_be_returned_is_an_error(pair: Pair) -> None:
    payment = pay(pair, payment_method="pm_refund_declined")
    result = resync(pair, "--refund-orphans")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if payment["id"] in line]
    assert "refund failed" in line


def test_a_payment_that_does_not_answer_is_an_error_and_the_others_are_tried(pair: Pair) -> None:
    payments = [pay(pair), pay(pair)]
    pair.stop_payment()
    result = resync(pair, "--refund-orphans")
    assert result.exit_code == 1
    assert all(payment["id"] in result.output for payment in payments)
    pair.start_payment()
    eventually(lambda: resync(pair, "--refund-orphans").exit_code == 0, "payment is back")


def test_the_moment_is_required_and_must_be_a_time(pair: Pair) -> None:
    runner = pair.order_app.test_cli_runner()
    assert runner.invoke(args=["resync"]).exit_code == 2
    result = runner.invoke(args=["resync", "--since", "yesterday"])
    assert (result.exit_code, "2030-01-31T12:00:00Z" in result.output) == (2, True)
