"""Events from payment: accepted only with a valid signature, applied only if they are new."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from chassis.messaging import signatures
from tests.support.databases import Databases
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY, SECRET

ANOTHER_SECRET = "whsec_" + "bm90LXRoZS1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="
PAYMENT = str(uuid.uuid4())


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:
    """Payment is stopped, so that only the events of the test change an order."""
    with Pair(databases) as pair:
        pair.stop_payment()
        yield pair


@pytest.fixture
def placed(pair: Pair) -> dict[str, Any]:
    body: dict[str, Any] = pair.order.post("/v1/orders", ORDER).json()
    assert body["status"] == "pending_payment"
    return body


OPERATION = {"id": str(uuid.uuid4()), "kind": "sale", "status": "succeeded", "amount": 900, "reason": None}


def event(order: dict[str, Any], status: str, version: int, **changes: Any) -> bytes:
    """Return the body of an event. `operation` changes the fields of the operation that has ended."""
    operation = {**OPERATION, "idempotency_key": None, **changes.pop("operation", {})}
    data = {
        "id": changes.pop("payment_id", PAYMENT),
        "order_id": order["id"],
        "version": version,
        "status": status,
        "amount": order["total_amount"],
        "currency": order["currency"],
        "captured_amount": order["total_amount"] if status == "captured" else 0,
        "refunded_amount": 0,
        "refunding_amount": 0,
        "failure_reason": "card_declined" if status == "failed" else None,
        "something_new": True,
        **changes,
    }
    now = datetime.now(UTC).isoformat()
    body = {"type": "payment.updated", "timestamp": now, "merchant": "demo", "data": data, "operation": operation}
    return json.dumps(body).encode()


def post_event(pair: Pair, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
    """Post an event, with a valid signature unless other headers are given."""
    signed = signatures.sign(SECRET, str(uuid.uuid4()), body) if headers is None else headers
    return requests.post(f"{pair.order.url}/v1/payment-events", data=body, headers=signed, timeout=30)


def seen(pair: Pair, order: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = f"/v1/orders/{order['id']}"
    return pair.order.get(path).json(), pair.order.get(f"{path}/events").json()["data"]


def test_an_event_without_a_valid_signature_is_400_and_changes_nothing(pair: Pair, placed: dict[str, Any]) -> None:
    before = seen(pair, placed)
    body = event(placed, "captured", 2)
    good = signatures.sign(SECRET, "msg_1", body)
    long_ago = datetime.now(UTC) - timedelta(minutes=6)
    stale = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(long_ago.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", long_ago, body.decode()),
    }
    bad: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {pair.order.key}"},
        signatures.sign(ANOTHER_SECRET, "msg_1", body),
        stale,
        {**good, "webhook-id": "msg_2"},
        {**good, "webhook-timestamp": str(int(time.time()) + 1)},
        {**good, "webhook-timestamp": "soon"},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": "v1,AAAA"},
        {**good, "webhook-signature": "nonsense"},
        *({name: value for name, value in good.items() if name != missing} for missing in good),
    ]
    for headers in bad:
        refused(post_event(pair, body, headers), 400, "invalid-signature")
    refused(post_event(pair, body.replace(b"captured", b"Captured"), good), 400, "invalid-signature")
    refused(post_event(pair, body + b" ", good), 400, "invalid-signature")
    refused(post_event(pair, b"", good), 400, "invalid-signature")
    refused(post_event(pair, b"\xff", good), 400, "invalid-signature")
    assert seen(pair, placed) == before


def test_a_signed_event_is_applied_and_added_to_the_history(pair: Pair, placed: dict[str, Any]) -> None:
    assert post_event(pair, event(placed, "captured", 2)).status_code == 204
    order, history = seen(pair, placed)
    assert (order["status"], order["paid_amount"], order["version"]) == ("paid", 900, 2)
    expected = {"id": PAYMENT, "status": "captured", "captured_amount": 900, "failure_reason": None}
    assert order["payment"] == expected
    assert [(step["version"], step["from"], step["to"]) for step in history] == [
        (1, None, "pending_payment"),
        (2, "pending_payment", "paid"),
    ]


def test_an_event_that_is_duplicate_late_or_of_another_payment_changes_nothing(
    pair: Pair, placed: dict[str, Any]
) -> None:
    captured = event(placed, "captured", 2)
    assert post_event(pair, captured).status_code == 204
    before = seen(pair, placed)
    for body in (
        captured,
        event(placed, "processing", 1),
        event(placed, "failed", 2),
        event(placed, "failed", 99, payment_id=str(uuid.uuid4())),
    ):
        assert post_event(pair, body).status_code == 204
        assert seen(pair, placed) == before


def test_an_event_of_another_live_payment_waits_until_payment_says_how_the_orders_own_has_ended(
    pair: Pair, placed: dict[str, Any]
) -> None:
    """Payment is stopped. It sends the event again."""
    post_event(pair, event(placed, "captured", 2))
    before = seen(pair, placed)
    answer = post_event(pair, event(placed, "captured", 99, payment_id=str(uuid.uuid4())))
    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]
    assert seen(pair, placed) == before


def test_a_payment_may_pass_through_every_status(pair: Pair, placed: dict[str, Any]) -> None:
    for version, (payment_status, order_status) in enumerate(
        [("processing", "pending_payment"), ("authorized", "authorized"), ("captured", "paid")], 1
    ):
        post_event(pair, event(placed, payment_status, version))
        assert seen(pair, placed)[0]["status"] == order_status
    assert [step["version"] for step in seen(pair, placed)[1]] == [1, 2, 3, 4]


@pytest.mark.parametrize("changes", [{"amount": 899, "captured_amount": 899}, {"currency": "USD"}])
def test_a_payment_of_another_amount_or_currency_does_not_pay_the_order(
    pair: Pair, placed: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert post_event(pair, event(placed, "captured", 2, **changes)).status_code == 204
    order, _ = seen(pair, placed)
    assert (order["status"], order["paid_amount"]) == ("payment_failed", 0)
    assert order["payment"]["failure_reason"] == "amount_mismatch"
    post_event(pair, event(placed, "captured", 3, refunding_amount=1, **changes))
    order, _ = seen(pair, placed)
    assert order["payment"]["failure_reason"] == "amount_mismatch", "the reason stays visible"


def test_an_order_whose_payment_failed_follows_a_new_live_payment_of_its_amount(
    pair: Pair, placed: dict[str, Any]
) -> None:
    (command,) = pair.databases.query("order", "SELECT id::text FROM outbox WHERE aggregate_id = %s", placed["id"])
    post_event(pair, event(placed, "failed", 2, operation={"status": "declined", "idempotency_key": command["id"]}))
    assert seen(pair, placed)[0]["status"] == "payment_failed"
    another = str(uuid.uuid4())
    post_event(pair, event(placed, "failed", 3, payment_id=str(uuid.uuid4())))
    assert seen(pair, placed)[0]["status"] == "payment_failed"
    post_event(pair, event(placed, "captured", 2, payment_id=another))
    order, history = seen(pair, placed)
    assert [step["to"] for step in history][-2:] == ["pending_payment", "paid"]
    assert (order["status"], order["payment"]["id"], order["payment"]["failure_reason"]) == ("paid", another, None)


def test_an_event_of_an_unknown_order_creates_no_order(pair: Pair, placed: dict[str, Any]) -> None:
    nobody = {**placed, "id": str(uuid.uuid4())}
    assert post_event(pair, event(nobody, "captured", 2)).status_code == 204
    refused(pair.order.get(f"/v1/orders/{nobody['id']}"), 404, "order-not-found")


def test_an_event_applies_only_to_the_merchant_that_it_names(pair: Pair, placed: dict[str, Any]) -> None:
    before = seen(pair, placed)
    body = event(placed, "captured", 2).replace(b'"demo"', b'"other"')
    assert post_event(pair, body).status_code == 204
    assert seen(pair, placed) == before
    theirs = Client(pair.order.url, OTHER_KEY).post("/v1/orders", ORDER).json()
    post_event(pair, event(theirs, "captured", 2).replace(b'"demo"', b'"other"'))
    assert Client(pair.order.url, OTHER_KEY).get(f"/v1/orders/{theirs['id']}").json()["status"] == "paid"


def test_a_signed_event_that_is_not_valid_is_refused(pair: Pair, placed: dict[str, Any]) -> None:
    before = seen(pair, placed)
    refused(post_event(pair, b"{"), 400, "malformed-request")
    refused(post_event(pair, b"[]"), 400, "malformed-request")
    refused(post_event(pair, b"{}"), 422, "validation", "/type", "/timestamp", "/merchant", "/data", "/operation")
    body = event(placed, "captured", 2)
    refused(post_event(pair, body.replace(b"payment.updated", b"payment.deleted")), 422, "validation", "/type")
    refused(post_event(pair, body.replace(b'"version": 2', b'"version": 2.0')), 422, "validation", "/data/version")
    refused(post_event(pair, event(placed, "captured", 2, order_id="x")), 422, "validation", "/data/order_id")
    for order in (placed, {**placed, "id": str(uuid.uuid4())}):  # the other one does not exist: its payment is kept
        for name, member in (("status", "pa\0id"), ("currency", "E\0R"), ("failure_reason", "\ud800")):
            told = json.loads(event(order, "captured", 2))
            told["data"][name] = member
            refused(post_event(pair, json.dumps(told).encode()), 422, "validation", f"/data/{name}")
    refused(
        post_event(pair, event(placed, "captured", 2, operation={"kind": None})), 422, "validation", "/operation/kind"
    )
    for number in (0, -1, 2**63, 10**30):
        refused(post_event(pair, event(placed, "captured", number)), 422, "validation", "/data/version")
    for name in ("captured_amount", "refunded_amount", "refunding_amount"):
        for number in (-1, 2**63, 10**30):
            answer = post_event(pair, event(placed, "captured", 2, **{name: number}))
            refused(answer, 422, "validation", f"/data/{name}")
    refused(post_event(pair, event(placed, "captured", 2, amount=2**63)), 422, "validation", "/data/amount")
    for merchant in (b'""', b'"a b"', b'"a\\u0000"', b'"\xc2\x9b"'):
        refused(post_event(pair, body.replace(b'"demo"', merchant)), 422, "validation", "/merchant")
    assert seen(pair, placed) == before


def test_the_largest_version_is_accepted_and_nothing_follows_it(pair: Pair, placed: dict[str, Any]) -> None:
    assert post_event(pair, event(placed, "authorized", 2**63 - 1)).status_code == 204
    assert seen(pair, placed)[0]["status"] == "authorized"
    assert post_event(pair, event(placed, "captured", 3)).status_code == 204
    assert seen(pair, placed)[0]["status"] == "authorized"


@pytest.mark.parametrize("first", ["processing", "authorized", "captured", "failed", "voided", "expired", "nonsense"])
@pytest.mark.parametrize("then", ["processing", "authorized", "captured", "failed", "voided", "expired", "nonsense"])
def test_an_impossible_change_of_status_leaves_the_order_consistent(pair: Pair, first: str, then: str) -> None:
    placed = pair.order.post("/v1/orders", ORDER).json()
    for version, status in enumerate((first, then), 2):
        assert post_event(pair, event(placed, status, version)).status_code == 204
        order, history = seen(pair, placed)
        assert [step["version"] for step in history] == list(range(1, order["version"] + 1))
        assert (order["status"] == "paid") == (order["paid_amount"] == 900 and order["status"] != "canceling")


@pytest.mark.parametrize("changes", [{"amount": 901, "captured_amount": 901}, {"amount": 1, "captured_amount": 1}])
def test_a_canceled_order_never_counts_a_payment_of_another_amount(
    pair: Pair, placed: dict[str, Any], changes: dict[str, Any]
) -> None:
    canceled = pair.order.post(f"/v1/orders/{placed['id']}/cancel")
    assert canceled.status_code in (200, 202)
    assert post_event(pair, event(placed, "captured", 2, **changes)).status_code == 204
    order, _ = seen(pair, placed)
    assert (order["paid_amount"], order["refunded_amount"]) == (0, 0)


def test_a_free_order_with_a_payment_can_be_canceled(pair: Pair) -> None:
    free = {**ORDER, "items": [{"sku": "gift", "quantity": 1, "unit_amount": 0}]}
    placed = pair.order.post("/v1/orders", free).json()
    assert post_event(pair, event({**placed, "total_amount": 500}, "captured", 2)).status_code == 204
    canceled = pair.order.post(f"/v1/orders/{placed['id']}/cancel")
    assert canceled.status_code in (200, 202), canceled.text
    assert canceled.json()["paid_amount"] == 0


def test_an_event_settles_the_refund_that_its_idempotency_key_names(pair: Pair, placed: dict[str, Any]) -> None:
    post_event(pair, event(placed, "captured", 2))
    path = f"/v1/orders/{placed['id']}/refunds"
    refunds = [pair.order.post(path, {"amount": amount}).json() for amount in (300, 200)]
    assert [refund["status"] for refund in refunds] == ["pending", "pending"]
    done = {"kind": "refund", "status": "succeeded", "idempotency_key": refunds[0]["id"]}
    assert post_event(pair, event(placed, "captured", 4, refunded_amount=300, operation=done)).status_code == 204
    declined = {"kind": "refund", "status": "declined", "reason": "no_way", "idempotency_key": refunds[1]["id"]}
    assert post_event(pair, event(placed, "captured", 6, refunded_amount=300, operation=declined)).status_code == 204
    shown = pair.order.get(path).json()["data"]
    assert [(each["status"], each["failure_reason"]) for each in shown] == [("failed", "no_way"), ("succeeded", None)]
    order, history = seen(pair, placed)
    assert (order["status"], order["refunded_amount"]) == ("paid", 300)
    types = [step["type"] for step in history]
    assert [kind for kind in types if kind.startswith("refund.")] == ["refund.succeeded", "refund.failed"]


def test_a_refund_is_settled_only_once(pair: Pair, placed: dict[str, Any]) -> None:
    post_event(pair, event(placed, "captured", 2))
    refund = pair.order.post(f"/v1/orders/{placed['id']}/refunds", {"amount": 300}).json()
    done = {"kind": "refund", "status": "succeeded", "idempotency_key": refund["id"]}
    post_event(pair, event(placed, "captured", 4, refunded_amount=300, operation=done))
    before = seen(pair, placed)
    for contrary in (done, {**done, "status": "declined"}, {**done, "idempotency_key": str(uuid.uuid4())}):
        assert (
            post_event(pair, event(placed, "captured", 4, refunded_amount=300, operation=contrary)).status_code == 204
        )
    assert seen(pair, placed) == before
    left = pair.order.post(f"/v1/orders/{placed['id']}/refunds").json()
    assert left["amount"] == 600
