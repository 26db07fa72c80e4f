"""Idempotency keys when placing orders: replays, reuse, conflicts and concurrency."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from typing import Any

import psycopg
import pytest
import requests

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused, send
from tests.support.settings import OTHER_KEY


def new_key() -> str:
    return str(uuid.uuid4())


def orders_of(pair: Pair, key: str) -> list[dict[str, Any]]:
    return pair.databases.query("order", "SELECT merchant, resource_id FROM idempotency_keys WHERE key = %s", key)


def test_a_replay_returns_the_same_order_in_its_current_state(pair: Pair) -> None:
    key = new_key()
    first = pair.order.post("/v1/orders", ORDER, key)
    assert "Idempotency-Replayed" not in first.headers
    eventually(lambda: pair.order.get(first.headers["Location"]).json()["status"] == "paid", "the order is paid")
    again = pair.order.post("/v1/orders", ORDER, key)
    assert (again.status_code, again.headers["Location"]) == (201, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == pair.order.get(first.headers["Location"]).json()
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "paid")
    assert again.headers["ETag"] == '"2"'
    assert len(pair.databases.charges(first.json()["id"])) == 1


def test_a_replay_can_wait_for_the_outcome(pair: Pair) -> None:
    key = new_key()
    pair.stop_payment()
    first = pair.order.post("/v1/orders", ORDER, key)
    assert first.json()["status"] == "pending_payment"
    pair.start_payment()
    again = pair.order.post("/v1/orders", ORDER, key, Prefer="wait=10")
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "paid")
    assert (again.headers["Idempotency-Replayed"], again.headers["Preference-Applied"]) == ("true", "wait=10")


def test_the_formatting_of_the_body_does_not_matter(pair: Pair) -> None:
    key = new_key()
    first = send(pair.order, "/v1/orders", json.dumps(ORDER).encode(), Idempotency_Key=key)
    turned = {name: ORDER[name] for name in reversed(ORDER)}
    turned["items"] = [dict(reversed(item.items())) for item in ORDER["items"]]  # type: ignore[attr-defined]
    spellings = [
        json.dumps(turned, indent=3).encode(),
        json.dumps(ORDER, separators=(",", ":")).encode(),
        json.dumps(ORDER).replace("EUR", r"\u0045UR").encode(),
    ]
    for data in spellings:
        again = send(pair.order, "/v1/orders", data, Idempotency_Key=key)
        assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (first.json()["id"], "true")


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "USD"},
        {"payment_method": "pm_declined"},
        {"metadata": {"a": "b"}},
        {"capture": "manual"},
        {"items": [{"sku": "tea-100", "name": "Green tea", "quantity": 3, "unit_amount": 450}]},
    ],
)
def test_a_key_reused_for_another_request_is_422_and_changes_nothing(pair: Pair, changes: dict[str, Any]) -> None:
    key = new_key()
    first = pair.order.post("/v1/orders", ORDER, key)
    refused(pair.order.post("/v1/orders", {**ORDER, **changes}, key), 422, "idempotency-key-reused")
    assert pair.order.post("/v1/orders", ORDER, key).json()["id"] == first.json()["id"]
    assert len(orders_of(pair, key)) == 1


@pytest.mark.parametrize(
    "key", ["", "two words", "x" * 256, b"\xc3\xa9", b"tab\tbed", '""', '"two words"', f'"{"x" * 256}"']
)
def test_a_missing_or_malformed_key_is_400(pair: Pair, key: str | bytes) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    response = pair.order.request("POST", "/v1/orders", json=ORDER, headers=headers)
    refused(response, 400, "idempotency-key-missing")


@pytest.mark.parametrize("key", ["x", "x" * 255, "!~'\"%;--"])
def test_a_key_may_have_any_visible_characters(pair: Pair, key: str) -> None:
    mine = f"{key[:200]}{uuid.uuid4()}" if len(key) < 255 else str(uuid.uuid4()).ljust(255, "x")
    first = pair.order.post("/v1/orders", ORDER, mine)
    assert first.status_code == 201
    assert pair.order.post("/v1/orders", ORDER, mine).json()["id"] == first.json()["id"]


@pytest.mark.parametrize("key", ["x", "x" * 255, 'a"b\\c'])
def test_a_quoted_key_is_the_same_key_as_without_quotes(pair: Pair, key: str) -> None:
    mine = f"{uuid.uuid4()}{key}"[-255:]
    quoted = '"' + mine.replace("\\", "\\\\").replace('"', '\\"') + '"'
    first = pair.order.post("/v1/orders", ORDER, quoted)
    again = pair.order.post("/v1/orders", ORDER, mine)
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    refused(pair.order.post("/v1/orders", {**ORDER, "currency": "USD"}, quoted), 422, "idempotency-key-reused")
    assert (len(orders_of(pair, mine)), orders_of(pair, quoted)) == (1, [])


def test_a_key_that_an_earlier_release_stored_with_its_quotes_places_nothing_again(pair: Pair) -> None:
    key = new_key()
    placed = pair.order.post("/v1/orders", ORDER, key).json()
    pair.databases.query("order", "UPDATE idempotency_keys SET key = %s WHERE key = %s", f'"{key}"', key)
    again = pair.order.post("/v1/orders", ORDER, f'"{key}"')
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (placed["id"], "true")
    path = f"/v1/orders/{placed['id']}/cancel"
    refused(pair.order.post(path, {}, f'"{key}"'), 422, "idempotency-key-reused")


@pytest.mark.parametrize(
    "key", ["4111111111111111", "x-4111-1111-1111-1111", "5555555555554444x", '"4111111111111111"']
)
def test_a_card_number_in_a_key_is_422_and_not_stored(pair: Pair, key: str) -> None:
    refused(pair.order.post("/v1/orders", ORDER, key), 422, "card-number")
    assert pair.databases.query("order", "SELECT FROM idempotency_keys WHERE key = %s", key) == []


def test_each_merchant_has_its_own_keys(pair: Pair) -> None:
    key = new_key()
    mine = pair.order.post("/v1/orders", ORDER, key)
    theirs = Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**ORDER, "currency": "USD"}, key)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert {row["merchant"] for row in orders_of(pair, key)} == {"demo", "other"}


def test_a_refused_request_does_not_use_up_the_key(pair: Pair) -> None:
    key = new_key()
    assert send(pair.order, "/v1/orders", b"{", Idempotency_Key=key).status_code == 400
    assert send(pair.order, "/v1/orders", b"{}", Idempotency_Key=key).status_code == 422
    assert send(pair.order, "/v1/orders", b"{}", Idempotency_Key=key, Content_Type="text/plain").status_code == 415
    assert send(pair.order, "/v1/orders", b" " * 300_000, Idempotency_Key=key).status_code == 413
    assert Client(pair.order.url, None).post("/v1/orders", ORDER, key).status_code == 401
    assert orders_of(pair, key) == []
    placed = pair.order.post("/v1/orders", ORDER, key)
    assert placed.status_code == 201
    assert "Idempotency-Replayed" not in placed.headers


def test_a_lock_of_a_table_is_waited_for_although_the_key_is_free(pair: Pair) -> None:
    """VACUUM holds such a lock while it truncates a table."""
    with psycopg.connect(pair.databases.order) as holder:
        holder.execute("LOCK TABLE orders IN SHARE MODE")
        release = Timer(2.2, holder.rollback)
        release.start()
        response = pair.order.post("/v1/orders", ORDER)
        release.join()
    assert response.status_code == 201


def test_a_table_that_stays_locked_is_503_and_the_key_stays_free(pair: Pair) -> None:
    key = new_key()
    with psycopg.connect(pair.databases.order) as holder:
        holder.execute("LOCK TABLE orders IN SHARE MODE")
        refused(pair.order.post("/v1/orders", ORDER, key), 503, "unavailable")
        holder.rollback()
    placed = pair.order.post("/v1/orders", ORDER, key)
    assert (placed.status_code, "Idempotency-Replayed" in placed.headers) == (201, False)


def test_a_key_in_use_is_409_after_a_second_and_free_after_a_rollback(pair: Pair) -> None:
    key = new_key()
    with psycopg.connect(pair.databases.order) as holder:
        holder.execute(
            "INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)"
            " VALUES ('demo', %s, '', 201, gen_random_uuid())",
            (key,),
        )
        began = time.monotonic()
        response = pair.order.post("/v1/orders", ORDER, key)
        assert time.monotonic() - began > 0.9
        refused(response, 409, "idempotency-key-in-use")
        assert int(response.headers["Retry-After"]) >= 1
        theirs = Client(pair.order.url, OTHER_KEY).post("/v1/orders", ORDER, key)
        assert theirs.status_code == 201
        holder.rollback()
    placed = pair.order.post("/v1/orders", ORDER, key)
    assert placed.status_code == 201
    assert "Idempotency-Replayed" not in placed.headers


def test_one_key_in_32_threads_creates_one_order_and_one_charge(pair: Pair) -> None:
    key = new_key()

    def place(_: int) -> requests.Response:
        return pair.order.post("/v1/orders", ORDER, key)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(place, range(32)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    path = answers[0].headers["Location"]
    eventually(lambda: pair.order.get(path).json()["status"] == "paid", "the order is paid")
    assert len(pair.databases.charges(answers[0].json()["id"])) == 1
    assert len(orders_of(pair, key)) == 1


def test_32_keys_in_32_threads_create_32_orders(pair: Pair) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: pair.order.post("/v1/orders", ORDER), range(32)))
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == 32
    for order_id in ids:
        eventually(lambda: pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid", "paid")  # noqa: B023
        assert len(pair.databases.charges(order_id)) == 1
