"""Which events are sent to which endpoints, and what they contain."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from order.transition import EVENTS
from order.webhooks.model import DEFAULT_EVENTS
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import OTHER_KEY
from tests.support.webhook_receiver import Receiver, deliveries, path_of, register

WAIT = {"Prefer": "wait=10"}
MANUAL = {"capture": "manual"}


def place(pair: Pair, **changes: Any) -> dict[str, Any]:
    answer = pair.order.post("/v1/orders", {**ORDER, **changes}, **WAIT)
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


def post(pair: Pair, order: dict[str, Any], what: str, body: Any = None) -> dict[str, Any]:
    answer = pair.order.post(f"/v1/orders/{order['id']}/{what}", body, **WAIT)
    assert answer.status_code in (200, 201), answer.text
    done: dict[str, Any] = answer.json()
    return done


def received_events(receiver: Receiver, order: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Wait until the receiver has at least `count` events of an order. Returns them."""

    def look() -> list[dict[str, Any]] | None:
        events = [received.event for received in receiver.received if received.event["data"].get("id") == order["id"]]
        return events if len(events) >= count else None

    events = eventually(look, f"{count} events of the order are received")
    assert events is not None
    return events


def test_an_event_contains_the_order_as_the_api_shows_it(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    order = place(pair, metadata={"cart": "Grüße"})
    placed, paid = received_events(receiver, order, 2)
    assert [placed["type"], paid["type"]] == ["order.placed", "order.paid"]
    assert (placed["data"]["status"], placed["data"]["version"]) == ("pending_payment", 1)
    assert paid["data"] == pair.order.get(f"/v1/orders/{order['id']}").json()
    assert set(paid) == {"type", "timestamp", "data"}
    for received in receiver.received:
        assert received.verified(endpoint["secret"]) == received.event
        assert received.path == "/hook"
        assert received.headers["content-type"] == "application/json"
    assert len({received.id for received in receiver.received}) == 2


def test_each_event_of_an_orders_history_is_sent_once(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    """Each step that is an event is sent once, with its version, and nothing else is sent."""
    captured = place(pair, **MANUAL)
    post(pair, captured, "capture", {"amount": 100, "final": False})
    post(pair, captured, "capture")
    post(pair, captured, "refunds", {"amount": 300})
    post(pair, captured, "refunds")
    voided = place(pair, **MANUAL)
    post(pair, voided, "cancel")
    canceled = place(pair)
    post(pair, canceled, "cancel")
    tried_again = place(pair, payment_method="pm_declined")
    post(pair, tried_again, "payment-attempts", {"payment_method": "pm_ok"})
    given_up = place(pair, payment_method="pm_declined")
    post(pair, given_up, "cancel")
    pair.order.request("PATCH", f"/v1/orders/{given_up['id']}", json={"metadata": {"a": "1"}})
    refused = place(pair, payment_method="pm_refund_declined")
    post(pair, refused, "cancel")
    expired = place(pair, **MANUAL)
    pair.databases.query("payment", "UPDATE payments SET expires_at = now(), version = version + 1")
    eventually(lambda: pair.order.get(f"/v1/orders/{expired['id']}").json()["status"] == "expired", "it expires")
    seen = set()
    for order in (captured, voided, canceled, tried_again, given_up, refused, expired):
        history = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"]
        steps = [(step["version"], step["type"]) for step in history if step["type"] in EVENTS]
        events = received_events(receiver, order, len(steps))
        of_order = [(e["data"]["version"], e["type"]) for e in events if e["type"].startswith("order.")]
        assert sorted(of_order) == [step for step in steps if step[1].startswith("order.")]
        assert of_order == sorted(of_order), "in order, since no delivery failed"
        of_refunds = sorted(e["type"] for e in events if e["type"].startswith("refund."))
        assert of_refunds == sorted(kind for _, kind in steps if kind.startswith("refund."))
        seen |= {kind for _, kind in steps}
        stored = {each["id"] for each in deliveries(pair.order, endpoint) if each["order_id"] == order["id"]}
        assert len(stored) == len(steps)
    assert seen == set(EVENTS)


def test_a_refund_event_contains_the_refund_and_its_order(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    order = place(pair)
    refund = post(pair, order, "refunds", {"amount": 300, "reason": "one was broken"})
    part = received_events(receiver, order, 3)[-1]
    assert part["type"] == "refund.succeeded"
    assert part["data"] == pair.order.get(f"/v1/orders/{order['id']}").json()
    assert (part["data"]["status"], part["data"]["refunded_amount"]) == ("paid", 300)
    assert part["refund"] == refund
    rest = post(pair, order, "refunds")
    events = {event["type"]: event for event in received_events(receiver, order, 5)[3:]}
    assert set(events) == {"order.refunded", "refund.succeeded"}
    assert events["order.refunded"]["data"]["refunded_amount"] == 900
    assert events["refund.succeeded"]["refund"] == rest


def test_a_declined_refund_has_an_event(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    order = place(pair, payment_method="pm_refund_declined")
    post(pair, order, "refunds", {"amount": 100})
    failed = received_events(receiver, order, 3)[-1]
    assert (failed["type"], failed["data"]["status"]) == ("refund.failed", "paid")
    assert (failed["refund"]["status"], failed["refund"]["failure_reason"]) == ("failed", "refund_declined")


def test_a_free_order_has_the_events_placed_and_paid(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    order = place(pair, items=[{"sku": "sample", "quantity": 1, "unit_amount": 0}])
    events = received_events(receiver, order, 2)
    assert [event["type"] for event in events] == ["order.placed", "order.paid"]
    assert [event["data"]["version"] for event in events] == [1, 2]


def test_an_order_of_the_sketch_has_the_same_events(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    order = {"id": str(uuid.uuid4()), "items": ["tea"], "total": 1.5}
    assert pair.order.post("/orders", order).status_code == 201
    assert pair.order.post("/orders", order).status_code == 201
    events = received_events(receiver, order, 2)
    assert [event["type"] for event in events] == ["order.placed", "order.paid"]
    assert events[1]["data"] == pair.order.get(f"/v1/orders/{order['id']}").json()


def test_a_repeated_request_sends_no_event_again(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    answers = [pair.order.post("/v1/orders", ORDER, "the-same", **WAIT) for _ in range(3)]
    (order_id,) = {answer.json()["id"] for answer in answers}
    last = place(pair)
    received_events(receiver, last, 2)
    assert receiver.types(order_id) == ["order.placed", "order.paid"]


def test_an_endpoint_gets_only_its_merchants_events_to_which_it_subscribed(pair: Pair) -> None:
    with Receiver() as paid_only, Receiver() as by_default, Receiver() as theirs:
        other = Client(pair.order.url, OTHER_KEY)
        mine = [register(pair.order, paid_only.url, events=["order.paid"])]
        made = pair.order.post("/v1/webhook-endpoints", {"url": by_default.url}).json()
        assert made["events"] == list(DEFAULT_EVENTS)
        elsewhere = register(other, theirs.url)
        order = place(pair)
        post(pair, order, "cancel")
        stranger = other.post("/v1/orders", ORDER, **WAIT).json()
        received_events(by_default, order, 3)
        received_events(theirs, stranger, 2)
        received_events(paid_only, order, 1)
        assert paid_only.types() == ["order.paid"]
        assert sorted(by_default.types()) == ["order.canceled", "order.paid", "refund.succeeded"]
        assert theirs.types(order["id"]) == []
        assert by_default.types(stranger["id"]) == []
        # An event has the same id at each endpoint.
        ids = {r.id for r in (*by_default.received, *paid_only.received) if r.event["type"] == "order.paid"}
        assert len(ids) == 1
        for client, endpoint in ((pair.order, mine[0]), (pair.order, made), (other, elsewhere)):
            assert client.request("DELETE", path_of(endpoint)).status_code == 204


@pytest.mark.parametrize("secret", ["whsec_" + "QUFB" * 11, "the other endpoint's"])
def test_an_event_cannot_be_verified_with_another_secret(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any], secret: str
) -> None:
    if secret == "the other endpoint's":
        secret = register(pair.order, receiver.url, events=["order.expired"])["secret"]
    order = place(pair)
    received_events(receiver, order, 2)
    for received in receiver.received:
        with pytest.raises(Exception, match="No matching signature"):
            received.verified(secret)
