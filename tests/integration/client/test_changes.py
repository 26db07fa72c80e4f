"""Labels, refunds with their own address, and changes of webhook endpoints, against both services."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tandem_client import Client, Item, NotFound, Order, PreconditionFailed
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.settings import KEY
from tests.support.webhook_receiver import Receiver


@pytest.fixture
def tandem(pair: Pair) -> Iterator[Client]:
    with Client(pair.order.url, pair.payment.url, api_key=KEY, deadline=20) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def place(tandem: Client, **labels: str) -> Order:
    tea = [Item("tea-100", quantity=2, unit_amount=450)]
    return tandem.place_order(items=tea, currency="EUR", payment_method="pm_ok", metadata=labels, wait=10)


def test_labels_are_set_removed_and_searched(tandem: Client) -> None:
    order, other = place(tandem, cart="9", note="x"), place(tandem, cart="10")
    changed = tandem.update_order(order.id, metadata={"note": None, "box": "7"}, if_match=order.version)
    assert (changed.metadata, changed.version) == ({"cart": "9", "box": "7"}, order.version + 1)
    again = tandem.update_order(other.id, metadata={"box": "8"}, idempotency_key="label")
    assert not again.answer.replayed
    assert tandem.update_order(other.id, metadata={"box": "8"}, idempotency_key="label").answer.replayed
    with pytest.raises(PreconditionFailed):
        tandem.update_order(order.id, metadata={"box": "1"}, if_match=order.version)
    assert [each.id for each in tandem.list_orders(metadata={"cart": "9", "box": "7"})] == [order.id]
    assert [each.id for each in tandem.list_orders(sort="created_at")] == [order.id, other.id]


def test_orders_are_found_by_several_statuses(tandem: Client) -> None:
    paid, refunded = place(tandem), place(tandem)
    tandem.refund(refunded.id, wait=10)
    tandem.wait_until(refunded, "refunded")
    place_failed = tandem.place_order(
        items=[Item("tea-100", 1, 450)], currency="EUR", payment_method="pm_declined", wait=10
    )
    assert place_failed.status == "payment_failed"
    found = tandem.list_orders(status=["paid", "refunded"], page_size=1)
    assert [order.id for order in found] == [refunded.id, paid.id]


def test_refunds_are_read_alone_and_listed_over_all_orders(tandem: Client) -> None:
    first, second = place(tandem), place(tandem)
    refunds = [
        tandem.refund(first.id, amount=100, metadata={"case": "1"}, wait=10),
        tandem.refund(second.id, amount=200, wait=10),
        tandem.refund(first.id, amount=300, wait=10),
    ]
    assert refunds[0].metadata == {"case": "1"}
    assert refunds[0].order_id == first.id
    assert first.payment is not None
    assert refunds[0].payment_id == first.payment.id
    assert tandem.get_refund(first.id, refunds[0].id) == refunds[0]
    with pytest.raises(NotFound):
        tandem.get_refund(second.id, refunds[0].id)
    assert list(tandem.list_all_refunds(page_size=1)) == refunds[::-1]
    assert list(tandem.list_all_refunds(status=["pending", "failed"])) == []
    assert list(tandem.list_all_refunds(status="succeeded", created_after=refunds[0].created_at)) == refunds[:0:-1]


def test_an_endpoint_is_changed_tested_and_gets_all_events_again(tandem: Client, receiver: Receiver) -> None:
    endpoint = tandem.create_webhook_endpoint(url=receiver.url, events=["order.paid"], description="stock")
    changed = tandem.update_webhook_endpoint(endpoint.id, events=["order.placed", "order.paid"])
    assert (changed.events, changed.description, changed.status) == (("order.placed", "order.paid"), "stock", "enabled")
    cleared = tandem.update_webhook_endpoint(endpoint.id, description=None, enabled=False)
    assert (cleared.description, cleared.status, cleared.url) == (None, "disabled", receiver.url)
    assert tandem.update_webhook_endpoint(endpoint.id, enabled=True).status == "enabled"

    tandem.test_webhook_endpoint(endpoint.id, type="refund.failed")
    eventually(lambda: receiver.types() == ["refund.failed"], "the example has arrived")
    order = place(tandem)
    eventually(lambda: sorted(receiver.types())[:2] == ["order.paid", "order.placed"], "both events have arrived")
    tandem.redeliver_webhooks(endpoint.id, since=order.created_at - timedelta(minutes=1))
    eventually(lambda: receiver.types().count("order.paid") == 2, "the event has arrived again")
    eventually(lambda: tandem.get_webhook_endpoint(endpoint.id).redelivering_since is None, "it is done")

    soon = datetime.now(timezone.utc) + timedelta(minutes=1)  # noqa: UP017 - as a caller on Python 3.10 writes it
    (paid,) = tandem.list_webhook_deliveries(endpoint.id, type="order.paid", created_before=soon)
    assert (paid.order_id, paid.type) == (order.id, "order.paid")
    assert list(tandem.list_webhook_deliveries(endpoint.id, type="order.paid", created_after=soon)) == []
