"""All kinds of calls that order makes to payment, with sample responses of the current payment service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import responses

from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused
from order import reconcile
from order.gateway import PaymentGateway
from order.model import Command
from order.operator.payments import PaymentRecords, Payments
from tests.support.contract.expectations import Body, read_by

URL = "http://payment"
ORDER_ID = "0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70"
PAYMENT_ID = "0195a3f0-9b2a-7e11-8d40-1f6d1c8e5a71"
MESSAGE_ID = "0195a3f0-aaaa-7e11-8d40-1f6d1c8e5a72"
NAMES = {ORDER_ID: "{order_id}", PAYMENT_ID: "{payment_id}", MESSAGE_ID: "{message_id}"}
"""Ids that differ in every run, with their placeholders in the contract."""

HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Tandem-Merchant", "X-Request-Id", "traceparent")
CARRIED = {"X-Request-Id": "req-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
PERIOD = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
TOTAL = {"total_amount": 900, "currency": "EUR"}
ACCOUNT = {"captured_amount": 900, "refunded_amount": 0, "untold": 0, "missing": 0}
CREATE = {"order_id": ORDER_ID, "amount": 900, "currency": "EUR", "payment_method": "pm_ok", "capture": "automatic"}


def payment(status: str, **change: Any) -> Body:
    """Return a payment as the payment service represents it."""
    taken = 900 if status == "captured" else 0
    return {
        "id": PAYMENT_ID,
        "order_id": ORDER_ID,
        "status": status,
        "amount": 900,
        "currency": "EUR",
        "authorized_amount": taken,
        "captured_amount": taken,
        "refunded_amount": 0,
        "refunding_amount": 0,
        "payment_method": "pm_ok",
        "failure_reason": None,
        "provider": "simulator",
        "version": 2,
        **change,
    }


def result(payment: Body | None = None, **members: Any) -> list[tuple[int, Body]]:
    """Return the response to a batch of one command."""
    about = {"payment": payment} if payment is not None else {}
    return [(200, {"results": [{"id": MESSAGE_ID, **about, **members}]})]


def problem(name: str) -> Body:
    """Return why a command was refused."""
    return {"name": name, "detail": "No."}


def operation(status: str, reason: str | None = None) -> Body:
    """Return what became of a capture or void."""
    return {"status": status, "reason": reason}


def refund(status: str, reason: str | None = None) -> Body:
    """Return a refund as the payment service represents it."""
    return {"id": MESSAGE_ID, "status": status, "amount": 900, "currency": "EUR", "failure_reason": reason}


def seen(**change: Any) -> Body:
    """Return a payment as the operator's page reads it."""
    return {**payment("captured"), "provider_reference": "sim_0195a3f0", **change}


NOW = "2030-01-31T12:00:00.000000Z"
OPERATION = {
    "kind": "sale",
    "status": "succeeded",
    "attempts": 1,
    "reason": None,
    "created_at": NOW,
    "settled_at": NOW,
}
ENTRY = {
    "operation_id": MESSAGE_ID,
    "account": "provider_clearing",
    "direction": "debit",
    "amount": 900,
    "currency": "EUR",
    "at": NOW,
}
BALANCE = {"account": "provider_clearing", "currency": "EUR", "debits": 900, "credits": 0, "balance": 900}
NO_FAULTS = {"decline": False, "delay_ms": 0, "lost_requests_percent": 0, "lost_answers_percent": 0}
FAULTS = {**NO_FAULTS, "changed_at": NOW}


def complete(shown: object) -> object:
    """Return the result of a page's call. Raises Refused if something is missing, which the page would display."""
    ok, reason = shown if isinstance(shown, tuple) else (True, None)
    missing = shown.missing if isinstance(shown, PaymentRecords) else reason if not ok or isinstance(ok, dict) else None
    if missing:
        raise Refused(str(missing))
    return shown


@dataclass(frozen=True)
class Call:
    """A call to payment, with status and body of each response (`answers`).

    `given` is the body with which the payment was created before, `after` an action that was taken on it.
    """

    name: str
    answers: list[tuple[int, Body]]
    command: Command | None = None
    payload: Body = field(default_factory=dict)
    given: Body | None = None
    after: str | None = None
    page: Callable[[Payments], object] | None = None
    """The call of the operator's page, if the page makes it."""
    read: Callable[[PaymentGateway], object] | None = None
    """Another call of the gateway that sends no command."""

    def make(self) -> object:
        """Make the call and return order's interpretation of the responses."""
        if self.page is not None:
            return self.page(Payments(URL, "a-key"))
        gateway = PaymentGateway(URL, "a-key", timeout=5)
        if self.read is not None:
            return self.read(gateway)
        if self.command is None:
            order = {"id": ORDER_ID, "status": "paid", "paid_amount": 900, "refunded_amount": 0, **TOTAL}
            accounts = [
                reconcile.Account(payment, gateway.at_provider("demo", payment["id"]))
                for payment in gateway.payments("demo", ORDER_ID)
            ]
            return list(reconcile.compare({**order, "payment": {"id": PAYMENT_ID, "status": "captured"}}, accounts))
        return gateway.send(Message(0, MESSAGE_ID, "demo", ORDER_ID, self.command, self.payload, CARRIED, 1, ""))


ABOUT = {"payment_id": PAYMENT_ID}
MANUAL = {"capture": "manual"}
CALLS = [
    Call("create: captured", result(payment("captured")), Command.CREATE, CREATE),
    Call("create: authorized", result(payment("authorized")), Command.CREATE, {**CREATE, **MANUAL}),
    Call(
        "create: declined",
        result(payment("failed", failure_reason="card_declined")),
        Command.CREATE,
        {**CREATE, "payment_method": "pm_declined"},
    ),
    Call("create: payment exists", result(payment("captured")), Command.CREATE, CREATE, given={}),
    Call(
        "capture",
        result(payment("captured"), operation=operation("succeeded")),
        Command.CAPTURE,
        ABOUT,
        given=MANUAL,
    ),
    Call("void", result(payment("voided"), operation=operation("succeeded")), Command.VOID, ABOUT, given=MANUAL),
    Call(
        "capture: too late",
        result(payment("voided"), problem=problem("payment-state")),
        Command.CAPTURE,
        ABOUT,
        given=MANUAL,
        after="void",
    ),
    Call(
        "void: too late", result(payment("captured"), problem=problem("payment-state")), Command.VOID, ABOUT, given={}
    ),
    Call(
        "refund",
        result(payment("captured", refunded_amount=900), refund=refund("succeeded")),
        Command.REFUND,
        {**ABOUT, "amount": 900, "reason": "order canceled"},
        given={},
    ),
    Call(
        "refund: declined",
        result(payment("captured"), refund=refund("failed", "refund_declined")),
        Command.REFUND,
        {**ABOUT, "amount": 900},
        given={"payment_method": "pm_refund_declined"},
    ),
    Call(
        "refund: exceeds the captured amount",
        result(payment("captured"), problem=problem("amount-exceeds-captured")),
        Command.REFUND,
        {**ABOUT, "amount": 901},
        given={},
    ),
    Call(
        "refund: nothing is captured",
        result(payment("authorized"), problem=problem("payment-state")),
        Command.REFUND,
        {**ABOUT, "amount": 1},
        given=MANUAL,
    ),
    Call("capture: payment is unknown", result(problem=problem("payment-not-found")), Command.CAPTURE, ABOUT),
    Call("void: payment is unknown", result(problem=problem("payment-not-found")), Command.VOID, ABOUT),
    Call(
        "refund: payment is unknown",
        result(problem=problem("payment-not-found")),
        Command.REFUND,
        {**ABOUT, "amount": 1},
    ),
    Call(
        "reconcile",
        [(200, {"data": [payment("captured")]}), (200, ACCOUNT)],
        given={},
    ),
    Call(
        "reconcile: a merchant's ledger",
        [(200, {"data": [{**ENTRY, "payment_id": PAYMENT_ID}], "next_cursor": None})],
        given={},
        read=lambda gateway: [(each["payment_id"], each["at"]) for each in gateway.entries("demo")],
    ),
    Call(
        "reconcile: payments that may capture money",
        [(200, {"data": [payment("authorized")], "next_cursor": None})],
        given=MANUAL,
        read=lambda gateway: [(each["id"], each["order_id"]) for each in gateway.uncaptured("demo", *PERIOD)],
    ),
    Call(
        "reconcile: a payment",
        [(200, payment("captured"))],
        given={},
        read=lambda gateway: gateway.payment("demo", PAYMENT_ID)["order_id"],
    ),
    Call("page: readiness of payment", [(200, {"status": "ready"})], page=lambda page: complete(page.readiness())),
    Call(
        "page: an order's payments",
        [(200, {"data": [seen()]}), (200, {"data": [OPERATION]}), (200, {"data": [ENTRY]})],
        given={},
        page=lambda page: complete(page.records("demo", ORDER_ID)),
    ),
    Call(
        "page: an order's payment that was declined",
        [
            (200, {"data": [seen(status="failed", failure_reason="card_declined", provider_reference=None)]}),
            (200, {"data": [{**OPERATION, "status": "declined", "reason": "card_declined"}]}),
            (200, {"data": []}),
        ],
        given={"payment_method": "pm_declined"},
        page=lambda page: complete(page.records("demo", ORDER_ID)),
    ),
    Call(
        "page: trial balance",
        [(200, {"data": [BALANCE]})],
        given={},
        page=lambda page: complete(page.balances(["demo"])),
    ),
    Call("page: faults", [(200, FAULTS)], page=lambda page: page.faults()),
    Call("page: switch faults", [(200, FAULTS)], page=lambda page: page.set_faults(NO_FAULTS)),
]


def record() -> list[Body]:
    """Return the contract: the requests that order sends in each call, and the members of responses that it reads."""
    return [_recorded(call) for call in CALLS]


def _recorded(call: Call) -> Body:
    at = "/results/0"
    exact = {f"{at}/{member}" for member in ("problem/name", "payment/status", "operation/status", "refund/status")}
    exact |= {"/status", "/data/0/status"}
    if "declined" in call.name:
        exact |= {"/failure_reason", f"{at}/payment/failure_reason", f"{at}/refund/failure_reason"}
    exchanges = []
    for number, (status, sample) in enumerate(call.answers):
        read = read_by(lambda body, at=number: _result(call, body, at), sample, exact)  # type: ignore[misc]
        request = _play(call, call.answers)[1][number]
        exchanges.append({"request": request, "answer": {"status": status, "body": read}})
    return {"call": call.name, "given": call.given, "after": call.after, "exchanges": exchanges}


def _result(call: Call, body: Body, at: int) -> object:
    """Return the result of a call if response number `at` has this body."""
    answers = [(status, body if number == at else sample) for number, (status, sample) in enumerate(call.answers)]
    return _play(call, answers)[0]


def _play(call: Call, answers: list[tuple[int, Body]]) -> tuple[object, list[Body]]:
    """Return the result of a call with these responses, and the requests that it made."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as service:
        for number, (status, body) in enumerate(answers):
            method = "POST" if call.command is not None and number == 0 else "GET"
            service.add(
                "PUT" if "switch" in call.name else method, re.compile(re.escape(URL)), json=body, status=status
            )
        outcome = call.make()
        return outcome, [_request(each.request) for each in service.calls]


def _request(request: Any) -> Body:
    body = None if request.body is None else json.loads(_with_placeholders(request.body.decode()))
    headers = {name: _with_placeholders(request.headers[name]) for name in HEADERS if name in request.headers}
    path = _with_placeholders(request.url.removeprefix(URL))
    return {"method": request.method, "path": path, "headers": headers, **({"body": body} if body is not None else {})}


def _with_placeholders(text: str) -> str:
    for id_, name in NAMES.items():
        text = text.replace(id_, name)
    return text
