"""An idempotency key names a payment: first and repeated requests, other requests, concurrent requests, errors."""

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
from tests.support.pair import Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused, send
from tests.support.settings import INTERNAL_KEY, OTHER_KEY


def new_key() -> str:
    return str(uuid.uuid4())


def keys(pair: Pair, key: str) -> list[dict[str, Any]]:
    return pair.databases.query("payment", "SELECT merchant FROM idempotency_keys WHERE key = %s", key)


def test_a_repeated_request_gets_the_same_response_with_the_current_payment(pair: Pair) -> None:
    key, body = new_key(), wanted(payment_method="pm_timeout_charged")
    first = pair.payment.post("/v1/payments", body, key)
    assert (first.status_code, first.json()["status"]) == (201, "processing")
    assert "Idempotency-Replayed" not in first.headers
    path = first.headers["Location"]
    eventually(lambda: pair.payment.get(path).json()["status"] == "captured", "the payment is captured")
    again = pair.payment.post("/v1/payments", body, key)
    assert (again.status_code, again.headers["Location"]) == (201, path)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == pair.payment.get(path).json()
    assert again.headers["ETag"] == f'"{again.json()["version"]}"' != first.headers["ETag"]
    assert len(pair.databases.charges(body["order_id"])) == 1


def test_a_repeated_request_after_a_decline_is_not_tried_again(pair: Pair) -> None:
    key, body = new_key(), wanted(payment_method="pm_declined")
    first = pair.payment.post("/v1/payments", body, key)
    again = pair.payment.post("/v1/payments", body, key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(pair.payment.get(f"/v1/payments?order_id={body['order_id']}").json()["data"]) == 1


def test_a_key_that_stands_for_an_earlier_payment_is_always_answered_with_200(pair: Pair) -> None:
    body, second = wanted(), new_key()
    first = pair.payment.post("/v1/payments", body)
    given = pair.payment.post("/v1/payments", body, second)
    again = pair.payment.post("/v1/payments", body, second)
    assert (given.status_code, again.status_code) == (200, 200)
    assert again.json() == given.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert ("Idempotency-Replayed" in given.headers, again.headers["Idempotency-Replayed"]) == (False, "true")


def test_a_quoted_key_is_the_same_key_as_without_quotes(pair: Pair) -> None:
    key, body = new_key(), wanted()
    first = pair.payment.post("/v1/payments", body, f'"{key}"')
    again = pair.payment.post("/v1/payments", body, key)
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (len(keys(pair, key)), keys(pair, f'"{key}"')) == (1, [])


def test_the_spelling_of_the_body_does_not_matter(pair: Pair) -> None:
    key, body = new_key(), wanted()
    first = send(pair.payment, "/v1/payments", json.dumps(body).encode(), Idempotency_Key=key)
    for data in (
        json.dumps(dict(reversed(body.items())), indent=3).encode(),
        json.dumps(body, separators=(",", ":")).encode(),
    ):
        again = send(pair.payment, "/v1/payments", data, Idempotency_Key=key)
        assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (first.json()["id"], "true")


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 901},
        {"currency": "USD"},
        {"payment_method": "pm_declined"},
        {"capture": "manual"},
        {"order_id": str(uuid.uuid4())},
    ],
)
def test_the_same_key_with_another_body_is_422_and_charges_nothing(pair: Pair, changes: dict[str, Any]) -> None:
    key, body = new_key(), wanted()
    first = pair.payment.post("/v1/payments", body, key)
    changed = {**body, **changes}
    refused(pair.payment.post("/v1/payments", changed, key), 422, "idempotency-key-reused")
    assert pair.payment.post("/v1/payments", body, key).json()["id"] == first.json()["id"]
    assert len(pair.databases.charges(body["order_id"])) == 1
    assert len(pair.databases.charges(changed["order_id"])) == (1 if "order_id" not in changes else 0)


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, b"\xc3\xa9", b"tab\tbed"])
def test_a_missing_or_malformed_key_is_400_and_charges_nothing(pair: Pair, key: str | bytes) -> None:
    body = wanted()
    headers = {"Idempotency-Key": key} if key else {}
    refused(pair.payment.request("POST", "/v1/payments", json=body, headers=headers), 400, "idempotency-key-missing")
    assert pair.payment.get(f"/v1/payments?order_id={body['order_id']}").json()["data"] == []


@pytest.mark.parametrize("key", ["4111111111111111", "x-4111-1111-1111-1111", "5555555555554444x"])
def test_a_card_number_in_a_key_is_422_and_stored_nowhere(pair: Pair, key: str) -> None:
    refused(pair.payment.post("/v1/payments", wanted(), key), 422, "card-number")
    assert pair.databases.query("payment", "SELECT FROM idempotency_keys WHERE key = %s", key) == []


def test_each_merchant_has_its_own_keys(pair: Pair) -> None:
    key, body = new_key(), wanted()
    answers = [
        pair.payment.post("/v1/payments", body, key),
        Client(pair.payment.url, OTHER_KEY).post("/v1/payments", {**body, "amount": 1}, key),
        Client(pair.payment.url, INTERNAL_KEY).post(
            "/v1/payments", {**body, "amount": 2}, key, Tandem_Merchant="third"
        ),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 3
    assert {row["merchant"] for row in keys(pair, key)} == {"demo", "other", "third"}
    named = Client(pair.payment.url, INTERNAL_KEY).post("/v1/payments", body, key, Tandem_Merchant="demo")
    assert (named.json()["id"], named.headers["Idempotency-Replayed"]) == (answers[0].json()["id"], "true")


def test_a_refused_request_leaves_the_key_free(pair: Pair) -> None:
    key, body = new_key(), wanted()
    assert send(pair.payment, "/v1/payments", b"{", Idempotency_Key=key).status_code == 400
    assert send(pair.payment, "/v1/payments", b"{}", Idempotency_Key=key).status_code == 422
    assert send(pair.payment, "/v1/payments", b" " * 300_000, Idempotency_Key=key).status_code == 413
    assert Client(pair.payment.url, None).post("/v1/payments", body, key).status_code == 401
    assert keys(pair, key) == []
    made = pair.payment.post("/v1/payments", body, key)
    assert (made.status_code, "Idempotency-Replayed" in made.headers) == (201, False)


def test_a_lock_of_a_table_is_waited_for_although_the_key_is_free(pair: Pair) -> None:
    """VACUUM holds such a lock while it truncates a table."""
    with psycopg.connect(pair.databases.payment) as holder:
        holder.execute("LOCK TABLE operations IN SHARE MODE")
        release = Timer(2.2, holder.rollback)
        release.start()
        response = pair.payment.post("/v1/payments", wanted(), new_key())
        release.join()
    assert response.status_code == 201


def test_a_key_held_by_another_transaction_is_409_after_a_second_and_free_after_its_rollback(pair: Pair) -> None:
    key, body = new_key(), wanted()
    with psycopg.connect(pair.databases.payment) as holder:
        holder.execute(
            "INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)"
            " VALUES ('demo', %s, '', 201, gen_random_uuid())",
            (key,),
        )
        began = time.monotonic()
        response = pair.payment.post("/v1/payments", body, key)
        assert time.monotonic() - began > 0.9
        refused(response, 409, "idempotency-key-in-use")
        assert int(response.headers["Retry-After"]) >= 1
        assert pair.databases.charges(body["order_id"]) == []
        holder.rollback()
    made = pair.payment.post("/v1/payments", body, key)
    assert (made.status_code, "Idempotency-Replayed" in made.headers) == (201, False)


def test_one_key_in_32_threads_makes_one_payment_and_one_charge(pair: Pair) -> None:
    key, body = new_key(), wanted()

    def pay(_: int) -> requests.Response:
        return pair.payment.post("/v1/payments", body, key)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(pay, range(32)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(pair.databases.charges(body["order_id"])) == 1
    assert len(keys(pair, key)) == 1
