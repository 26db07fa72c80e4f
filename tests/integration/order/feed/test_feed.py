"""GET /v1/events: what an event shows, filters, and continuing."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.order.webhooks.test_events import place, post
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY

PATH = "/v1/events"


def read(client: Client, **query: Any) -> dict[str, Any]:
    answer = client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def end(client: Client) -> str:
    """Return a cursor behind all events so far."""
    cursor: str = read(client, since=datetime.now(UTC).isoformat())["next_cursor"]
    return cursor


def follow(client: Client, after: str | None = None, **query: Any) -> list[dict[str, Any]]:
    """Return all events after a cursor."""
    events: list[dict[str, Any]] = []
    while True:
        page = read(client, **({"after": after} if after else {}), **query)
        events += page["data"]
        after = page["next_cursor"]
        if not page["has_more"]:
            return events


def test_each_step_of_an_order_is_an_event_that_shows_the_order_after_it(pair: Pair) -> None:
    cursor = end(pair.order)
    order = place(pair, metadata={"cart": "Grüße"}, customer="cus_17")
    paid = pair.order.get(f"/v1/orders/{order['id']}").json()
    refund = post(pair, order, "refunds", {"amount": 300, "reason": "broken"})
    refunded = pair.order.get(f"/v1/orders/{order['id']}").json()
    events = follow(pair.order, cursor)
    history = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"]
    assert [(e["order_id"], e["version"], e["type"], e["created_at"]) for e in events] == [
        (order["id"], step["version"], step["type"], step["at"]) for step in history
    ]
    assert [event["type"] for event in events] == [
        "order.placed",
        "order.paid",
        "payment.refund_requested",
        "refund.succeeded",
    ]
    assert events[1]["data"] == paid
    assert events[-1]["data"] == refunded
    assert events[-1]["refund"] == refund
    assert [event["refund"] for event in events[:-1]] == [None] * 3
    placed = {**paid, "status": "pending_payment", "paid_amount": 0, "payment": None, "version": 1}
    assert events[0]["data"] == {**placed, "updated_at": order["created_at"]} | {
        "updated_at": events[0]["data"]["updated_at"]
    }
    assert len({event["id"] for event in events}) == 4


def test_events_follow_in_pages_that_overlap_nowhere(pair: Pair) -> None:
    cursor = end(pair.order)
    orders = [place(pair)["id"] for _ in range(5)]
    all_at_once = follow(pair.order, cursor)
    in_pages = follow(pair.order, cursor, limit=3)
    assert in_pages == all_at_once
    assert [event["order_id"] for event in in_pages if event["type"] == "order.paid"] == orders
    assert read(pair.order, after=cursor, limit=3)["has_more"] is True
    answer = pair.order.get(PATH, params={"after": cursor, "limit": 3})
    assert pair.order.get(answer.headers["Link"].partition(">")[0].removeprefix("<")).json()["data"] == in_pages[3:6]


def test_without_a_cursor_the_feed_begins_with_the_oldest_event(pair: Pair) -> None:
    place(pair)
    first = read(pair.order, limit=1)
    everything = follow(pair.order)
    assert first["data"] == everything[:1]
    assert everything == sorted(everything, key=lambda event: event["created_at"])


def test_a_cursor_at_the_end_stays_valid_and_is_followed_by_what_happens_next(pair: Pair) -> None:
    cursor = end(pair.order)
    empty = read(pair.order, after=cursor)
    assert (empty["data"], empty["has_more"]) == ([], False)
    order = place(pair)
    assert {event["order_id"] for event in follow(pair.order, empty["next_cursor"])} == {order["id"]}


def test_events_of_one_type_or_one_order(pair: Pair) -> None:
    cursor = end(pair.order)
    first, second = place(pair), place(pair)
    paid = follow(pair.order, cursor, type="order.paid", limit=1)
    assert [(event["type"], event["order_id"]) for event in paid] == [
        ("order.paid", first["id"]),
        ("order.paid", second["id"]),
    ]
    assert [e["version"] for e in follow(pair.order, order_id=second["id"], limit=1)] == [1, 2]
    assert [e["version"] for e in follow(pair.order, order_id=second["id"], type="order.paid")] == [2]
    assert follow(pair.order, order_id=str(uuid.uuid4())) == []


def test_a_filter_that_nothing_matches_moves_on_without_reading_the_same_again(pair: Pair) -> None:
    place(pair)
    cursor = None
    page = read(pair.order, type="order.expired")
    while page["has_more"]:
        page = read(pair.order, type="order.expired", after=page["next_cursor"])
    cursor = page["next_cursor"]
    assert read(pair.order, after=cursor)["data"] == []


def test_since_begins_with_the_first_event_at_or_after_a_time(pair: Pair) -> None:
    place(pair)
    first, second = place(pair), place(pair)
    events = follow(pair.order, since=first["created_at"])
    assert [event["order_id"] for event in events if event["type"] == "order.placed"] == [first["id"], second["id"]]
    long_ago = (datetime.now(UTC) - timedelta(days=4000)).isoformat()
    assert follow(pair.order, since=long_ago) == follow(pair.order)
    assert follow(pair.order, since="0001-01-01T00:00:00+23:59") == follow(pair.order)
    assert read(pair.order, since=(datetime.now(UTC) + timedelta(days=1)).isoformat())["data"] == []
    assert read(pair.order, since="9999-12-31T23:59:59.999999-23:59")["data"] == []


def test_a_merchant_reads_its_own_events_only(pair: Pair) -> None:
    other = Client(pair.order.url, OTHER_KEY)
    mine = place(pair)
    theirs = other.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert {event["order_id"] for event in follow(other)} == {theirs["id"]}
    assert theirs["id"] not in {event["order_id"] for event in follow(pair.order)}
    assert follow(other, order_id=mine["id"]) == []


@pytest.mark.parametrize("after", ["", "0", "A" * 42, "A" * 44, "z" + "A" * 42, "A" * 42 + "B", "é" * 43])
def test_a_cursor_that_no_response_had_is_refused(pair: Pair, after: str) -> None:
    refused(pair.order.get(PATH, params={"after": after}), 422, "validation", "/after")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"wait": 11}, "/wait"),
        ({"wait": -1}, "/wait"),
        ({"type": "order.lost"}, "/type"),
        ({"order_id": "1"}, "/order_id"),
        ({"since": "yesterday"}, "/since"),
        ({"cursor": "A" * 22}, "/cursor"),
    ],
)
def test_an_invalid_query_is_refused(pair: Pair, query: dict[str, Any], pointer: str) -> None:
    refused(pair.order.get(PATH, params=query), 422, "validation", pointer)


def test_a_request_that_waits_is_answered_when_an_event_comes(pair: Pair) -> None:
    cursor = end(pair.order)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = pool.submit(read, pair.order, after=cursor, wait=10)
        time.sleep(0.3)
        assert not waiting.done()
        order = pair.order.post("/v1/orders", ORDER).json()
        page = waiting.result()
    assert time.monotonic() - began < 5
    assert page["data"][0]["order_id"] == order["id"]


def test_a_request_that_waits_for_nothing_ends_after_its_time(pair: Pair) -> None:
    eventually(lambda: not read(pair.order, after=end(pair.order))["data"], "nothing happens any more")
    cursor, began = end(pair.order), time.monotonic()
    page = read(pair.order, after=cursor, wait=1)
    assert (page["data"], page["next_cursor"], page["has_more"]) == ([], cursor, False)
    assert 0.9 < time.monotonic() - began < 5


def test_when_too_many_wait_one_more_is_answered_at_once(pair: Pair) -> None:
    cursor = end(pair.order)
    room = pair.order_app.extensions["tandem"].use_cases["feed"]._room
    with room.enter(10, "other") as seconds:
        assert seconds == 10, "the test's process has one place"
        began = time.monotonic()
        assert read(pair.order, after=cursor, wait=10)["data"] == []
        assert time.monotonic() - began < 5


def test_a_position_that_a_restore_undid_is_refused(pair: Pair) -> None:
    from order.feed.api import _cursor
    from order.feed.store import Place

    refused(pair.order.get(PATH, params={"after": _cursor(Place(2**47))}), 409, "events-rewound")
