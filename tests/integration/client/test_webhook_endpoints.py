"""Webhook endpoints and `webhooks.verify` against both services."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import get_args

import pytest

from order.transition import EVENTS
from tandem_client import Client, Conflict, InvalidSignature, Item, NotFound, webhooks
from tandem_client.values import Capture, WebhookEventType
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.settings import KEY
from tests.support.webhook_receiver import Receiver, status

TEA = Item("tea-100", quantity=2, unit_amount=450)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def tandem(pair: Pair) -> Iterator[Client]:
    with Client(pair.order.url, api_key=KEY, deadline=20) as client:
        yield client


def test_verify_accepts_every_event_that_is_sent_and_no_changed_one(tandem: Client, receiver: Receiver) -> None:
    endpoint = tandem.create_webhook_endpoint(url=receiver.url, events=get_args(WebhookEventType))
    assert endpoint.secret is not None
    cases: list[tuple[str, Capture | None]] = [
        ("pm_ok", None),
        ("pm_declined", None),
        ("pm_ok", "manual"),
        ("pm_refund_declined", None),
    ]
    for method, capture in cases:
        order = tandem.place_order(
            items=[TEA], currency="EUR", payment_method=method, capture=capture, customer="cus_17", wait=10
        )
        if method == "pm_ok" and capture is None or method == "pm_refund_declined":
            tandem.refund(order.id, wait=10)
        if capture == "manual":
            tandem.capture(order.id, amount=1, final=False, wait=10)
            tandem.cancel(order.id, wait=10)
            tandem.update_order(order.id, metadata={"cart": "9"})
    tandem.test_webhook_endpoint(endpoint.id)
    wanted = {*EVENTS, "webhook.test"} - {"order.expired"}  # An order expires only after days.
    eventually(lambda: wanted <= set(receiver.types()), "every type of event has arrived")
    for received in receiver.received:
        event = webhooks.verify(received.body, received.headers, endpoint.secret)
        assert (event.id, event.type, event.body) == (received.id, received.event["type"], received.event)
        assert event.timestamp.tzinfo is not None
        if event.type != "webhook.test":
            assert event.order is not None
            assert tandem.get_order(event.order.id).customer == event.order.customer == "cus_17"
            assert (event.refund is not None) is event.type.startswith("refund.")
        with pytest.raises(InvalidSignature):
            webhooks.verify(received.body + b" ", received.headers, endpoint.secret)
        with pytest.raises(InvalidSignature):
            webhooks.verify(received.body, {**received.headers, "webhook-id": str(uuid.uuid4())}, endpoint.secret)


def test_an_endpoint_is_created_read_rotated_and_deleted(tandem: Client, receiver: Receiver) -> None:
    created = tandem.create_webhook_endpoint(
        url=receiver.url, events=["order.paid"], description="the warehouse", idempotency_key="the-hook"
    )
    repeated = tandem.create_webhook_endpoint(
        url=receiver.url, events=["order.paid"], description="the warehouse", idempotency_key="the-hook"
    )
    assert (repeated.id, repeated.secret, repeated.answer.replayed) == (created.id, created.secret, True)
    assert (created.url, created.events, created.description) == (receiver.url, ("order.paid",), "the warehouse")
    assert (created.status, created.disabled_reason, created.signed_until) == ("enabled", None, None)
    assert created.secret is not None
    assert created.secret not in repr(created)
    shown = tandem.get_webhook_endpoint(created.id)
    assert (shown.id, shown.secret) == (created.id, None)
    assert list(tandem.list_webhook_endpoints()) == [shown]

    rotated = tandem.rotate_webhook_secret(created.id, overlap_seconds=3600)
    assert rotated.secret not in (None, created.secret)
    assert rotated.signed_until is not None
    delivery = tandem.test_webhook_endpoint(created.id)
    eventually(lambda: receiver.received, "the test event has arrived")
    for secret in (created.secret, str(rotated.secret)):
        assert webhooks.verify(receiver.received[0].body, receiver.received[0].headers, secret).id == delivery.id

    tandem.delete_webhook_endpoint(created.id)
    assert list(tandem.list_webhook_endpoints()) == []
    with pytest.raises(NotFound):
        tandem.delete_webhook_endpoint(created.id)


def test_deliveries_are_listed_read_and_sent_again(tandem: Client, receiver: Receiver) -> None:
    receiver.answer = status(500)
    endpoint = tandem.create_webhook_endpoint(url=receiver.url, events=["order.paid"])
    orders = [tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok", wait=10).id for _ in range(3)]
    eventually(lambda: len({each.id for each in receiver.received}) == 3, "each was tried")
    pending = list(tandem.list_webhook_deliveries(endpoint.id, status="pending", page_size=1))
    assert [each.order_id for each in pending] == orders[::-1]
    assert {(each.type, each.payload, each.attempts) for each in pending} == {("order.paid", None, None)}
    receiver.answer = status(204)

    def settled() -> bool:
        return not list(tandem.list_webhook_deliveries(endpoint.id, status="pending"))

    eventually(settled, "all are delivered")
    seen = tandem.get_webhook_delivery(endpoint.id, pending[0].id)
    assert seen.payload is not None
    assert seen.attempts is not None
    assert (seen.status, seen.last_status_code, seen.payload["data"]["id"]) == ("delivered", 204, orders[-1])
    assert [each.status_code for each in seen.attempts] == [500] * (len(seen.attempts) - 1) + [204]
    assert seen.settled_at is not None
    assert seen.attempts[0].at < seen.settled_at
    before = sum(each.id == seen.id for each in receiver.received)
    assert tandem.redeliver_webhook(endpoint.id, seen.id).id == seen.id
    eventually(lambda: sum(each.id == seen.id for each in receiver.received) == before + 1, "it has arrived once more")


def test_an_endpoint_that_was_disabled_can_be_enabled_again(tandem: Client, receiver: Receiver) -> None:
    receiver.answer = status(410)
    endpoint = tandem.create_webhook_endpoint(url=receiver.url)
    assert "order.placed" not in endpoint.events
    tandem.test_webhook_endpoint(endpoint.id)
    eventually(lambda: tandem.get_webhook_endpoint(endpoint.id).status == "disabled", "it is disabled")
    with pytest.raises(Conflict) as caught:
        tandem.test_webhook_endpoint(endpoint.id)
    assert caught.value.problem.name == "webhook-endpoint-disabled"
    assert tandem.enable_webhook_endpoint(endpoint.id).status == "enabled"
