"""What payment tells order in `payment.updated` and order reads of it (payment-order.json).

Recorded from order's real `POST /v1/payment-events`, which is sent the same event without one member at a time, and
held against the events that payment's relay really sends.
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
from tests.support.pair import ORDER, Pair
from tests.support.settings import SECRET

NAME = "payment-order"
TOLD = [
    ("captured", {}, None),
    ("declined", {"payment_method": "pm_declined"}, None),
    ("authorized", {"capture": "manual"}, None),
    ("voided", {"capture": "manual"}, "cancel"),
    ("refunded", {}, "refunds"),
    ("refund declined", {"payment_method": "pm_refund_declined"}, "refunds"),
]
"""What an order goes through so that payment tells all that it can tell: how it is placed, and what is done then."""

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
"""What they come to: the words that order knows for a payment's status, an operation's kind, and its end."""


class Refused(Exception):
    """Order does not take an event."""


def test_the_contract_is_what_order_reads(pair: Pair) -> None:
    def tell(body: Body) -> int:
        data = json.dumps(body).encode()
        signed = signatures.sign(SECRET, str(uuid.uuid4()), data)
        answer = requests.post(f"{pair.order.url}/v1/payment-events", data=data, headers=signed, timeout=30)
        if answer.status_code != 204:
            raise Refused(answer.text)
        return answer.status_code

    compare(NAME, {"event": read_by(tell, SAMPLE, {"/type"})})


def test_payment_tells_what_order_expects_and_order_takes_it(pair: Pair) -> None:
    told = list(events(pair))
    assert [wrong for _, body in told for wrong in faults(body)] == []
    assert {status for status, _ in told} == {204}
    assert {what(body) for _, body in told} == KNOWN


@pytest.mark.parametrize("each", [*BREAKS, *EVENT_BREAKS], ids=str)
def test_a_payment_service_that_tells_otherwise_is_found_out(
    pair: Pair, each: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(pair) as told:
        each.apply(monkeypatch)
        pair.payment.post("/v1/payments", {**ORDERLESS, "order_id": str(uuid.uuid4())})
        ((_, body), *_) = eventually(lambda: told, "payment tells of it")
    assert faults(body) != []


ORDERLESS = {"amount": 900, "currency": "EUR", "payment_method": "pm_ok"}


def what(body: Body) -> tuple[str, str, str]:
    """What an event tells."""
    return body["data"]["status"], body["operation"]["kind"], body["operation"]["status"]


def faults(body: Body) -> list[str]:
    """How an event is not as order expects."""
    wrong = broken(stored(NAME)["event"], body)
    return wrong or ([] if what(body) in KNOWN else [f"{what(body)} is nothing that order knows"])


def events(pair: Pair) -> Iterable[tuple[int, Body]]:
    """The events of orders that go through everything: what order answered, and the event."""
    with recorded(pair) as told:
        for _, change, action in TOLD:
            placed = pair.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=10").json()
            if action is not None:
                done = pair.order.post(f"/v1/orders/{placed['id']}/{action}", {}, Prefer="wait=10")
                assert done.ok, done.text
        eventually(lambda: len(told) >= len(TOLD) + 3, "payment has told of everything")
    return told


@contextmanager
def recorded(pair: Pair) -> Iterator[list[tuple[int, Body]]]:
    """What is sent to order's real `POST /v1/payment-events` meanwhile, each with the status of its answer."""
    told: list[tuple[int, Body]] = []
    within = pair.order_app.wsgi_app

    def listening(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/v1/payment-events":
            return within(environ, start)
        data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = BytesIO(data)

        def answered(status: str, *more: Any) -> Any:
            told.append((int(status[:3]), json.loads(data)))
            return start(status, *more)

        return within(environ, answered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair.order_app, "wsgi_app", listening)
        yield told
