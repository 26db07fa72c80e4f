"""What order accepts, payment accepts as a command: a command that payment refuses is never carried out."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chassis import money
from chassis.http import fast_load, inspection, parsing
from chassis.http.fields import Schema
from chassis.http.problems import Problem
from chassis.service import usable_headers
from order import change_schemas, lines, service
from order.changes import new_id
from order.schemas import PlaceOrder
from payment import batch_api, batch_schemas
from payment.batches import Command

HEADERS = {"X-Request-Id": "the-first"}
CARD = "4111 1111 1111 1111"

# Digits and what stands between the digits of cards, articles and dates, beside any other text.
NUMBERS = st.text("0123456789 -./,:#\t\u00a0\uff14\u0664card", min_size=1, max_size=100)
TEXTS = st.text(min_size=1, max_size=100) | NUMBERS


def load(schema: type[Schema], body: dict[str, Any]) -> Any:
    """Return what a service loads from a request. Raises Problem."""
    text = parsing._decode(orjson.dumps(body))
    loader, rule = fast_load.loader(schema()), inspection.rule_of(schema())
    return parsing.load_json(loader, rule, parsing._parse(text), suspicious=inspection.is_suspicious(text))


def accepted(schema: type[Schema], body: dict[str, Any]) -> Any:
    """Return what order loads from a request; a request that order refuses is no example."""
    try:
        return load(schema, body)
    except Problem:
        assume(False)


def carried_out(topic: str, payload: dict[str, Any], headers: dict[str, str]) -> Command:
    """Return the command that payment carries out. Raises Problem if it refuses it."""
    command = {"id": new_id(), "merchant": "demo", "topic": topic, "payload": payload, "headers": headers}
    (each,) = load(batch_schemas.CommandBatch, {"commands": [command]})["commands"]
    with Flask(__name__).app_context():
        return batch_api._command(each, usable_headers(each["headers"]))


def order(**changes: Any) -> dict[str, Any]:
    line = {"sku": "tea-100", "name": "Green tea", "quantity": 1, "unit_amount": 450}
    return {"currency": "EUR", "items": [line], "payment_method": "pm_ok", **changes}


def placed(body: dict[str, Any]) -> Command:
    """Place an order that order accepts, and have payment carry out its command."""
    wanted = accepted(PlaceOrder, body)
    items = [lines.placed(line) for line in wanted["items"]]
    _, message, _ = service._new_order("demo", new_id(), items, wanted, HEADERS, 0)
    assert message is not None
    return carried_out(message.topic, message.payload, HEADERS)


@given(TEXTS, st.sampled_from(["automatic", "manual"]))
def test_payment_accepts_the_payment_method_of_an_order(method: str, capture: str) -> None:
    assert placed(order(payment_method=method, capture=capture)).wanted["payment_method"] == method


@given(st.integers(1, money.MAX_AMOUNT) | st.integers(10**12, 10**16), st.sampled_from(sorted(money.CURRENCIES)))
@example(4111111111111111, "EUR")
def test_payment_accepts_the_total_of_an_order(total: int, currency: str) -> None:
    largest = 10**12
    parts = [(total // largest, largest), (1, total % largest)]
    items = [
        {"sku": "tea-100", "name": "Green tea", "quantity": quantity, "unit_amount": amount}
        for quantity, amount in parts
        if quantity
    ]
    assert placed(order(items=items, currency=currency)).wanted["amount"] == total


@given(TEXTS, st.integers(1, money.MAX_AMOUNT))
def test_payment_accepts_a_refund(reason: str, amount: int) -> None:
    wanted = accepted(change_schemas.CreateRefund, {"reason": reason, "amount": amount})
    passed_on = {"amount": wanted["amount"], "reason": wanted["reason"]}
    command = carried_out("payment.refund", {"payment_id": new_id(), **passed_on}, HEADERS)
    assert command.wanted == passed_on


@given(st.integers(1, money.MAX_AMOUNT), st.booleans())
def test_payment_accepts_a_capture(amount: int, final: bool) -> None:
    wanted = accepted(change_schemas.CaptureOrder, {"amount": amount, "final": final})
    command = carried_out("payment.capture", {"payment_id": new_id(), **wanted}, HEADERS)
    assert command.wanted == wanted


@given(
    st.text("abcXYZ0123456789-_.:", max_size=64),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text('a=1,@*/ \t\\"-4\x7f', max_size=520),
)
@example("the-first", "0af7651916cd43dd8448eb211c80319c", "a=1\t,b=2")
@example("4111-1111-1111-1111", "41111111111111110000000000000000", f"a={CARD}")
def test_payment_accepts_the_headers_that_order_propagates(request_id: str, trace: str, state: str) -> None:
    given = {"X-Request-Id": request_id, "traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": state}
    propagated = usable_headers(given)
    payload = {"order_id": new_id(), "amount": 900, "currency": "EUR", "payment_method": "pm_ok"}
    assert carried_out("payment.create", payload, propagated).headers == propagated
