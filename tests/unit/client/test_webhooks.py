"""`webhooks.verify` accepts a body only if one of the secrets signed it within five minutes."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from tandem_client import InvalidSignature, Unknown, webhooks
from tests.unit.client.conftest import ORDER

OLD, NEW = ("whsec_" + base64.b64encode(text * 3).decode() for text in (b"the old secret", b"the new secret"))
BODY = json.dumps({"type": "order.paid", "timestamp": "2026-01-02T03:04:05.678901Z", "data": ORDER}).encode()


def signed(secret: str, body: bytes = BODY, age: float = 0) -> dict[str, str]:
    then = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "Content-Type": "application/json",
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(then.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("msg_1", then, body.decode()),
    }


@pytest.mark.parametrize("secrets", [OLD, [OLD], [NEW, OLD], (OLD, NEW), iter([NEW, OLD])])
def test_a_signed_webhook_is_returned_as_an_event(secrets: str | list[str]) -> None:
    event = webhooks.verify(BODY, signed(OLD), secrets)
    assert (event.id, event.type, event.data["total_amount"]) == ("msg_1", "order.paid", 900)
    assert event.timestamp == datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert event.body["type"] == "order.paid"
    assert event.order is not None
    assert (event.order.id, event.order.status, event.order.answer.body) == (ORDER["id"], "paid", ORDER)
    assert event.refund is None


@pytest.mark.parametrize(("kind", "unknown"), [("webhook.test", False), ("invoice.sent", True)])
def test_an_event_of_another_resource_has_no_order(kind: str, unknown: bool) -> None:
    body = json.dumps({"type": kind, "timestamp": "2026-01-02T03:04:05.678901Z", "data": {"invoice": 7}}).encode()
    event = webhooks.verify(body, signed(OLD, body), OLD)
    assert (event.type, event.order, event.refund, event.data) == (kind, None, None, {"invoice": 7})
    assert isinstance(event.type, Unknown) is unknown


def test_a_webhook_with_two_signatures_can_be_verified_with_either_secret() -> None:
    headers = signed(OLD)
    headers["Webhook-Signature"] = f"{signed(NEW)['Webhook-Signature']} {headers['Webhook-Signature']}"
    assert webhooks.verify(BODY, headers, OLD) == webhooks.verify(BODY, headers, NEW)


@pytest.mark.parametrize(
    ("sent", "signing", "change"),
    [
        (BODY + b" ", {}, {}),
        (BODY, {"secret": NEW}, {}),
        (BODY, {}, {"Webhook-Id": "msg_2"}),
        (BODY, {}, {"Webhook-Id": ""}),
        (BODY, {}, {"Webhook-Signature": "v1"}),
        (BODY, {}, {"Webhook-Signature": "v1,ü"}),
        (BODY, {}, {"Webhook-Timestamp": "nan"}),
        (BODY, {"age": 400}, {}),
        (BODY, {"age": -400}, {}),
        (b"\xff", {}, {}),
        (b"{}", {"body": b"{}"}, {}),
        (b"[]", {"body": b"[]"}, {}),
        (b"{", {"body": b"{"}, {}),
    ],
)
def test_an_invalid_webhook_raises_invalid_signature(
    sent: bytes, signing: dict[str, Any], change: dict[str, str]
) -> None:
    headers = {**signed(**{"secret": OLD, **signing}), **change}
    with pytest.raises(InvalidSignature):
        webhooks.verify(sent, headers, [OLD])


def test_a_request_without_a_signature_raises_invalid_signature() -> None:
    with pytest.raises(InvalidSignature):
        webhooks.verify(BODY, {"Content-Type": "application/json"}, OLD)


@pytest.mark.parametrize("secrets", [[], "", "whsec_", ["whsec_ü"], [OLD, "whsec_a"]])
def test_an_invalid_secret_raises_value_error_without_quoting_it(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        webhooks.verify(BODY, signed(OLD), secrets)
    assert OLD[6:] not in str(caught.value)
