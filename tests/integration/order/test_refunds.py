"""Refunds: their own address, what they show, and the list of all refunds of a merchant."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from order.store import refunds
from tests.support.explaining import pages_read
from tests.support.pages import ids_of_pages
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY


def paid(pair: Pair, **more: Any) -> dict[str, Any]:
    """Place an order and return it once it is paid."""
    order: dict[str, Any] = pair.order.post("/v1/orders", {**ORDER, **more}, Prefer="wait=10").json()
    assert order["status"] == "paid"
    return order


def refund(pair: Pair, order: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Refund an order and return the refund once its outcome is known."""
    answer = pair.order.post(f"/v1/orders/{order['id']}/refunds", wanted, Prefer="wait=10")
    assert answer.status_code == 201
    return dict(answer.json())


def listed(pair: Pair, **query: Any) -> list[str]:
    answer = pair.order.get(f"/v1/refunds?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["data"]]


def test_a_refund_has_its_own_address_and_names_its_order_and_payment(pair: Pair) -> None:
    order = paid(pair)
    wanted = {"amount": 100, "reason": "Damaged", "metadata": {"ticket": "7", "note": ""}}
    made = pair.order.post(f"/v1/orders/{order['id']}/refunds", wanted, Prefer="wait=10")
    path = f"/v1/orders/{order['id']}/refunds/{made.json()['id']}"
    assert made.headers["Location"] == path
    shown = pair.order.get(path)
    assert (shown.status_code, shown.json()) == (200, made.json())
    assert (shown.json()["order_id"], shown.json()["payment_id"]) == (order["id"], order["payment"]["id"])
    assert (shown.json()["metadata"], shown.json()["status"]) == (wanted["metadata"], "succeeded")
    assert shown.json()["updated_at"] > shown.json()["created_at"]
    unchanged = pair.order.get(path, headers={"If-None-Match": shown.headers["ETag"]})
    assert (unchanged.status_code, unchanged.headers["ETag"]) == (304, made.headers["ETag"])
    (again,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert again == shown.json()
    (event,) = pair.order.get(f"/v1/events?order_id={order['id']}&type=refund.succeeded").json()["data"]
    assert event["refund"] == shown.json()


def test_the_refunds_of_an_order_are_listed_newest_first_whatever_their_keys_are(pair: Pair) -> None:
    order = paid(pair)
    made = [refund(pair, order, amount=amount)["id"] for amount in range(1, 8)]
    path = f"/v1/orders/{order['id']}/refunds"
    assert [each["id"] for each in pair.order.get(path).json()["data"]] == made[::-1]
    assert ids_of_pages(pair.order, f"{path}?limit=2") == made[::-1]


def test_a_refund_without_labels_has_none_and_is_as_new_as_its_request_while_it_is_pending(pair: Pair) -> None:
    order = paid(pair)
    pair.stop_payment()
    made = pair.order.post(f"/v1/orders/{order['id']}/refunds").json()
    assert (made["status"], made["metadata"], made["updated_at"]) == ("pending", {}, made["created_at"])
    assert made["id"] in listed(pair, status="pending")
    pair.start_payment()


def test_the_refund_of_a_cancel_names_its_payment_too(pair: Pair) -> None:
    order = paid(pair)
    pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10")
    (made,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert (made["payment_id"], made["metadata"]) == (order["payment"]["id"], {})


def test_a_refund_that_an_earlier_release_stored_names_the_payment_of_its_order(pair: Pair) -> None:
    order = paid(pair)
    made = refund(pair, order, amount=5)
    pair.databases.query("order", "UPDATE refunds SET payment_id = NULL, updated_at = NULL WHERE id = %s", made["id"])
    shown = pair.order.get(f"/v1/orders/{order['id']}/refunds/{made['id']}").json()
    assert shown == {**made, "updated_at": made["created_at"]}


def test_a_refund_is_found_only_under_its_own_order_and_merchant(pair: Pair) -> None:
    order, other = paid(pair), paid(pair)
    made = refund(pair, order, amount=5)
    refused(pair.order.get(f"/v1/orders/{other['id']}/refunds/{made['id']}"), 404, "refund-not-found")
    refused(pair.order.get(f"/v1/orders/{order['id']}/refunds/{uuid.uuid4()}"), 404, "refund-not-found")
    refused(pair.order.get(f"/v1/orders/{uuid.uuid4()}/refunds/{made['id']}"), 404, "order-not-found")
    refused(pair.order.get(f"/v1/orders/{order['id']}/refunds/none"), 404, "not-found")
    stranger = Client(pair.order.url, OTHER_KEY)
    refused(stranger.get(f"/v1/orders/{order['id']}/refunds/{made['id']}"), 404, "order-not-found")
    assert made["id"] not in [each["id"] for each in stranger.get("/v1/refunds?limit=100").json()["data"]]


def test_the_refunds_of_all_orders_are_listed_newest_first_and_filtered(pair: Pair) -> None:
    began = datetime.now(UTC).isoformat()
    first, second = paid(pair), paid(pair)
    made = [refund(pair, order, amount=amount) for order, amount in ((first, 1), (second, 2), (first, 3))]
    ids = [each["id"] for each in reversed(made)]
    assert listed(pair, created_after=began) == ids
    assert listed(pair, created_after=began, status="succeeded") == ids
    assert listed(pair, created_after=began, status="failed,succeeded,failed") == ids
    assert listed(pair, created_after=began, status="failed,succeeded" + 50 * ",failed") == ids
    assert listed(pair, created_after=began, status="pending,failed") == []
    assert listed(pair, created_after=made[0]["created_at"], created_before=made[2]["created_at"]) == [made[1]["id"]]
    assert ids_of_pages(pair.order, f"/v1/refunds?{urlencode({'created_after': began, 'limit': 2})}") == ids
    oldest_first = urlencode({"created_after": began, "limit": 2, "sort": "created_at"})
    assert ids_of_pages(pair.order, f"/v1/refunds?{oldest_first}") == ids[::-1]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        *((f"status={value}", "/status") for value in ("", "x", "failed,", ",failed", "failed,x", "failed%2C%2C")),
        ("created_after=yesterday", "/created_after"),
        ("cursor=x", "/cursor"),
        ("order_id=x", "/order_id"),
    ],
)
def test_an_invalid_query_is_422(pair: Pair, query: str, pointer: str) -> None:
    refused(pair.order.get(f"/v1/refunds?{query}"), 422, "validation", pointer)


@pytest.mark.parametrize("labels", [{"a": 1}, {"": "x"}, {"a" * 41: "x"}, {"a": "x" * 501}, [], "x"])
def test_labels_of_a_refund_are_validated_as_those_of_an_order(pair: Pair, labels: Any) -> None:
    answer = pair.order.post(f"/v1/orders/{uuid.uuid4()}/refunds", {"metadata": labels})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/metadata")


def test_the_list_of_refunds_is_read_from_an_index(pair: Pair) -> None:
    order = paid(pair)
    pair.databases.query(
        "order",
        """INSERT INTO refunds (merchant, id, order_id, amount, currency, status, created_at)
           SELECT 'demo', gen_random_uuid(), %s, 1, 'EUR', CASE WHEN n %% 5000 = 0 THEN 'failed' ELSE 'succeeded' END,
                  timestamptz '2026-01-01' + n * interval '1 s' FROM generate_series(1, 20000) n""",
        order["id"],
    )
    pair.databases.query("order", "ANALYZE refunds")
    moment = datetime(2026, 1, 1, 2, tzinfo=UTC)
    queries: list[dict[str, Any]] = [
        *({}, {"status": ["failed"]}, {"status": ["pending", "failed"]}, {"created_after": moment}),
        {"status": ["succeeded"], "created_before": moment},
    ]
    for read, query in pages_read(pair.databases.order, refunds.find, "demo", queries, moment):
        assert 0 < read < 150, query  # The table has more than 250 pages.
    pair.databases.query("order", "DELETE FROM refunds WHERE order_id = %s", order["id"])
