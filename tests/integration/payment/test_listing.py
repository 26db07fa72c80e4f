"""The list of a merchant's payments."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from payment import store
from tests.support.explaining import Explaining
from tests.support.pages import ids_of_pages
from tests.support.pair import Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY, OTHER_KEY


def declined(pair: Pair, order_id: str, number: int) -> list[str]:
    """Create `number` failed payments of one order. Returns their ids, oldest first."""
    body = wanted(order_id=order_id, payment_method="pm_declined")
    return [pair.payment.post("/v1/payments", body).json()["id"] for _ in range(number)]


def ids(page: dict[str, Any]) -> list[str]:
    return [payment["id"] for payment in page["data"]]


def test_pages_lead_through_all_payments_newest_first(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    made = declined(pair, order_id, 7)
    path: str | None = f"/v1/payments?order_id={order_id}&status=failed&limit=3"
    pages = []
    while path is not None:
        answer = pair.payment.get(path)
        assert answer.status_code == 200
        pages.append(ids(answer.json()))
        cursor, link = answer.json()["next_cursor"], answer.headers.get("Link")
        assert (cursor is None) == (link is None)
        following = re.fullmatch(r'<(/v1/payments\?[^>]+)>; rel="next"', link) if link else None
        path = following.group(1) if following else None
        assert path is None or f"cursor={cursor}" in path
    assert pages == [made[:3:-1], made[3:0:-1], made[:1]]


def test_payments_created_meanwhile_do_not_shift_the_pages(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    made = declined(pair, order_id, 6)
    seen, cursor = [], ""
    while cursor is not None:
        page = pair.payment.get(f"/v1/payments?order_id={order_id}&limit=2{cursor and '&cursor=' + cursor}").json()
        seen += ids(page)
        cursor = page["next_cursor"]
        declined(pair, order_id, 2)
    assert seen == made[::-1]


def test_the_last_page_has_no_next_page(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    made = declined(pair, order_id, 2)
    for limit in (2, 3, 100):
        answer = pair.payment.get(f"/v1/payments?order_id={order_id}&limit={limit}")
        assert (ids(answer.json()), answer.json()["next_cursor"]) == (made[::-1], None)
        assert "Link" not in answer.headers
    nothing = pair.payment.get(f"/v1/payments?order_id={uuid.uuid4()}").json()
    assert nothing == {"data": [], "next_cursor": None}


def test_payments_can_be_filtered_by_order_and_by_status(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    (failed,) = declined(pair, order_id, 1)
    captured = pair.payment.post("/v1/payments", wanted(order_id=order_id)).json()["id"]
    assert ids(pair.payment.get(f"/v1/payments?order_id={order_id}").json()) == [captured, failed]
    assert ids(pair.payment.get(f"/v1/payments?order_id={order_id}&status=captured").json()) == [captured]
    assert ids(pair.payment.get(f"/v1/payments?order_id={order_id}&status=failed").json()) == [failed]
    assert ids(pair.payment.get(f"/v1/payments?order_id={order_id}&status=processing").json()) == []
    everything = pair.payment.get("/v1/payments?status=captured&limit=100").json()
    assert captured in ids(everything)
    assert {payment["status"] for payment in everything["data"]} == {"captured"}


def test_a_listed_payment_is_the_same_as_by_its_own_path(pair: Pair) -> None:
    made = pair.payment.post("/v1/payments", wanted()).json()
    (listed,) = pair.payment.get(f"/v1/payments?order_id={made['order_id']}").json()["data"]
    assert listed == made


def test_a_page_has_twenty_payments_by_default(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    declined(pair, order_id, 21)
    assert len(ids(pair.payment.get(f"/v1/payments?order_id={order_id}").json())) == 20


def test_a_merchants_list_shows_no_other_merchants_payments(pair: Pair) -> None:
    made = pair.payment.post("/v1/payments", wanted()).json()["id"]
    theirs = Client(pair.payment.url, OTHER_KEY).post("/v1/payments", wanted()).json()["id"]
    mine = ids(pair.payment.get("/v1/payments?limit=100").json())
    assert (made in mine, theirs in mine) == (True, False)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        *(
            (f"limit={value}", "/limit")
            for value in ("0", "101", "-1", "x", "", "1.5", "1e1", "9" * 400, "１", "٣", "+1")
        ),
        *((f"cursor={value}", "/cursor") for value in ("", "x", "!!", "AAAA", "%00", "%C3%A9", "A" * 101, "A" * 99)),
        *((f"order_id={value}", "/order_id") for value in ("", "x", "1")),
        *((f"status={value}", "/status") for value in ("", "x", "CAPTURED", "%00", "failed,", ",failed", "failed,x")),
        *((f"sort={value}", "/sort") for value in ("", "status", "created_at,-created_at", "-Created_at")),
        *((f"{name}=yesterday", f"/{name}") for name in ("created_after", "created_before")),
        *((query, "/unknown") for query in ("unknown=1", "unknown=", "limit=1&unknown=1", "unknown=1&unknown=2")),
        ("Limit=1", "/Limit"),
        ("a/b=1", "/a~1b"),
        ("limit=1&limit=1", "/limit"),
        ("status=failed&status=captured", "/status"),
    ],
)
def test_an_invalid_query_is_422(pair: Pair, query: str, pointer: str) -> None:
    refused(pair.payment.get(f"/v1/payments?{query}"), 422, "validation", pointer)


def test_an_unchanged_list_is_304(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    path = f"/v1/payments?order_id={order_id}"
    declined(pair, order_id, 1)
    etag = pair.payment.get(path).headers["ETag"]
    unchanged = pair.payment.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    declined(pair, order_id, 1)
    assert len(ids(pair.payment.get(path, headers={"If-None-Match": etag}).json())) == 2


def test_the_error_points_at_every_invalid_parameter(pair: Pair) -> None:
    response = pair.payment.get("/v1/payments?limit=0&status=x&order_id=1")
    refused(response, 422, "validation", "/limit", "/status", "/order_id")


def test_payments_are_filtered_by_several_statuses_and_by_time_and_sorted_both_ways(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    failed = declined(pair, order_id, 3)
    captured = pair.payment.post("/v1/payments", wanted(order_id=order_id)).json()
    made = [*failed, captured["id"]]
    path = f"/v1/payments?order_id={order_id}"
    assert ids_of_pages(pair.payment, f"{path}&limit=2&sort=created_at") == made
    assert ids_of_pages(pair.payment, f"{path}&limit=2&sort=-created_at") == made[::-1]
    assert ids_of_pages(pair.payment, f"{path}&limit=2&status=captured,failed") == made[::-1]
    assert ids_of_pages(pair.payment, f"{path}&limit=2&status=failed,voided&sort=created_at") == failed
    assert ids(pair.payment.get(f"{path}&status=voided,processing").json()) == []
    at = captured["created_at"]
    assert ids(pair.payment.get(f"{path}&created_before={at}").json()) == failed[::-1]
    assert ids(pair.payment.get(f"{path}&created_after={at}").json()) == []

    all_of_them = ids_of_pages(pair.payment, "/v1/payments?limit=100&sort=created_at&status=captured,failed")
    assert [payment for payment in all_of_them if payment in made] == made
    assert ids_of_pages(pair.payment, "/v1/payments?limit=100&status=captured,failed") == all_of_them[::-1]
    assert set(all_of_them) <= set(ids_of_pages(pair.payment, "/v1/payments?limit=100"))


def test_every_list_is_read_from_an_index(pair: Pair) -> None:
    pair.databases.query(
        "payment",
        """INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, provider,
                                 created_at)
           SELECT 'many', gen_random_uuid(), gen_random_uuid(),
                  CASE WHEN n % 5000 = 0 THEN 'captured' WHEN n % 5000 = 7 THEN 'voided' ELSE 'failed' END, 9, 'EUR',
                  'pm_ok', 'automatic', 'simulator', timestamptz '2026-01-01' + n * interval '1 s'
           FROM generate_series(1, 20000) n""",
    )
    pair.databases.query("payment", "ANALYZE payments")
    moment = datetime(2026, 1, 1, 2, tzinfo=UTC)
    queries: list[dict[str, Any]] = [
        *({}, {"status": ["captured"]}, {"status": ["failed"]}, {"status": ["voided", "captured"]}),
        *({"order_id": str(uuid.uuid4())}, {"order_id": str(uuid.uuid4()), "status": ["captured"]}),
        *({"created_after": moment}, {"created_before": moment}, {"sort": "created_at", "created_after": moment}),
        *({"sort": "created_at"}, {"sort": "created_at", "status": ["captured", "processing"]}),
    ]
    with psycopg.connect(pair.databases.payment, autocommit=True) as connection:
        for query in queries:
            for after in (None, (moment, str(uuid.uuid4()))):
                explaining = Explaining(connection)
                store.find(explaining, "many", {**query, "limit": 20}, after)  # type: ignore[arg-type]
                assert 0 < explaining.read < 200, (query, after)  # The table has more than 300 pages.


def test_merchants_are_listed_in_pages_for_a_key_that_may_act_for_any_of_them(pair: Pair) -> None:
    internal = Client(pair.payment.url, INTERNAL_KEY)
    listed = [f"list-{letter}" for letter in "abcde"] + ["m" * 64]
    for merchant in listed:
        answer = internal.post("/v1/payments", wanted(), **{"Tandem-Merchant": merchant})
        assert answer.status_code == 201, answer.text
    seen, path = [], "/v1/merchants?limit=2"
    while path:
        page = internal.get(path)
        assert page.status_code == 200, page.text
        assert len(page.json()["data"]) <= 2
        seen += [each["merchant"] for each in page.json()["data"]]
        path = page.links["next"]["url"] if "next" in page.links else ""
        assert bool(path) == (page.json()["next_cursor"] is not None)
    assert seen == sorted(seen)
    assert [merchant for merchant in seen if merchant in listed] == listed
    refused(pair.payment.get("/v1/merchants"), 403, "forbidden")


@pytest.mark.parametrize("cursor", ["", "6", "6A", "1f", "80", "61" * 65, "61%0A", "YQ=="])
def test_a_cursor_that_no_list_of_merchants_had_is_refused(pair: Pair, cursor: str) -> None:
    internal = Client(pair.payment.url, INTERNAL_KEY)
    refused(internal.get(f"/v1/merchants?cursor={cursor}"), 422, "validation", "/cursor")


def test_the_list_of_merchants_reads_one_row_of_each(pair: Pair) -> None:
    pair.databases.query(
        "payment",
        """INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, provider)
           SELECT 'count-' || n % 3, gen_random_uuid(), gen_random_uuid(), 'failed', 9, 'EUR', 'pm_ok', 'automatic',
                  'simulator'
           FROM generate_series(1, 20000) n""",
    )
    pair.databases.query("payment", "ANALYZE payments")
    with psycopg.connect(pair.databases.payment, autocommit=True) as connection:
        explaining = Explaining(connection)
        store.merchants(explaining, "count-", 3)  # type: ignore[arg-type]
        assert 0 < explaining.read < 60, "The table has more than 300 pages."
