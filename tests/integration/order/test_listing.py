"""Listing a merchant's orders: pages, filters, cursors and indexes."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from order.store import views
from tests.support.eventually import eventually
from tests.support.explaining import pages_read
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY


def someone() -> str:
    """Return a customer id that no other test uses."""
    return f"cus_{uuid.uuid4()}"


def placed(pair: Pair, customer: str, number: int, **more: Any) -> list[str]:
    """Place `number` orders of a customer and return their ids, oldest first."""
    body = {**ORDER, "customer": customer, **more}
    return [pair.order.post("/v1/orders", body).json()["id"] for _ in range(number)]


def is_paid(pair: Pair, order_id: str) -> bool:
    return bool(pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid")


def ids(page: dict[str, Any]) -> list[str]:
    return [order["id"] for order in page["data"]]


def listed(pair: Pair, **query: Any) -> list[str]:
    answer = pair.order.get(f"/v1/orders?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    return ids(answer.json())


def test_links_lead_through_all_pages_newest_first_and_keep_the_filters(pair: Pair) -> None:
    customer = someone()
    made = placed(pair, customer, 7)
    path: str | None = f"/v1/orders?customer={customer}&limit=3&created_after=2001-01-01T00:00:00%2B02:00"
    pages = []
    while path is not None:
        answer = pair.order.get(path)
        assert answer.status_code == 200
        pages.append(ids(answer.json()))
        cursor, link = answer.json()["next_cursor"], answer.headers.get("Link")
        assert (cursor is None) == (link is None)
        following = re.fullmatch(r'<(/v1/orders\?[^>]+)>; rel="next"', link) if link else None
        path = following.group(1) if following else None
        for kept in (f"cursor={cursor}", f"customer={customer}", "limit=3", "created_after=2001-01-01T00%3A00%3A00%2B"):
            assert path is None or kept in path
    assert pages == [made[:3:-1], made[3:0:-1], made[:1]]


def test_orders_placed_meanwhile_do_not_shift_pages(pair: Pair) -> None:
    customer = someone()
    made = placed(pair, customer, 6)
    seen, cursor = [], ""
    while cursor is not None:
        page = pair.order.get(f"/v1/orders?customer={customer}&limit=2{cursor and '&cursor=' + cursor}").json()
        seen += ids(page)
        cursor = page["next_cursor"]
        placed(pair, customer, 2)
    assert seen == made[::-1]


def test_orders_are_sorted_by_time_even_if_the_caller_chose_their_ids(pair: Pair) -> None:
    customer = someone()
    (before,) = placed(pair, customer, 1)
    chosen = ["ffffffff" + str(uuid.uuid4())[8:], "00000000" + str(uuid.uuid4())[8:]]
    for order_id in chosen:
        sketch = {"id": order_id, "items": ["tea"], "total": 9}
        assert pair.order.post("/orders", sketch).status_code == 201
    (after,) = placed(pair, customer, 1)
    assert listed(pair, limit=4) == [after, chosen[1], chosen[0], before]


def test_orders_created_at_the_same_time_are_all_listed_once(pair: Pair) -> None:
    customer, moment = someone(), "2020-02-02T02:02:02Z"
    pair.databases.query(
        "order",
        """INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, payment_method, capture,
                               created_at)
           SELECT 'demo', gen_random_uuid(), CASE n %% 2 WHEN 0 THEN 'payment_failed' ELSE 'canceled' END, 'EUR', 9,
                  '[]', %s, 'pm_ok', 'automatic', %s FROM generate_series(1, 9) n""",
        customer,
        moment,
    )
    for query in ({"customer": customer}, {"created_before": "2020-02-02T02:02:02.000001Z"}):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = pair.order.get(f"/v1/orders?{urlencode({**query, 'limit': 2, **more})}").json()
            seen += ids(page)
            cursor = page["next_cursor"]
        assert len(seen) == 9
        assert seen == sorted(set(seen), reverse=True)


def test_lists_can_be_filtered_by_status_customer_and_time(pair: Pair) -> None:
    customer, other = someone(), someone()
    paid = pair.order.post("/v1/orders", {**ORDER, "customer": customer}, Prefer="wait=10").json()
    failed = pair.order.post(
        "/v1/orders", {**ORDER, "customer": customer, "payment_method": "pm_declined"}, Prefer="wait=10"
    ).json()
    (others,) = placed(pair, other, 1)
    assert (paid["status"], failed["status"]) == ("paid", "payment_failed")
    assert listed(pair, customer=customer) == [failed["id"], paid["id"]]
    assert listed(pair, customer=customer, status="paid") == [paid["id"]]
    assert listed(pair, customer=customer, status="refunded") == []
    everything = listed(pair, status="payment_failed", limit=100)
    assert (failed["id"] in everything, paid["id"] in everything) == (True, False)
    assert listed(pair, customer=customer, created_after=paid["created_at"]) == [failed["id"]]
    assert listed(pair, customer=customer, created_before=failed["created_at"]) == [paid["id"]]
    between = {"created_after": paid["created_at"], "created_before": failed["created_at"]}
    assert listed(pair, customer=customer, **between) == []
    assert listed(pair, created_after=failed["created_at"])[-1] == others
    assert listed(pair, status="paid", created_after=failed["created_at"], customer=customer) == []


def test_times_may_have_any_utc_offset(pair: Pair) -> None:
    (made,) = placed(pair, someone(), 1)
    at = datetime.fromisoformat(pair.order.get(f"/v1/orders/{made}").json()["created_at"])
    before, later = at - timedelta(microseconds=1), at + timedelta(microseconds=1)
    spellings = [
        before.astimezone(UTC).isoformat(),
        before.isoformat().replace("+00:00", "z").replace("T", "t"),
        (before + timedelta(hours=5, minutes=30)).replace(tzinfo=None).isoformat() + "+05:30",
        (before - timedelta(hours=8)).replace(tzinfo=None).isoformat() + "-08:00",
    ]
    for text in spellings:
        assert listed(pair, created_after=text, created_before=later.isoformat()) == [made]


def test_a_listed_order_equals_the_order_at_its_own_path(pair: Pair) -> None:
    customer = someone()
    made = pair.order.post("/v1/orders", {**ORDER, "customer": customer}, Prefer="wait=10").json()
    (shown,) = pair.order.get(f"/v1/orders?customer={customer}").json()["data"]
    assert shown == pair.order.get(f"/v1/orders/{made['id']}").json() == made


def test_a_page_has_twenty_orders_unless_a_limit_is_given(pair: Pair) -> None:
    customer = someone()
    made = placed(pair, customer, 21, items=[{"sku": "x", "quantity": 1, "unit_amount": 0}])
    assert listed(pair, customer=customer) == made[:0:-1]
    for limit in (21, 22, 100):
        answer = pair.order.get(f"/v1/orders?customer={customer}&limit={limit}")
        assert (ids(answer.json()), answer.json()["next_cursor"]) == (made[::-1], None)
        assert "Link" not in answer.headers
    assert pair.order.get(f"/v1/orders?customer={someone()}").json() == {"data": [], "next_cursor": None}


def test_a_list_never_has_orders_of_another_merchant_whatever_the_cursor(pair: Pair) -> None:
    customer = someone()
    mine, other = placed(pair, customer, 3), Client(pair.order.url, OTHER_KEY)
    theirs = [other.post("/v1/orders", {**ORDER, "customer": customer}).json()["id"] for _ in range(3)]
    assert listed(pair, customer=customer) == mine[::-1]
    path = f"/v1/orders?customer={customer}&limit=1"
    assert ids(other.get(path).json()) == theirs[:1:-1]
    cursor = pair.order.get(path).json()["next_cursor"]
    assert (
        ids(other.get(f"{path}&cursor={cursor}").json()) == []
    )  # The cursor is a point in time before the other merchant's orders.
    cursor = other.get(path).json()["next_cursor"]
    assert ids(pair.order.get(f"{path}&cursor={cursor}").json()) == mine[:1:-1]


def test_a_cursor_can_be_used_with_other_filters(pair: Pair) -> None:
    first, second = someone(), someone()
    a, b, c = (placed(pair, customer, 1)[0] for customer in (second, first, second))
    placed(pair, first, 1)
    cursor = pair.order.get(f"/v1/orders?customer={first}&limit=1").json()["next_cursor"]
    assert listed(pair, customer=first, cursor=cursor) == [b]
    assert listed(pair, customer=second, cursor=cursor) == [c, a]
    assert listed(pair, cursor=cursor, limit=3) == [c, b, a]


def test_a_changed_cursor_is_422_or_lists_only_orders_of_the_merchant(pair: Pair) -> None:
    customer = someone()
    made = placed(pair, customer, 2)
    cursor = pair.order.get(f"/v1/orders?customer={customer}&limit=1").json()["next_cursor"]
    assert listed(pair, customer=customer, cursor=cursor) == made[:1]
    tampered = [cursor[:-1], cursor + "A", cursor + "=", "-" + cursor[1:], cursor + "\n", f" {cursor}", cursor[1:]]
    for text in [*tampered, "_" * 32, "A" * 22, "A" * 31 + "!"]:
        refused(pair.order.get(f"/v1/orders?cursor={quote(text)}"), 422, "validation", "/cursor")
    for text in ("A" * 32, "AAU" + cursor[3:]):
        assert set(listed(pair, customer=customer, cursor=text)) <= set(made)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        *((f"limit={value}", "/limit") for value in ("0", "101", "-1", "x", "", "1.5", "9" * 400, "１")),
        *((f"cursor={value}", "/cursor") for value in ("", "x", "!!", "AAAA", "%00", "%C3%A9", "A" * 101)),
        *(
            (f"status={value}", "/status")
            for value in ("", "x", "PAID", "paid%00", "paid,", ",paid", "paid,x", "paid+canceled")
        ),
        *((f"customer={value}", "/customer") for value in ("", "%00", "%0A", "%7F", "%C2%85", "x" * 101)),
        *(
            (f"{name}={value}", f"/{name}")
            for name in ("created_after", "created_before")
            for value in (
                *("", "x", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-1-1T00:00:00Z"),
                *("2026-02-30T00:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T00:00:00+02:00", "1767225600"),
                *("0000-01-01T00:00:00Z", "20260101T000000Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00.Z"),
                *("2026-01-01T00:00:00%2B24:00", "2026-W01-1T00:00:00Z", "%D9%A2026-01-01T00:00:00Z"),
            )
        ),
        *((query, "/unknown") for query in ("unknown=1", "unknown", "limit=1&unknown=1", "unknown=1&unknown=2")),
        ("Status=paid", "/Status"),
        ("limit=1&limit=1", "/limit"),
    ],
)
def test_an_invalid_query_is_422(pair: Pair, query: str, pointer: str) -> None:
    refused(pair.order.get(f"/v1/orders?{query}"), 422, "validation", pointer)


def test_the_first_and_last_times_of_the_calendar_are_accepted(pair: Pair) -> None:
    (made,) = placed(pair, someone(), 1)
    assert listed(pair, created_after="0001-01-01T00:00:00+23:59", limit=1) == [made]
    assert listed(pair, created_before="9999-12-31T23:59:59.999999999-23:59", limit=1) == [made]


def test_a_list_that_has_not_changed_is_304(pair: Pair) -> None:
    customer = someone()
    path = f"/v1/orders?customer={customer}"
    placed(pair, customer, 1, items=[{"sku": "x", "quantity": 1, "unit_amount": 0}])
    etag = pair.order.get(path).headers["ETag"]
    unchanged = pair.order.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    placed(pair, customer, 1)
    assert len(ids(pair.order.get(path, headers={"If-None-Match": etag}).json())) == 2


def test_every_list_is_read_from_an_index(pair: Pair) -> None:
    pair.databases.query(
        "order",
        """INSERT INTO orders (merchant, id, status, currency, total_amount, paid_amount, items, customer,
                               payment_method, capture, created_at, metadata)
           SELECT 'many', gen_random_uuid(), CASE WHEN n % 5000 = 0 THEN 'expired' ELSE 'paid' END, 'EUR', 9,
                  CASE WHEN n % 5000 = 0 THEN 0 ELSE 9 END, '[]', 'cus_' || n % 1000, 'pm_ok', 'automatic',
                  timestamptz '2026-01-01' + n * interval '1 s', jsonb_build_object('cart', n::text, 'shop', 'web')
           FROM generate_series(1, 20000) n""",
    )
    pair.databases.query("order", "ANALYZE orders")
    moment = datetime(2026, 1, 1, 2, tzinfo=UTC)
    queries: list[dict[str, Any]] = [
        *({}, {"status": ["paid"]}, {"status": ["expired"]}, {"status": ["canceled", "paid"]}, {"customer": "cus_7"}),
        *({"customer": "nobody"}, {"created_after": moment}, {"created_before": moment}),
        {"customer": "cus_7", "status": ["expired"], "created_before": moment},
        *({"sort": "created_at"}, {"sort": "created_at", "created_after": moment}),
        *({"metadata": {"cart": "7"}}, {"metadata": {"cart": "none"}}, {"metadata": {"shop": "web"}}),
        {"metadata": {"cart": "7", "shop": "web"}, "sort": "created_at", "status": ["paid", "expired"]},
    ]
    for read, query in pages_read(pair.databases.order, views.find, "many", queries, moment):
        assert 0 < read < 200, query  # The table has more than 300 pages.


def test_orders_that_changed_after_a_time_are_listed_by_their_last_change_oldest_first(pair: Pair) -> None:
    customer = someone()
    first, second, third = placed(pair, customer, 3)
    for order_id in (first, second, third):
        eventually(lambda: pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid", "it is paid")  # noqa: B023
    changed = pair.order.post(f"/v1/orders/{first}/refunds", {"amount": 1}, Prefer="wait=10")
    assert changed.json()["status"] == "succeeded"
    long_ago = "2001-01-01T00:00:00Z"
    orders = pair.order.get("/v1/orders", params={"updated_after": long_ago, "customer": customer}).json()["data"]
    assert [order["updated_at"] for order in orders] == sorted(order["updated_at"] for order in orders)
    assert ids({"data": orders})[-1] == first
    assert {order["id"] for order in orders} == {first, second, third}
    for number, order in enumerate(orders):
        later = listed(pair, updated_after=order["updated_at"], customer=customer)
        assert later == [each["id"] for each in orders[number + 1 :]]
    assert listed(pair, updated_after=long_ago, customer=customer, status="canceled") == []
    in_pages: list[str] = []
    path: str | None = f"/v1/orders?updated_after={long_ago}&customer={customer}&limit=1"
    while path:
        answer = pair.order.get(path)
        in_pages += ids(answer.json())
        path = answer.headers["Link"].partition(">")[0].removeprefix("<") if "Link" in answer.headers else None
    assert in_pages == ids({"data": orders})


def test_a_merchant_lists_its_own_changed_orders_only(pair: Pair) -> None:
    other = Client(pair.order.url, OTHER_KEY)
    placed(pair, someone(), 1)
    theirs = other.post("/v1/orders", ORDER).json()["id"]
    page = other.get("/v1/orders?updated_after=2001-01-01T00:00:00Z&limit=100").json()
    assert theirs in ids(page)
    mine = {*listed(pair, updated_after="2001-01-01T00:00:00Z", limit=100)}
    assert not mine & {*ids(page)}
    refused(pair.order.get("/v1/orders?updated_after=yesterday"), 422, "validation", "/updated_after")
