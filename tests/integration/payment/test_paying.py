"""Creating payments through /v1, and reading them."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused, send

INVALID_INTEGERS: list[Any] = [9.5, 1.0, "900", True, None, [900], {}, ...]
INVALID_IDS: list[Any] = ["", "1", "x" * 36, None, 1, True, [], ...]


def test_a_payment_is_created_and_can_be_read(pair: Pair) -> None:
    body = wanted(capture="automatic")
    made = pair.payment.post("/v1/payments", body)
    assert made.status_code == 201
    payment = made.json()
    assert made.headers["Location"] == f"/v1/payments/{payment['id']}"
    assert made.headers["ETag"] == f'"{payment["version"]}"'
    assert set(payment) == {
        "id", "order_id", "status", "amount", "currency", "authorized_amount", "captured_amount", "refunded_amount",
        "refunding_amount", "payment_method", "capture", "failure_reason", "provider", "provider_reference",
        "version", "created_at", "updated_at",
    }  # fmt: skip
    assert {name: payment[name] for name in body} == body
    assert (payment["status"], payment["authorized_amount"], payment["captured_amount"]) == ("captured", 900, 900)
    assert (payment["refunded_amount"], payment["refunding_amount"], payment["failure_reason"]) == (0, 0, None)
    assert payment["provider"] == "simulator"
    assert payment["provider_reference"].startswith("sim_")
    assert uuid.UUID(payment["id"]).version in (7, 8)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", payment["created_at"])
    assert pair.payment.get(made.headers["Location"]).json() == payment
    assert pair.databases.charges(body["order_id"]) == [{"amount": 900, "currency": "EUR"}]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_nobody_knows", "invalid_payment_method"),
    ],
)
def test_a_decline_is_a_failed_payment_not_an_error(pair: Pair, method: str, reason: str) -> None:
    body = wanted(payment_method=method)
    made = pair.payment.post("/v1/payments", body)
    assert (made.status_code, made.json()["status"], made.json()["failure_reason"]) == (201, "failed", reason)
    assert (made.json()["authorized_amount"], made.json()["captured_amount"]) == (0, 0)
    assert pair.databases.charges(body["order_id"]) == []


@pytest.mark.parametrize("method", ["pm_timeout_charged", "pm_timeout_lost"])
def test_a_lost_answer_of_the_provider_is_not_a_decline(pair: Pair, method: str) -> None:
    body = wanted(payment_method=method)
    made = pair.payment.post("/v1/payments", body)
    assert (made.status_code, made.json()["status"]) == (201, "processing")
    path = made.headers["Location"]
    eventually(lambda: pair.payment.get(path).json()["status"] == "captured", "the payment is captured")
    assert pair.databases.charges(body["order_id"]) == [{"amount": 900, "currency": "EUR"}]


def test_with_manual_capture_the_payment_is_authorized(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    assert (payment["status"], payment["authorized_amount"], payment["captured_amount"]) == ("authorized", 900, 0)


def test_a_captured_payment_has_balanced_ledger_entries(pair: Pair) -> None:
    made = pair.payment.post("/v1/payments", wanted(amount=1234, currency="CHF")).json()
    entries = pair.databases.query(
        "payment",
        "SELECT account, direction, amount, currency FROM ledger_entries WHERE payment_id = %s ORDER BY direction",
        made["id"],
    )
    assert entries == [
        {"account": "merchant_payable", "direction": "credit", "amount": 1234, "currency": "CHF"},
        {"account": "provider_clearing", "direction": "debit", "amount": 1234, "currency": "CHF"},
    ]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/order_id", "/amount", "/currency", "/payment_method"]),
        (wanted(unknown=1), ["/unknown"]),
        (wanted(id=str(uuid.uuid4())), ["/id"]),
        *((wanted(amount=number), ["/amount"]) for number in (0, -1, 2**63, 10**30)),
        *((wanted(amount=number), ["/amount"]) for number in INVALID_INTEGERS),
        *(
            (wanted(currency=code), ["/currency"])
            for code in ("eur", "EURO", "XAU", "ZZZ", "", None, 978, ["EUR"], ...)
        ),
        *((wanted(order_id=value), ["/order_id"]) for value in INVALID_IDS),
        *((wanted(payment_method=text), ["/payment_method"]) for text in ("", "x" * 101, None, 1, ...)),
        *((wanted(capture=text), ["/capture"]) for text in ("later", "", None, 1)),
        (wanted(amount=0, currency="eur", order_id=1, more=1), ["/amount", "/currency", "/order_id", "/more"]),
    ],
)
def test_the_error_for_an_invalid_body_points_at_each_field(
    pair: Pair, body: dict[str, Any], pointers: list[str]
) -> None:
    before = pair.databases.query("payment", "SELECT count(*) FROM payments")
    refused(pair.payment.post("/v1/payments", body), 422, "validation", *pointers)
    assert pair.databases.query("payment", "SELECT count(*) FROM payments") == before


@pytest.mark.parametrize("number", [b"9e2", b"1E+400", b"9" * 400])
def test_numbers_that_are_not_a_valid_amount_are_refused_in_any_notation(pair: Pair, number: bytes) -> None:
    order_id = str(uuid.uuid4()).encode()
    data = b'{"order_id":"%s","currency":"EUR","payment_method":"pm_ok","amount":%s}' % (order_id, number)
    refused(send(pair.payment, "/v1/payments", data), 422, "validation", "/amount")


@pytest.mark.parametrize("amount", [1, 2**63 - 1])
def test_the_smallest_and_the_largest_amount_are_charged_exactly(pair: Pair, amount: int) -> None:
    body = wanted(amount=amount)
    assert pair.payment.post("/v1/payments", body).json()["captured_amount"] == amount
    assert pair.databases.charges(body["order_id"]) == [{"amount": amount, "currency": "EUR"}]


def test_an_unknown_payment_is_404(pair: Pair) -> None:
    refused(pair.payment.get(f"/v1/payments/{uuid.uuid4()}"), 404, "payment-not-found")


def test_an_unchanged_payment_is_304(pair: Pair) -> None:
    path = pair.payment.post("/v1/payments", wanted()).headers["Location"]
    etag = pair.payment.get(path).headers["ETag"]
    unchanged = pair.payment.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    assert pair.payment.get(path, headers={"If-None-Match": '"999"'}).status_code == 200
    head = pair.payment.request("HEAD", path)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", etag)


def test_a_second_payment_for_an_order_returns_the_first_one(pair: Pair) -> None:
    body = wanted()
    first = pair.payment.post("/v1/payments", body)
    for changes in ({}, {"amount": 1}, {"currency": "USD"}, {"payment_method": "pm_declined"}):
        second = pair.payment.post("/v1/payments", {**body, **changes})
        assert (second.status_code, second.json()) == (200, first.json())
        assert second.headers["Location"] == first.headers["Location"]
        assert "Idempotency-Replayed" not in second.headers
    assert len(pair.databases.charges(body["order_id"])) == 1


def test_after_a_failed_payment_the_order_can_be_paid_again(pair: Pair) -> None:
    body = wanted(payment_method="pm_declined")
    failed = pair.payment.post("/v1/payments", body).json()
    made = pair.payment.post("/v1/payments", {**body, "payment_method": "pm_ok"})
    assert (made.status_code, made.json()["status"]) == (201, "captured")
    assert made.json()["id"] != failed["id"]
    assert len(pair.databases.charges(body["order_id"])) == 1


@pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_timeout_charged"])
def test_concurrent_clients_charge_an_order_once(pair: Pair, method: str) -> None:
    body = wanted(payment_method=method)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: pair.payment.post("/v1/payments", body), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    path = answers[0].headers["Location"]
    eventually(lambda: pair.payment.get(path).json()["status"] == "captured", "the payment is captured")
    assert len(pair.databases.charges(body["order_id"])) == 1
