"""`flask --app order resync`: what was asked since a moment is asked again, under the same ids."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import settled
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY

__all__ = ["databases", "pair"]

LEASED = "SELECT id FROM operations WHERE lease_owner IS NOT NULL AND leased_until > now()"


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


def get(pair: Pair, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.order.get(f"/v1/orders/{order['id']}").json()
    return found


def get_payment(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}").json()
    return found


def use_method(pair: Pair, payment_method: str) -> None:
    """Let the simulator treat all existing payments as this payment method."""
    pair.databases.query(
        "payment",
        f"""ALTER TABLE payments DISABLE TRIGGER USER;
            UPDATE payments SET payment_method = '{payment_method}';
            ALTER TABLE payments ENABLE TRIGGER USER""",
    )


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
    orders = [place(pair), place(pair, payment_method="pm_declined"), *(place(pair, capture="manual") for _ in "12")]
    pair.order.post(f"/v1/orders/{orders[0]['id']}/refunds", {"amount": 100}, Prefer="wait=10")
    pair.order.post(f"/v1/orders/{orders[2]['id']}/capture", Prefer="wait=10")
    settled(pair)
    before = [get(pair, order) for order in orders], provider_operations(pair)
    for _ in range(2):
        result = resync(pair)
        assert "1 commands are sent again" in result.output, "the order that is authorized has no outcome yet"
        settled(pair)
    assert ([get(pair, order) for order in orders], provider_operations(pair)) == before


def refused_refund(pair: Pair, under_way: int) -> dict[str, Any]:
    """Return an order whose refund of 600 was refused: a refund of another caller has no outcome yet."""
    order = place(pair)
    use_method(pair, "pm_timeout_lost")
    pair.payment.post(f"/v1/payments/{order['payment']['id']}/refunds", {"amount": under_way})
    later = "UPDATE operations SET available_at = now() + interval '1 hour' WHERE status = 'pending'"
    eventually(lambda: pair.databases.query("payment", f"{later} AND lease_owner IS NULL RETURNING id"), "it is later")
    refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 600}, Prefer="wait=10").json()
    assert (refund["status"], refund["failure_reason"]) == ("failed", "amount-exceeds-captured")
    return order


def test_a_refund_that_was_refused_is_not_carried_out_by_a_resync(pair: Pair) -> None:
    """Its caller knows that it has failed, and may have asked for another one."""
    order = refused_refund(pair, 500)
    use_method(pair, "pm_refund_declined")
    pair.databases.query("payment", "UPDATE operations SET available_at = now() WHERE status = 'pending'")
    eventually(lambda: get_payment(pair, order["payment"])["refunding_amount"] == 0, "the other refund is declined")
    settled(pair)
    use_method(pair, "pm_ok")
    assert resync(pair).exit_code == 0
    settled(pair)
    assert get_payment(pair, order["payment"])["refunded_amount"] == 0
    assert get(pair, order)["refunded_amount"] == 0


def test_a_refund_that_was_refused_is_not_sent_again_while_its_order_is_canceled(pair: Pair) -> None:
    order = refused_refund(pair, 900)
    assert pair.order.post(f"/v1/orders/{order['id']}/cancel").json()["status"] == "canceling"
    pair.stop_payment()
    due = "SELECT id FROM outbox WHERE delivered_at IS NULL AND topic = 'payment.refund'"
    orders = pair.order_app.extensions["tandem"].use_cases["orders"]
    orders.sweep(orders.database.session(), 0, 0)
    assert pair.databases.query("order", due) == []
    resync(pair)
    assert pair.databases.query("order", due) == []


def test_only_commands_delivered_since_the_moment_are_sent_again(pair: Pair) -> None:
    place(pair)
    pair.databases.query(
        "order",
        """ALTER TABLE orders DISABLE TRIGGER USER;
           UPDATE orders SET asked = jsonb_build_array(
               jsonb_build_object('id', command_id, 'command', 'payment.create'));
           ALTER TABLE orders ENABLE TRIGGER USER;
           UPDATE outbox SET delivered_at = now() - interval '2 hours'""",
    )
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

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = pair.order.get(f"/v1/orders/{order['id']}/refunds/{refund['id']}").json()
        return found

    # Not the order's amount: the answer to the command `create`, which is sent again too, may tell it earlier.
    eventually(lambda: shown()["status"] == "succeeded", "the refund has succeeded")
    assert get(pair, order)["refunded_amount"] == 300
    (made,) = pair.payment.get(f"/v1/payments/{order['payment']['id']}/refunds").json()["data"]
    assert (made["amount"], made["reason"]) == (300, "wet")


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
    assert "3 payments known since" in result.output, "the lost orders are still listed by name"
    assert all(payment["order_id"] in result.output for payment in payments)
    assert "0 of them held money" in result.output
    kinds = [operation["kind"] for operation in provider_operations(pair)]
    assert (kinds.count("refund"), kinds.count("void")) == (3, 1)


@pytest.mark.parametrize("parts", [(400,), (400, 300)])
def test_what_is_captured_of_an_authorized_payment_without_an_order_is_returned(
    pair: Pair, parts: tuple[int, ...]
) -> None:
    payment = pay(pair, capture="manual")
    for part in parts:
        pair.payment.post(f"/v1/payments/{payment['id']}/capture", {"amount": part, "final": False})
        settled(pair)
    for _ in range(2):
        result = resync(pair, "--refund-orphans")
        assert result.exit_code == 0, result.output
        assert get_payment(pair, payment)["refunded_amount"] == sum(parts)
    found = get_payment(pair, payment)
    assert (found["status"], found["captured_amount"]) == ("captured", sum(parts))
    kinds = [operation["kind"] for operation in provider_operations(pair)]
    assert (kinds.count("refund"), kinds.count("void")) == (1, 1)


def test_what_a_refund_leaves_because_another_was_under_way_is_returned_when_that_is_declined(pair: Pair) -> None:
    payment = pay(pair)
    use_method(pair, "pm_timeout_lost")
    pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 300})
    later = "UPDATE operations SET available_at = now() + interval '1 hour' WHERE status = 'pending' RETURNING id"
    eventually(lambda: pair.databases.query("payment", f"{later}"), "the refund has no outcome")
    eventually(lambda: not pair.databases.query("payment", LEASED), "no request to the provider is under way")
    pair.databases.query("payment", later)
    use_method(pair, "pm_ok")
    result = resync(pair, "--refund-orphans")
    assert (result.exit_code, get_payment(pair, payment)["refunded_amount"]) == (1, 600), result.output
    assert "300 EUR are still held" in result.output
    use_method(pair, "pm_refund_declined")
    pair.databases.query("payment", "UPDATE operations SET available_at = now() WHERE status = 'pending'")
    eventually(lambda: get_payment(pair, payment)["refunding_amount"] == 0, "the other refund is declined")
    settled(pair)
    use_method(pair, "pm_ok")
    result = resync(pair, "--refund-orphans")
    assert (result.exit_code, get_payment(pair, payment)["refunded_amount"]) == (0, 900), result.output


def test_a_payment_that_was_there_before_the_moment_is_listed_too(pair: Pair) -> None:
    """A third party pays, the order is placed after the moment and takes the payment, and the restore loses it."""
    payments = [pay(pair), pay(pair)]
    pair.payment.post(f"/v1/payments/{payments[1]['id']}/refunds")
    settled(pair)
    pair.databases.query("order", "UPDATE orphan_payments SET first_seen_at = now() - interval '2 hours'")
    result = resync(pair)
    assert "2 payments known before" in result.output
    assert all(payment["order_id"] in result.output for payment in payments)
    assert get_payment(pair, payments[0])["refunded_amount"] == 0
    assert resync(pair, "--refund-orphans").exit_code == 0
    assert get_payment(pair, payments[0])["refunded_amount"] == 900


@pytest.mark.parametrize(
    ("payment_method", "capture", "command"),
    [("pm_refund_declined", "automatic", "refund"), ("pm_void_declined", "manual", "void")],
)
def test_money_that_could_not_be_returned_is_an_error_and_can_be_returned_later(
    pair: Pair, payment_method: str, capture: str, command: str
) -> None:
    payment = pay(pair, payment_method=payment_method, capture=capture)
    result = resync(pair, "--refund-orphans")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if payment["id"] in line]
    assert f"{command} failed" in line
    use_method(pair, "pm_ok")  # the provider declines no more
    assert resync(pair, "--refund-orphans").exit_code == 0
    assert resync(pair, "--refund-orphans").exit_code == 0
    kinds = [operation["kind"] for operation in provider_operations(pair) if operation["result"] == "succeeded"]
    assert kinds.count(command) == 1


def test_a_request_to_return_money_is_repeated_under_its_key_until_it_has_an_outcome(pair: Pair) -> None:
    pay(pair)
    use_method(pair, "pm_timeout_lost")
    assert resync(pair, "--refund-orphans").exit_code == 1
    eventually(lambda: resync(pair, "--refund-orphans").exit_code == 0, "the money is returned")
    keys = pair.databases.query("payment", "SELECT key FROM idempotency_keys WHERE key LIKE 'orphan-%%'")
    assert len(keys) == 1


LOSE = """
ALTER TABLE ledger_entries DISABLE TRIGGER USER;
DELETE FROM ledger_entries; DELETE FROM operations; DELETE FROM payments; DELETE FROM idempotency_keys;
ALTER TABLE ledger_entries ENABLE TRIGGER USER
"""
"""Payment's database is restored to a moment before its first payment."""


def place_on_a_payment_that_gets_lost(pair: Pair, amount: int, *, cancel: bool, purged: bool) -> dict[str, Any]:
    """A third party pays, then the order is placed; the provider is not asked before payment's database is lost."""
    provider = Client(pair.payment.url, INTERNAL_KEY)
    assert provider.request("PUT", "/v1/simulator/faults", json={"lost_requests_percent": 100}).status_code == 200
    order_id = str(uuid.uuid4())
    wanted = {"order_id": order_id, "amount": amount, "currency": "EUR", "payment_method": "pm_ok"}
    payment = pair.payment.post("/v1/payments", wanted).json()
    sketch = {"id": order_id, "items": ["tea"], "total": 9}
    assert pair.order.request("POST", "/orders", json=sketch).status_code == 201
    order = eventually(lambda: known(pair, order_id, payment["id"]), "the order knows the third party's payment")
    assert order is not None
    if cancel:
        assert pair.order.post(f"/v1/orders/{order_id}/cancel").status_code in (200, 202)
    settled(pair)
    # A restore takes longer than any request to the provider.
    later = "UPDATE operations SET available_at = now() + interval '1 hour' WHERE lease_owner IS NULL RETURNING id"
    eventually(lambda: pair.databases.query("payment", later), "no request to the provider is under way")
    pair.databases.query("payment", LOSE)
    if purged:
        pair.databases.query("order", "DELETE FROM outbox")
    assert provider.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
    return order


def known(pair: Pair, order_id: str, payment_id: str) -> dict[str, Any] | None:
    order: dict[str, Any] = pair.order.get(f"/v1/orders/{order_id}").json()
    return order if order["payment"] and order["payment"]["id"] == payment_id else None


@pytest.mark.parametrize("purged", [False, True])
@pytest.mark.parametrize(("amount", "cancel"), [(900, False), (900, True), (500, False), (500, True)])
def test_no_order_waits_for_a_payment_that_payment_has_lost(
    pair: Pair, amount: int, cancel: bool, purged: bool
) -> None:
    order = place_on_a_payment_that_gets_lost(pair, amount, cancel=cancel, purged=purged)
    result = resync(pair)
    assert (result.exit_code, "1 payments that payment has lost" in result.output) == (0, True), result.output
    stuck = purged and amount == 500 and not cancel
    if stuck:  # its command is gone, and it had ended: the merchant tries again
        again = {"payment_method": "pm_ok"}
        assert pair.order.post(f"/v1/orders/{order['id']}/payment-attempts", again).status_code in (200, 202)
    wanted = ("canceled", 0) if cancel else ("paid", 900)

    def shown() -> bool:
        order_now = get(pair, order)
        held = pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"]
        kept = sum(each["captured_amount"] - each["refunded_amount"] for each in held)
        return (order_now["status"], kept) == wanted

    eventually(shown, f"the order is {wanted[0]}")
    settled(pair)
    done = [each["kind"] for each in provider_operations(pair) if each["result"]]
    assert done.count("sale") <= 1, provider_operations(pair)


def test_a_payment_that_payment_has_is_not_taken_from_its_order(pair: Pair) -> None:
    provider = Client(pair.payment.url, INTERNAL_KEY)
    assert provider.request("PUT", "/v1/simulator/faults", json={"lost_requests_percent": 100}).status_code == 200
    order = pair.order.post("/v1/orders", ORDER).json()
    eventually(lambda: get(pair, order)["payment"], "the order knows its payment")
    assert "has lost" not in resync(pair).output
    pair.stop_payment()
    result = resync(pair)
    assert (result.exit_code, "did not answer" in result.output) == (2, True)
    pair.start_payment()
    assert provider.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
    eventually(lambda: get(pair, order)["status"] == "paid", "the order is paid")


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
