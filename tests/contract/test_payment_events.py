"""The contract of the event `payment.updated` that payment sends to order (payment-order.json).

It is recorded from order's `POST /v1/payment-events`, by sending an event without one member at a time, and verified
against the events that payment's relay sends.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
import requests

from chassis.messaging import signatures
from tests.support.contract.breaks import BREAKS, EVENT_BREAKS, Break
from tests.support.contract.calls import MESSAGE_ID, payment
from tests.support.contract.expectations import Body, broken, compare, read_by, stored
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.settings import SECRET

NAME = "payment-order"
PAYMENTS = [
    ("captured", {}, None),
    ("declined", {"payment_method": "pm_declined"}, None),
    ("authorized", {"capture": "manual"}, None),
    ("voided", {"capture": "manual"}, "void"),
    ("refunded", {}, "refunds"),
    ("refund declined", {"payment_method": "pm_refund_declined"}, "refunds"),
]
"""Payments of a third party with every kind of event: a name, changes of the payment, and an action on it.

Order's own commands have no events: their outcomes are answers.
"""

SAMPLE = {
    "type": "payment.updated",
    "timestamp": "2026-03-14T09:26:53.589793Z",
    "merchant": "demo",
    "data": payment("captured", created_at="2026-03-14T09:26:53.589793Z"),
    "operation": {
        "id": MESSAGE_ID,
        "kind": "sale",
        "status": "succeeded",
        "amount": 900,
        "reason": None,
        "idempotency_key": MESSAGE_ID,
    },
}


KNOWN = {
    ("captured", "sale", "succeeded"),
    ("failed", "sale", "declined"),
    ("authorized", "authorize", "succeeded"),
    ("voided", "void", "succeeded"),
    ("captured", "refund", "succeeded"),
    ("captured", "refund", "declined"),
}
"""The combinations that order knows: a payment's status, an operation's kind and its result."""


class Refused(Exception):
    """Order rejected an event."""


def test_the_committed_contract_is_up_to_date(pair: Pair) -> None:
    def send(body: Body) -> int:
        data = json.dumps(body).encode()
        signed = signatures.sign(SECRET, str(uuid.uuid4()), data)
        answer = requests.post(f"{pair.order.url}/v1/payment-events", data=data, headers=signed, timeout=30)
        if answer.status_code != 204:
            raise Refused(answer.text)
        return answer.status_code

    compare(NAME, {"event": read_by(send, SAMPLE, {"/type"})})


def test_payment_sends_what_order_expects_and_order_accepts_it(pair: Pair) -> None:
    sent = list(events(pair))
    assert [wrong for _, body in sent for wrong in faults(body)] == []
    assert {status for status, _ in sent} == {204}
    assert {outcome(body) for _, body in sent} == KNOWN


@pytest.mark.parametrize("each", [*BREAKS, *EVENT_BREAKS], ids=str)
def test_an_event_that_breaks_the_contract_is_detected(
    pair: Pair, each: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(pair) as sent:
        each.apply(monkeypatch)
        pair.payment.post("/v1/payments", {**PAYMENT, "order_id": str(uuid.uuid4())})
        ((_, body), *_) = eventually(lambda: sent, "payment sends an event")
    assert faults(body) != []


PAYMENT = {"amount": 900, "currency": "EUR", "payment_method": "pm_ok"}


def outcome(body: Body) -> tuple[str, str, str]:
    """Return the payment's status, the operation's kind and its result."""
    return body["data"]["status"], body["operation"]["kind"], body["operation"]["status"]


def faults(body: Body) -> list[str]:
    """Return how an event violates the contract."""
    wrong = broken(stored(NAME)["event"], body)
    return wrong or ([] if outcome(body) in KNOWN else [f"order does not know {outcome(body)}"])


def events(pair: Pair) -> Iterable[tuple[int, Body]]:
    """Make all payments, and return order's status and the body of each event."""
    with recorded(pair) as sent:
        for _, change, action in PAYMENTS:
            made = pair.payment.post("/v1/payments", {**PAYMENT, **change, "order_id": str(uuid.uuid4())}).json()
            if action is not None:
                done = pair.payment.post(f"/v1/payments/{made['id']}/{action}", {})
                assert done.ok, done.text
        eventually(lambda: len(sent) >= len(PAYMENTS) + 3, "payment has sent all events")
    return sent


@contextmanager
def recorded(pair: Pair) -> Iterator[list[tuple[int, Body]]]:
    """Record the events sent to order's `POST /v1/payment-events`, each with the status of its response."""
    sent: list[tuple[int, Body]] = []
    application = pair.order_app.wsgi_app

    def recording(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/v1/payment-events":
            return application(environ, start)
        data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = BytesIO(data)

        def answered(status: str, *more: Any) -> Any:
            sent.append((int(status[:3]), json.loads(data)))
            return start(status, *more)

        return application(environ, answered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair.order_app, "wsgi_app", recording)
        yield sent
