"""The client's operations against both services, and over a network that loses connections."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tandem_client import (
    Client,
    Conflict,
    Forbidden,
    Invalid,
    Item,
    NotFound,
    Order,
    OutcomeUnknown,
    Unauthorized,
    Unavailable,
)
from tandem_client.values import Capture
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.proxy import Proxy
from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY, READONLY_KEY

TEA = Item("tea-100", quantity=2, unit_amount=450, name="Green tea")


@pytest.fixture
def tandem(pair: Pair) -> Iterator[Client]:
    with Client(pair.order.url, pair.payment.url, api_key=KEY, deadline=20) as client:
        yield client


def place(tandem: Client, **change: Any) -> Order:
    wanted: dict[str, Any] = {"items": [TEA], "currency": "EUR", "payment_method": "pm_ok", "wait": 10, **change}
    return tandem.place_order(**wanted)


def test_an_order_is_placed_paid_read_and_refunded(tandem: Client) -> None:
    order = place(tandem, customer="cus_17", metadata={"cart": "9"})
    assert (order.status, order.paid_amount, order.customer, order.metadata) == ("paid", 900, "cus_17", {"cart": "9"})
    assert order.items == (Item("tea-100", 2, 450, "Green tea", 900),)
    assert tandem.get_order(order.id) == order
    events = tandem.order_events(order.id)
    assert [(event.type, event.before, event.after) for event in events] == [
        ("order.placed", None, "pending_payment"),
        ("order.paid", "pending_payment", "paid"),
    ]
    part = tandem.refund(order.id, amount=300, reason="a broken cup", wait=10)
    rest = tandem.refund(order.id, wait=10)
    assert [(each.status, each.amount, each.reason) for each in (part, rest)] == [
        ("succeeded", 300, "a broken cup"),
        ("succeeded", 600, None),
    ]
    assert list(tandem.list_refunds(order.id, page_size=1)) == [rest, part]
    assert [event.version for event in tandem.order_events(order.id, page_size=1)][:3] == [1, 2, 3]
    eventually(lambda: tandem.get_order(order.id).status == "refunded", "the order is refunded")
    with pytest.raises(Conflict) as caught:
        tandem.refund(order.id)
    assert caught.value.problem.name == "order-state"


def test_a_declined_order_can_be_paid_again(tandem: Client) -> None:
    order = place(tandem, payment_method="pm_declined")
    assert order.payment is not None
    assert (order.status, order.payment.failure_reason) == ("payment_failed", "card_declined")
    assert tandem.pay_again(order.id, payment_method="pm_ok", wait=10).status == "paid"


def test_authorized_orders_are_captured_and_canceled(tandem: Client) -> None:
    orders = [place(tandem, capture="manual") for _ in range(2)]
    assert [order.status for order in orders] == ["authorized"] * 2
    captured = tandem.capture(orders[0].id, amount=orders[0].total_amount - 1, wait=10)
    assert (captured.status, captured.paid_amount, captured.last_error) == ("paid", captured.total_amount - 1, None)
    assert captured.payment is not None
    assert captured.payment.captured_amount == captured.paid_amount
    assert tandem.cancel(orders[1].id, wait=10).status == "canceled"


def test_an_order_is_captured_in_parts_and_the_rest_is_released(tandem: Client) -> None:
    order = place(tandem, capture="manual")
    for paid in (100, 200):
        part = tandem.capture(order.id, amount=100, final=False, wait=10)
        assert (part.status, part.paid_amount) == ("authorized", paid)
    released = tandem.capture(order.id, amount=0, wait=10)
    assert (released.status, released.paid_amount) == ("paid", 200)
    assert released.payment is not None
    operations = list(tandem.operations(released.payment.id))
    assert [(made.kind, made.amount, made.final) for made in operations] == [
        ("authorize", order.total_amount, None),
        ("capture", 100, False),
        ("capture", 100, False),
        ("void", order.total_amount - 200, None),
    ]
    assert {"order.partially_captured"} <= {step.type for step in tandem.order_events(order.id)}


def test_a_payment_is_captured_refunded_and_booked(tandem: Client) -> None:
    def make(capture: Capture, key: str | None = None) -> Any:
        return tandem.create_payment(
            order_id=str(uuid.UUID(int=77)) if key else str(uuid.uuid4()),
            amount=1000,
            currency="EUR",
            payment_method="pm_ok",
            capture=capture,
            idempotency_key=key,
        )

    held, void = make("manual", "the-payment"), make("manual")
    again = make("manual", "the-payment")
    assert (held.answer.replayed, again.answer.replayed, again.id) == (False, True, held.id)
    assert tandem.void_payment(void.id).status == "voided"
    assert tandem.capture_payment(held.id, amount=400).captured_amount == 400
    refund = tandem.refund_payment(held.id, amount=150, reason="a broken cup")
    assert (refund.status, refund.amount) == ("succeeded", 150)
    assert list(tandem.list_payment_refunds(held.id, page_size=1)) == [refund]
    payment = tandem.get_payment(held.id)
    assert (payment.status, payment.refunded_amount, payment.provider) == ("captured", 150, "simulator")
    operations = tandem.operations(held.id, page_size=2)
    assert [(each.kind, each.status) for each in operations] == [
        (kind, "succeeded") for kind in ("authorize", "capture", "refund")
    ]
    assert tandem.provider_account(held.id).captured_amount == 400
    assert {balance.account: balance.balance for balance in tandem.balances(currency="EUR")} == {
        "provider_clearing": 250,
        "merchant_payable": -250,
    }
    entries = list(tandem.entries(payment_id=held.id, page_size=1))
    assert sorted((entry.direction, entry.amount) for entry in entries) == [
        (direction, amount) for direction in ("credit", "debit") for amount in (150, 400)
    ]
    assert [payment.id for payment in tandem.list_payments(order_id=held.order_id)] == [held.id]


def test_a_long_list_is_read_page_by_page(tandem: Client) -> None:
    placed = [place(tandem).id for _ in range(5)]
    payments = tandem.list_payments(status="captured", page_size=2)
    first = next(payments)
    place(tandem)  # A payment created meanwhile does not shift the pages.
    found = [payment.order_id for payment in itertools.chain([first], payments)]
    assert found == placed[::-1]


def test_each_refusal_raises_its_exception(pair: Pair, tandem: Client) -> None:
    with pytest.raises(NotFound):
        tandem.get_order(str(uuid.uuid4()))
    with pytest.raises(Invalid) as caught:
        tandem.place_order(items=[], currency="EUR", payment_method="pm_ok")
    assert [error.pointer for error in caught.value.problem.errors] == ["/items"]
    assert f"{pair.order.url}/problems/validation" in str(caught.value)
    with pytest.raises(Unauthorized):
        Client(pair.order.url, api_key="tdm_stranger").get_order(str(uuid.uuid4()))
    with pytest.raises(Forbidden):
        place(Client(pair.order.url, api_key=READONLY_KEY))
    order = place(tandem, idempotency_key="once")
    with pytest.raises(Invalid) as caught:
        place(tandem, idempotency_key="once", currency="USD")
    assert caught.value.problem.name == "idempotency-key-reused"
    with pytest.raises(NotFound):
        Client(pair.order.url, api_key=OTHER_KEY).get_order(order.id)


def test_an_api_key_for_any_merchant_acts_for_the_named_merchant(pair: Pair, tandem: Client) -> None:
    (payment,) = tandem.list_payments(order_id=place(tandem).id)
    peer = Client(pair.order.url, pair.payment.url, api_key=INTERNAL_KEY)
    assert peer.with_options(merchant="demo").get_payment(payment.id) == payment
    with pytest.raises(NotFound):
        peer.with_options(merchant="other").get_payment(payment.id)


@pytest.mark.parametrize("mode", ["refuse", "cut_request", "cut_response", "swallow_response"])
def test_one_order_is_placed_over_a_network_that_loses_connections(pair: Pair, mode: str) -> None:
    recovery = threading.Timer(0.7, lambda: setattr(proxy, "mode", "pass"))
    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        tandem = Client(proxy.url, api_key=KEY, timeout=0.3, deadline=20)
        proxy.mode = mode
        recovery.start()
        order = tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok")
        recovery.join()
        tandem.close()
    rows = pair.databases.query("order", "SELECT id FROM orders")
    assert [str(row["id"]) for row in rows] == [order.id]
    assert order.answer.replayed is (mode in ("cut_response", "swallow_response"))
    eventually(lambda: pair.databases.charges(order.id) == [{"amount": 900, "currency": "EUR"}], "one charge")


def test_a_call_with_an_unknown_outcome_continues_with_its_key(pair: Pair) -> None:
    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        tandem = Client(proxy.url, api_key=KEY, timeout=0.3, deadline=1)
        proxy.mode = "cut_response"
        with pytest.raises(OutcomeUnknown) as caught:
            tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok")
        proxy.mode = "pass"
        order = tandem.place_order(
            items=[TEA], currency="EUR", payment_method="pm_ok", idempotency_key=caught.value.idempotency_key
        )
        tandem.close()
    assert order.answer.replayed
    assert len(pair.databases.query("order", "SELECT id FROM orders")) == 1


def test_a_service_that_is_down_raises_unavailable(pair: Pair, tandem: Client) -> None:
    pair.stop_payment()
    impatient = tandem.with_options(deadline=0.5)
    with pytest.raises(Unavailable, match="This call changed nothing"):
        impatient.create_payment(order_id=str(uuid.uuid4()), amount=1, currency="EUR", payment_method="pm_ok")
    with pytest.raises(Unavailable):
        impatient.balances()


def test_the_command_to_payment_has_the_id_of_the_request(pair: Pair, tandem: Client) -> None:
    order = place(tandem)
    headers = pair.databases.query("order", "SELECT headers FROM outbox WHERE aggregate_id = %s", order.id)
    assert headers[0]["headers"]["X-Request-Id"] == order.answer.request_id


def test_events_are_read_from_where_the_last_call_ended(tandem: Client) -> None:
    before = tandem.read_events(since=datetime.now(UTC), page_size=1).answer.body["next_cursor"]
    order = place(tandem)
    first = tandem.read_events(after=before, order_id=order.id, wait=10, page_size=1)
    assert [(event.type, event.order_id, event.version) for event in first] == [("order.placed", order.id, 1)]
    assert first.answer.body["has_more"] is True
    (paid,) = tandem.read_events(after=first.answer.body["next_cursor"], order_id=order.id, wait=10)
    assert (paid.type, paid.order.status, paid.refund) == ("order.paid", "paid", None)
    assert [each.type for each in tandem.read_events(type="order.paid", order_id=order.id)] == ["order.paid"]
    moment = order.created_at - timedelta(seconds=1)
    assert order.id in [each.id for each in tandem.list_orders(updated_after=moment)]
