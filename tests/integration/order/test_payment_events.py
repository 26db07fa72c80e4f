"""What payment tells of its own accord: believed only when signed, applied only when new. Nobody else speaks here."""

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

from chassis import webhooks
from tests.integration.chassis.refusals import refused
from tests.integration.databases import Databases
from tests.integration.pair import ORDER, Client, Pair
from tests.integration.settings import OTHER_KEY, SECRET

ANOTHER_SECRET = "whsec_" + "bm90LXRoZS1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="
PAYMENT = str(uuid.uuid4())


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:
    """Payment does not answer, so that orders stay as they are unless an event of the test's changes them."""
    with Pair(databases) as pair:
        pair.stop_payment()
        yield pair


@pytest.fixture
def placed(pair: Pair) -> dict[str, Any]:
    body: dict[str, Any] = pair.order.post("/v1/orders", ORDER).json()
    assert body["status"] == "pending_payment"
    return body


def event(order: dict[str, Any], status: str, version: int, **changes: Any) -> bytes:
    data = {
        "id": changes.pop("payment_id", PAYMENT),
        "order_id": order["id"],
        "version": version,
        "status": status,
        "amount": order["total_amount"],
        "currency": order["currency"],
        "captured_amount": order["total_amount"] if status == "captured" else 0,
        "failure_reason": "card_declined" if status == "failed" else None,
        "something_new": True,
        **changes,
    }
    now = datetime.now(UTC).isoformat()
    return json.dumps({"type": "payment.updated", "timestamp": now, "merchant": "demo", "data": data}).encode()


def tell(pair: Pair, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
    """Post an event, with the right signature unless other headers are given."""
    signed = webhooks.sign(SECRET, str(uuid.uuid4()), body) if headers is None else headers
    return requests.post(f"{pair.order.url}/v1/payment-events", data=body, headers=signed, timeout=30)


def seen(pair: Pair, order: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = f"/v1/orders/{order['id']}"
    return pair.order.get(path).json(), pair.order.get(f"{path}/events").json()["data"]


def test_an_event_that_is_not_signed_as_it_must_be_is_400_and_changes_nothing(
    pair: Pair, placed: dict[str, Any]
) -> None:
    before = seen(pair, placed)
    body = event(placed, "captured", 2)
    good = webhooks.sign(SECRET, "msg_1", body)
    long_ago = datetime.now(UTC) - timedelta(minutes=6)
    stale = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(long_ago.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", long_ago, body.decode()),
    }
    bad: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {pair.order.key}"},
        webhooks.sign(ANOTHER_SECRET, "msg_1", body),
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
        refused(tell(pair, body, headers), 400, "invalid-signature")
    refused(tell(pair, body.replace(b"captured", b"Captured"), good), 400, "invalid-signature")
    refused(tell(pair, body + b" ", good), 400, "invalid-signature")
    refused(tell(pair, b"", good), 400, "invalid-signature")
    refused(tell(pair, b"\xff", good), 400, "invalid-signature")
    assert seen(pair, placed) == before


def test_a_genuine_event_is_applied_and_told_in_the_history(pair: Pair, placed: dict[str, Any]) -> None:
    assert tell(pair, event(placed, "captured", 2)).status_code == 204
    order, history = seen(pair, placed)
    assert (order["status"], order["paid_amount"], order["version"]) == ("paid", 900, 2)
    assert order["payment"] == {"id": PAYMENT, "status": "captured", "failure_reason": None}
    assert [(step["version"], step["from"], step["to"]) for step in history] == [
        (1, None, "pending_payment"),
        (2, "pending_payment", "paid"),
    ]


def test_what_comes_twice_late_or_from_another_payment_changes_nothing(pair: Pair, placed: dict[str, Any]) -> None:
    captured = event(placed, "captured", 2)
    assert tell(pair, captured).status_code == 204
    before = seen(pair, placed)
    for body in (
        captured,
        event(placed, "processing", 1),
        event(placed, "failed", 2),
        event(placed, "failed", 99, payment_id=str(uuid.uuid4())),
        event(placed, "captured", 99, payment_id=str(uuid.uuid4())),
    ):
        assert tell(pair, body).status_code == 204
        assert seen(pair, placed) == before


def test_steps_may_come_one_by_one(pair: Pair, placed: dict[str, Any]) -> None:
    for version, (told, shown) in enumerate(
        [("processing", "pending_payment"), ("authorized", "authorized"), ("captured", "paid")], 1
    ):
        tell(pair, event(placed, told, version))
        assert seen(pair, placed)[0]["status"] == shown
    assert [step["version"] for step in seen(pair, placed)[1]] == [1, 2, 3, 4]


@pytest.mark.parametrize("changes", [{"amount": 899, "captured_amount": 899}, {"currency": "USD"}])
def test_money_of_another_amount_or_currency_does_not_pay(
    pair: Pair, placed: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert tell(pair, event(placed, "captured", 2, **changes)).status_code == 204
    order, _ = seen(pair, placed)
    assert (order["status"], order["paid_amount"]) == ("payment_failed", 0)
    assert order["payment"]["failure_reason"] == "amount_mismatch"


def test_an_event_of_no_order_is_taken_and_forgotten(pair: Pair, placed: dict[str, Any]) -> None:
    nobody = {**placed, "id": str(uuid.uuid4())}
    assert tell(pair, event(nobody, "captured", 2)).status_code == 204
    refused(pair.order.get(f"/v1/orders/{nobody['id']}"), 404, "order-not-found")


def test_an_event_is_for_the_merchant_that_it_names(pair: Pair, placed: dict[str, Any]) -> None:
    before = seen(pair, placed)
    body = event(placed, "captured", 2).replace(b'"demo"', b'"other"')
    assert tell(pair, body).status_code == 204
    assert seen(pair, placed) == before
    theirs = Client(pair.order.url, OTHER_KEY).post("/v1/orders", ORDER).json()
    tell(pair, event(theirs, "captured", 2).replace(b'"demo"', b'"other"'))
    assert Client(pair.order.url, OTHER_KEY).get(f"/v1/orders/{theirs['id']}").json()["status"] == "paid"


def test_a_genuine_event_that_makes_no_sense_is_refused(pair: Pair, placed: dict[str, Any]) -> None:
    before = seen(pair, placed)
    refused(tell(pair, b"{"), 400, "malformed-request")
    refused(tell(pair, b"[]"), 400, "malformed-request")
    refused(tell(pair, b"{}"), 422, "validation", "/type", "/timestamp", "/merchant", "/data")
    body = event(placed, "captured", 2)
    refused(tell(pair, body.replace(b"payment.updated", b"payment.deleted")), 422, "validation", "/type")
    refused(tell(pair, body.replace(b'"version": 2', b'"version": 2.0')), 422, "validation", "/data/version")
    refused(tell(pair, event(placed, "captured", 2, order_id="x")), 422, "validation", "/data/order_id")
    assert seen(pair, placed) == before
