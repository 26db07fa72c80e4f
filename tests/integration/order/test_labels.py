"""Labels of orders: changing them, and finding orders by them."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any

import psycopg
import pytest
import requests

from order.store import views
from tests.support.explaining import Explaining
from tests.support.pages import ids_of_pages
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY


def place(pair: Pair, **more: Any) -> dict[str, Any]:
    """Place an order and return it once its outcome is known."""
    return dict(pair.order.post("/v1/orders", {**ORDER, **more}, Prefer="wait=10").json())


def label(pair: Pair, order: dict[str, Any], labels: Any, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return pair.order.request("PATCH", f"/v1/orders/{order['id']}", json={"metadata": labels}, headers=named)


def listed(pair: Pair, query: str) -> list[str]:
    answer = pair.order.get(f"/v1/orders?{query}")
    assert answer.status_code == 200, answer.text
    return [order["id"] for order in answer.json()["data"]]


def test_labels_are_set_and_removed_and_the_others_stay(pair: Pair) -> None:
    order = place(pair, metadata={"cart": "9", "shop": "web"})
    changed = label(pair, order, {"cart": "10", "shop": None, "note": "", "unknown": None})
    assert changed.status_code == 200
    assert changed.json()["metadata"] == {"cart": "10", "note": ""}
    assert changed.json()["version"] == order["version"] + 1
    assert changed.headers["ETag"] == f'"{order["version"] + 1}"'
    same = ("status", "paid_amount", "payment", "items", "created_at", "customer", "last_error")
    assert {name: changed.json()[name] for name in same} == {name: order[name] for name in same}
    assert pair.order.get(f"/v1/orders/{order['id']}").json() == changed.json()


def test_a_change_is_an_event_that_shows_the_labels_as_they_were_after_each_step(pair: Pair) -> None:
    order = place(pair, metadata={"cart": "9"})
    label(pair, order, {"cart": None})
    label(pair, order, {"cart": "11"})
    events = pair.order.get(f"/v1/events?order_id={order['id']}").json()["data"]
    assert [(event["type"], event["data"]["metadata"]) for event in events] == [
        ("order.placed", {"cart": "9"}),
        ("order.paid", {"cart": "9"}),
        ("order.updated", {}),
        ("order.updated", {"cart": "11"}),
    ]
    history = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"]
    assert [(step["type"], step["actor"]) for step in history][2:] == [("order.updated", "merchant")] * 2


def test_many_labels_are_stored_once_and_shown_with_each_step(pair: Pair) -> None:
    # Letters that do not compress, and no digits, of which some would be a card number by chance.
    letters = base64.b32encode(secrets.token_bytes(50 * 250)).decode().translate(str.maketrans("234567", "ghijkl"))
    many = {f"label-{number}": letters[number * 400 : (number + 1) * 400] for number in range(50)}
    order = place(pair, metadata=many)
    expected = [many, many]
    for change in ({"label-0": "other"}, dict.fromkeys(many, None), {"cart": "9"}, {**many, "label-49": None}):
        before = expected[-1]
        label(pair, order, change)
        after = {name: value for name, value in {**before, **change}.items() if value is not None}
        expected.append(after)
        for _ in range(2):
            pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 1}, Prefer="wait=10")
            expected += [after, after]
    events = pair.order.get(f"/v1/events?order_id={order['id']}&limit=100").json()["data"]
    assert [event["type"] for event in events][:5] == [
        *("order.placed", "order.paid", "order.updated", "payment.refund_requested", "refund.succeeded")
    ]
    assert [event["data"]["metadata"] for event in events] == expected
    (stored,) = pair.databases.query(
        "order",
        """SELECT max(pg_column_size(state)) FILTER (WHERE type LIKE '%%refund%%') AS refunds,
                  max(pg_column_size(state)) AS largest FROM order_events WHERE order_id = %s""",
        order["id"],
    )
    assert stored["largest"] > 10_000
    assert stored["refunds"] < 1_000, "what a refund changes"


def test_a_change_that_changes_nothing_makes_no_version(pair: Pair) -> None:
    order = place(pair, metadata={"cart": "9"})
    for labels in ({}, {"cart": "9"}, {"other": None}):
        same = label(pair, order, labels)
        assert (same.status_code, same.json()) == (200, order)


def test_a_change_can_be_conditional_and_its_retry_with_the_key_is_answered(pair: Pair) -> None:
    order, key = place(pair), str(uuid.uuid4())
    tag = f'"{order["version"]}"'
    refused(label(pair, order, {"a": "1"}, If_Match='"99"'), 412, "precondition-failed")
    changed = label(pair, order, {"a": "1"}, If_Match=tag, Idempotency_Key=key)
    assert changed.status_code == 200
    again = label(pair, order, {"a": "1"}, If_Match=tag, Idempotency_Key=key)
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (changed.json(), "true")
    refused(label(pair, order, {"a": "2"}, If_Match=tag), 412, "precondition-failed")
    refused(label(pair, order, {"a": "2"}, Idempotency_Key=key), 422, "idempotency-key-reused")
    refused(label(pair, order, {"a": "2"}, Idempotency_Key="two words"), 400, "idempotency-key-missing")


def test_a_final_order_and_one_under_way_can_be_labeled_and_go_on(pair: Pair) -> None:
    order = place(pair, metadata={"cart": "9"})
    pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10")
    assert label(pair, order, {"done": "yes"}).json()["metadata"] == {"cart": "9", "done": "yes"}
    pair.stop_payment()
    pending = pair.order.post("/v1/orders", ORDER).json()
    assert label(pair, pending, {"a": "1"}).json()["status"] == "pending_payment"
    pair.start_payment()
    cancel = pair.order.post(f"/v1/orders/{pending['id']}/cancel", Prefer="wait=10").json()
    assert (cancel["status"], cancel["metadata"]) == ("canceled", {"a": "1"})


@pytest.mark.parametrize(
    ("labels", "pointer"),
    [
        ({"a": 1}, "/metadata/a"),
        ({"": "x"}, "/metadata/"),
        ({"a" * 41: "x"}, f"/metadata/{'a' * 41}"),
        ({"a": "x" * 501}, "/metadata/a"),
        ({"a": {}}, "/metadata/a"),
        ({"_schema": {}}, "/metadata/_schema"),
        ([], "/metadata"),
        (None, "/metadata"),
        ({str(number): None for number in range(101)}, "/metadata"),
        ({str(number): "x" for number in range(50)}, "/metadata"),
    ],
)
def test_invalid_labels_are_422_and_change_nothing(pair: Pair, labels: Any, pointer: str) -> None:
    order = place(pair, metadata={"cart": "9"})
    refused(label(pair, order, labels), 422, "validation", pointer)
    assert pair.order.get(f"/v1/orders/{order['id']}").json() == order


def test_only_labels_can_be_changed_and_only_those_of_the_merchants_own_orders(pair: Pair) -> None:
    order = place(pair)
    path = f"/v1/orders/{order['id']}"
    refused(pair.order.request("PATCH", path, json={"metadata": {}, "status": "paid"}), 422, "validation", "/status")
    refused(pair.order.request("PATCH", path, json={}), 422, "validation", "/metadata")
    stranger = Client(pair.order.url, OTHER_KEY)
    refused(stranger.request("PATCH", path, json={"metadata": {"a": "1"}}), 404, "order-not-found")


def test_orders_are_found_by_their_labels(pair: Pair) -> None:
    mark = str(uuid.uuid4())
    first = place(pair, metadata={"mark": mark, "a.b": "x y", "empty": ""})
    second = place(pair, metadata={"mark": mark, "a.b": "z"}, payment_method="pm_declined")
    assert listed(pair, f"metadata.mark={mark}") == [second["id"], first["id"]]
    assert listed(pair, f"metadata.mark={mark}&sort=created_at") == [first["id"], second["id"]]
    assert listed(pair, f"metadata.mark={mark}&metadata.a.b=x+y&metadata.empty=") == [first["id"]]
    assert listed(pair, f"metadata.mark={mark}&status=paid,refunded") == [first["id"]]
    assert listed(pair, f"metadata.mark={mark}&status=paid,payment_failed") == [second["id"], first["id"]]
    assert listed(pair, f"metadata.mark={mark}&updated_after=2001-01-01T00:00:00Z&status=payment_failed,expired") == [
        second["id"]
    ]
    assert listed(pair, f"metadata.mark={mark}&metadata.empty=x") == []
    label(pair, first, {"mark": None})
    assert listed(pair, f"metadata.mark={mark}") == [second["id"]]
    theirs = Client(pair.order.url, OTHER_KEY).get(f"/v1/orders?metadata.mark={mark}")
    assert theirs.json()["data"] == []


def test_pages_keep_the_order_and_the_labels(pair: Pair) -> None:
    mark = str(uuid.uuid4())
    made = [place(pair, metadata={"mark": mark})["id"] for _ in range(5)]
    for sort, wanted in (("created_at", made), ("-created_at", made[::-1])):
        assert ids_of_pages(pair.order, f"/v1/orders?metadata.mark={mark}&sort={sort}&limit=2") == wanted


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("metadata=x", "/metadata"),
        ("metadata=x&metadata.a=1", "/metadata /metadata.a"),
        ("metadata.=x", "/metadata/"),
        (f"metadata.{'a' * 41}=x", f"/metadata/{'a' * 41}"),
        (f"metadata.a={'x' * 501}", "/metadata/a"),
        ("metadata.a=1&metadata.a=2", "/metadata.a"),
        ("metadatas.a=1", "/metadatas.a"),
        ("sort=status", "/sort"),
        ("sort=created_at,-created_at", "/sort"),
        ("sort=created_at&updated_after=2026-01-01T00:00:00Z", "/sort"),
    ],
)
def test_an_invalid_query_is_422(pair: Pair, query: str, pointer: str) -> None:
    refused(pair.order.get(f"/v1/orders?{query}"), 422, "validation", *pointer.split())


def test_a_merchants_list_by_a_label_does_not_read_the_orders_of_another_merchant(pair: Pair) -> None:
    """`many` uses the label in all its orders; `few` in three of as many."""
    pair.databases.query(
        "order",
        """INSERT INTO orders (merchant, id, status, currency, total_amount, paid_amount, items, payment_method,
                               capture, created_at, metadata)
           SELECT merchant, gen_random_uuid(), 'paid', 'EUR', 9, 9, '[]', 'pm_ok', 'automatic',
                  timestamptz '2026-01-01' + n * interval '1 s',
                  jsonb_build_object('cart', n::text, 'shop',
                                     CASE WHEN merchant = 'many' OR n IN (7, 7007, 14007) THEN 'web' ELSE 'app' END)
           FROM generate_series(1, 20000) n CROSS JOIN unnest(ARRAY['many', 'few']) AS merchant""",
    )
    pair.databases.query("order", "ANALYZE orders")
    with psycopg.connect(pair.databases.order, autocommit=True) as connection:
        for merchant, label in (("few", {"shop": "web"}), ("many", {"shop": "web"}), ("many", {"shop": "app"})):
            for more in ({}, {"sort": "created_at"}, {"status": ["paid", "refunded"]}):
                explaining = Explaining(connection)
                query = {"metadata": label, "limit": 20, **more}
                views.find(explaining, merchant, query, None)  # type: ignore[arg-type]
                assert 0 < explaining.read < 200, (merchant, query)  # Each merchant has more than 300 pages.
