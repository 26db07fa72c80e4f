"""The shop's own order number: unique for each merchant, shown everywhere, and found."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import requests

from order.store import views
from tests.support.explaining import pages_read
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY


def new_reference() -> str:
    return f"A-{uuid.uuid4()}"


def place(pair: Pair, reference: str, key: str | None = None, **changes: Any) -> requests.Response:
    headers = {} if key is None else {"Idempotency_Key": key}
    return pair.order.post("/v1/orders", {**ORDER, "reference": reference, **changes}, **headers)


def listed(client: Client, **query: str) -> list[str]:
    answer = client.get("/v1/orders", params=query)
    assert answer.status_code == 200, answer.text
    return [order["id"] for order in answer.json()["data"]]


def test_a_reference_is_in_every_representation_of_the_order(pair: Pair) -> None:
    reference = new_reference()
    placed = place(pair, reference, capture="manual").json()
    path = f"/v1/orders/{placed['id']}"
    pair.order.request("PATCH", path, json={"metadata": {"a": "b"}})
    feed = pair.order.get("/v1/events", params={"order_id": placed["id"], "since": placed["created_at"]}).json()["data"]
    (by_change,) = pair.order.get(
        "/v1/orders", params={"updated_after": "2001-01-01T00:00:00Z", "reference": reference}
    ).json()["data"]
    seen = [placed, pair.order.get(path).json(), by_change, *(event["data"] for event in feed)]
    assert len(seen) >= 5
    assert {each["reference"] for each in seen} == {reference}
    assert pair.order.post("/v1/orders", ORDER).json()["reference"] is None


def test_another_order_with_the_reference_is_refused_and_the_problem_names_the_first(pair: Pair) -> None:
    reference, key = new_reference(), str(uuid.uuid4())
    first = place(pair, reference).json()
    problem = refused(place(pair, reference, key, payment_method="pm_declined"), 409, "reference-taken")
    assert problem["order_id"] == first["id"]
    assert first["id"] in problem["detail"]
    assert listed(pair.order, reference=reference) == [first["id"]]
    # A refusal stores nothing, so the key is free for a corrected request.
    assert place(pair, new_reference(), key).status_code == 201


def test_a_retry_is_answered_with_its_order_although_the_reference_is_taken(pair: Pair) -> None:
    reference, key = new_reference(), str(uuid.uuid4())
    first = place(pair, reference, key)
    again = place(pair, reference, key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == first.json()["id"]
    refused(place(pair, reference, key, payment_method="pm_declined"), 422, "idempotency-key-reused")


def test_of_many_orders_with_one_reference_at_the_same_time_one_is_placed(pair: Pair) -> None:
    reference = new_reference()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: place(pair, reference), range(16)))
    placed = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    assert {answer.json()["order_id"] for answer in answers if answer.status_code == 409} == {placed[0]}
    assert pair.databases.query("order", "SELECT count(*) FROM orders WHERE reference = %s", reference) == [
        {"count": 1}
    ]
    events = pair.databases.query(
        "order",
        "SELECT count(*) FROM order_events n JOIN orders o ON o.id = n.order_id"
        " WHERE o.reference = %s AND n.type = 'order.placed'",
        reference,
    )
    assert events == [{"count": 1}]


def test_a_retry_whose_key_has_been_purged_is_refused_by_its_reference(pair: Pair) -> None:
    reference, key = new_reference(), str(uuid.uuid4())
    order = place(pair, reference, key).json()
    with psycopg.connect(pair.databases.order) as connection:
        connection.execute("DELETE FROM idempotency_keys WHERE key = %s", (key,))
    assert refused(place(pair, reference, key), 409, "reference-taken")["order_id"] == order["id"]


def test_retries_at_the_same_time_are_answered_with_one_order(pair: Pair) -> None:
    reference, key = new_reference(), str(uuid.uuid4())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: place(pair, reference, key), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_reference_that_another_transaction_holds_is_409_after_a_second_and_free_after_a_rollback(pair: Pair) -> None:
    reference, key = new_reference(), str(uuid.uuid4())
    with psycopg.connect(pair.databases.order) as holder:
        holder.execute(
            """INSERT INTO orders (merchant, id, status, currency, total_amount, items, reference, payment_method,
                                   capture)
               VALUES ('demo', gen_random_uuid(), 'canceled', 'EUR', 9, '[]', %s, 'pm_ok', 'automatic')""",
            (reference,),
        )
        refusal = place(pair, reference, key)
        refused(refusal, 409, "idempotency-key-in-use")
        assert int(refusal.headers["Retry-After"]) >= 1
        assert place(pair, new_reference()).status_code == 201
        holder.rollback()
    assert place(pair, reference, key).status_code == 201


def test_merchants_have_references_of_their_own(pair: Pair) -> None:
    reference, other = new_reference(), Client(pair.order.url, OTHER_KEY)
    mine = place(pair, reference).json()["id"]
    theirs = other.post("/v1/orders", {**ORDER, "reference": reference})
    assert theirs.status_code == 201
    assert listed(pair.order, reference=reference) == [mine]
    assert listed(other, reference=reference) == [theirs.json()["id"]]


def test_orders_without_a_reference_do_not_conflict(pair: Pair) -> None:
    assert [pair.order.post("/v1/orders", ORDER).status_code for _ in range(2)] == [201, 201]


def test_an_order_is_found_by_its_exact_reference(pair: Pair) -> None:
    reference = new_reference()
    order = place(pair, reference, customer="cus_reference", capture="manual").json()
    place(pair, reference.lower())
    assert listed(pair.order, reference=reference) == [order["id"]]
    assert listed(pair.order, reference=reference, customer="cus_reference") == [order["id"]]
    assert listed(pair.order, reference=reference, customer="cus_other") == []
    assert listed(pair.order, reference=reference, status="canceled") == []
    assert listed(pair.order, reference=reference[:-1]) == []
    assert listed(pair.order, reference=reference, sort="created_at", limit="1") == [order["id"]]


@pytest.mark.parametrize("text", ["", "x" * 101, "a\0b", "a\nb", None, 1, ["a"]])
def test_an_invalid_reference_is_refused(pair: Pair, text: Any) -> None:
    refused(place(pair, text), 422, "validation", "/reference")
    if isinstance(text, str):
        refused(pair.order.get("/v1/orders", params={"reference": text}), 422, "validation", "/reference")


def test_a_reference_is_a_code_which_may_be_a_long_number_and_no_card_number(pair: Pair) -> None:
    number = str(uuid.uuid4().int)[:20]
    assert place(pair, number).json()["reference"] == number
    refused(place(pair, "4539 5787 6362 1486"), 422, "card-number", "/reference")


def test_orders_are_found_by_reference_with_an_index(pair: Pair) -> None:
    pair.databases.query(
        "order",
        """INSERT INTO orders (merchant, id, status, currency, total_amount, paid_amount, items, customer, reference,
                               payment_method, capture, created_at)
           SELECT 'referring', gen_random_uuid(), 'paid', 'EUR', 9, 9, '[]', 'cus_1', 'A-' || n, 'pm_ok', 'automatic',
                  timestamptz '2026-01-01' + n * interval '1 s'
           FROM generate_series(1, 20000) n""",
    )
    pair.databases.query("order", "ANALYZE orders")
    moment = datetime(2026, 1, 1, 2, tzinfo=UTC)
    queries: list[dict[str, Any]] = [
        *({"reference": "A-77"}, {"reference": "none"}, {"reference": "A-77", "customer": "cus_1"}),
        {"reference": "A-77", "status": ["paid"], "created_before": moment, "sort": "created_at"},
    ]
    for read, query in pages_read(pair.databases.order, views.find, "referring", queries, moment):
        assert 0 < read < 100, query  # The table has more than 300 pages.


def test_a_reference_never_changes(pair: Pair) -> None:
    order = place(pair, new_reference()).json()
    with (
        psycopg.connect(pair.databases.order) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="what was ordered never changes"),
    ):
        connection.execute("UPDATE orders SET reference = 'other', version = version + 1 WHERE id = %s", (order["id"],))


def test_the_reference_of_a_deleted_order_can_be_used_again(pair: Pair) -> None:
    reference = new_reference()
    order = place(pair, reference, payment_method="pm_declined").json()
    with psycopg.connect(pair.databases.order) as connection:
        connection.execute("DELETE FROM orders WHERE id = %s", (order["id"],))
    assert place(pair, reference).status_code == 201
