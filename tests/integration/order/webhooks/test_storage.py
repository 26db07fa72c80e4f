"""What an event costs in storage: it is one row with what changed, however many endpoints get it."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from tests.integration.order.webhooks.test_events import WAIT, place, post, received_events
from tests.support.pair import Pair
from tests.support.webhook_receiver import Receiver, register

ITEMS = [
    {"sku": f"sku-{number:03d}-{'x' * 80}", "name": "n" * 200, "quantity": 1, "unit_amount": 100}
    for number in range(100)
]
RANDOM = random.Random(1)
METADATA = {  # PostgreSQL compresses what repeats itself
    f"key-{number}": "".join(RANDOM.choices(string.ascii_letters, k=500)) for number in range(50)
}


def stored(pair: Pair) -> int:
    """Return the bytes of all rows of events and deliveries."""
    (row,) = pair.databases.query(
        "order",
        """SELECT (SELECT COALESCE(sum(pg_column_size(d)), 0) FROM webhook_deliveries d)
                + (SELECT COALESCE(sum(pg_column_size(n)), 0) FROM order_events n) AS bytes""",
    )
    return int(row["bytes"])


def written(pair: Pair) -> int:
    """Return the position in the write-ahead log, in bytes."""
    (row,) = pair.databases.query("order", "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS at")
    return int(row["at"])


def test_a_refund_of_1_of_a_large_order_stores_its_change_and_not_its_items(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    for _ in range(9):
        register(pair.order, receiver.url)
    order = place(pair, items=ITEMS, metadata=METADATA)
    shown = len(pair.order.get(f"/v1/orders/{order['id']}").content)
    assert shown > 50_000
    received_events(receiver, order, 20)
    before = stored(pair)
    log = written(pair)
    post(pair, order, "refunds", {"amount": 1})
    events = received_events(receiver, order, 30)
    assert stored(pair) - before < 10_000, "ten deliveries of one event"
    assert written(pair) - log < 10 * shown, "the log may have whole pages, but not the order ten times"
    refunds = [event for event in events if event["type"] == "refund.succeeded"]
    assert len(refunds) == 10
    assert all(event["data"] == pair.order.get(f"/v1/orders/{order['id']}").json() for event in refunds)


def delivered(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
    """Place an order that is paid. Return it, the path of the endpoint's deliveries, and those of the order."""
    order = place(pair)
    received_events(receiver, order, 2)
    path = f"/v1/webhook-endpoints/{endpoint['id']}/deliveries"
    return order, path, [each for each in pair.order.get(path).json()["data"] if each["order_id"] == order["id"]]


def test_the_body_of_an_event_is_the_same_at_each_attempt_although_the_order_has_changed(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    order, path, sent = delivered(pair, receiver, endpoint)
    first = {each["type"]: pair.order.get(f"{path}/{each['id']}").json()["payload"] for each in sent}
    post(pair, order, "refunds")
    for each in sent:
        assert pair.order.get(f"{path}/{each['id']}").json()["payload"] == first[each["type"]]
    again = pair.order.post(f"{path}/{sent[-1]['id']}/redeliver", **WAIT)
    assert again.status_code == 202
    events = received_events(receiver, order, 5)
    assert [event for event in events if event["type"] == "order.placed"] == [first["order.placed"]] * 2


@pytest.mark.adversarial
def test_a_delivery_shows_its_newest_attempts_however_often_it_is_redelivered(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    _, path, (sent, *_) = delivered(pair, receiver, endpoint)
    pair.databases.query(
        "order",
        """INSERT INTO webhook_attempts (merchant, endpoint_id, delivery_id, number, status_code, seconds, at)
           SELECT 'demo', %s, %s, n, 200, 0.1, now() FROM generate_series(2, 5000) AS n""",
        endpoint["id"],
        sent["id"],
    )
    shown = pair.order.get(f"{path}/{sent['id']}")
    assert [attempt["number"] for attempt in shown.json()["attempts"]] == list(range(4901, 5001))
    assert len(shown.content) < 64 * 1024
