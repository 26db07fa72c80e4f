"""The rules of tests.chaos find what they are about, in facts that are made up here."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import coverage, intents, told
from tests.chaos.facts import Facts, grouped, keyed
from tests.chaos.log import Log, Request

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)


class OrderService:
    """Answers every GET of an order with the same body."""

    def __init__(self, now: dict[str, Any]) -> None:
        self._now = now

    def get(self, _: str) -> Any:
        return SimpleNamespace(status_code=200, json=lambda: self._now)


def facts_of(**given: Any) -> Facts:
    """Return facts with the given rows and requests; there is nothing else."""
    facts = object.__new__(Facts)
    facts.log = Log(requests=given.get("requests", []))
    facts.orders = keyed(given.get("orders", []), "id")
    facts.outbox = given.get("outbox", [])
    facts.payments = given.get("payments", [])
    facts.operations = given.get("operations", [])
    facts.provider = {}
    facts.events = grouped(given.get("events", []), "order_id")
    facts.refunds_of = grouped(given.get("refunds", []), "order_id")
    facts.payments_of = grouped(facts.payments, "order_id")
    facts.operations_of = grouped(facts.operations, "payment_id")
    facts.clients = {"demo": (given.get("client"), None)}  # type: ignore[dict-item]
    return facts


def order(**changes: Any) -> dict[str, Any]:
    """Return an order's row: 900 are to be paid, and nothing is."""
    amounts = {"total_amount": 900, "paid_amount": 0, "refunded_amount": 0, "refunding_amount": 0}
    return {"merchant": "demo", "id": "o", "status": "authorized", "currency": "EUR", **amounts, **changes}


def payment(payment_id: str = "p", **changes: Any) -> dict[str, Any]:
    """Return a payment's row: 900 are captured."""
    amounts = {"amount": 900, "captured_amount": 900, "refunded_amount": 0, "refunding_amount": 0}
    of = {"merchant": "demo", "id": payment_id, "order_id": "o", "currency": "EUR", "updated_at": BEGAN}
    return {**of, "status": "captured", **amounts, **changes}


def operation(
    payment_id: str, kind: str, minutes: int, key: str | None = None, amount: int = 900, *, final: bool = True
) -> dict[str, Any]:
    """Return an operation's row, settled so many minutes after BEGAN."""
    of = {"merchant": "demo", "id": f"{payment_id} {minutes}", "payment_id": payment_id, "kind": kind, "amount": amount}
    settled = {"status": "succeeded", "settled_at": BEGAN + timedelta(minutes=minutes), "note": None, "attempts": 1}
    settled["final"] = final
    return {**of, **settled, "idempotency_key": key}


def command(topic: str, attempts: int = 1) -> dict[str, Any]:
    """Return an outbox row of the order."""
    return {"merchant": "demo", "id": "m", "aggregate_id": "o", "topic": topic, "attempts": attempts}


def request(kind: str, key: str = "k", **changes: Any) -> Request:
    """Return a request about the order."""
    return Request("demo", kind, None, key, "o", **changes)


def wrong(rule: Any, facts: Facts) -> list[str]:
    """Return the violations of a rule."""
    return [each for each in rule(facts) if each is not None]


@pytest.mark.parametrize(("asked", "sent", "found"), [(1, 1, 0), (1, 2, 1), (2, 2, 0)])
def test_more_commands_than_intents_are_found(asked: int, sent: int, found: int) -> None:
    requests = [request("capture", f"key {number}", status=202) for number in range(asked)]
    facts = facts_of(orders=[order()], outbox=[command("payment.capture")] * sent, requests=requests)
    assert len(wrong(intents.commands, facts)) == found


def test_a_refused_request_is_no_intent() -> None:
    facts = facts_of(orders=[order()], outbox=[command("payment.capture")], requests=[request("capture", status=409)])
    assert wrong(intents.commands, facts) == ["order o has 1 commands payment.capture, for 0 intents"]


def test_two_operations_of_one_key_are_found() -> None:
    operations = [operation("p", "refund", 1, "key"), operation("p", "refund", 2, "key")]
    assert wrong(intents.commands, facts_of(operations=operations)) == [
        "the key key of demo has 2 operations at the provider"
    ]


def test_endless_attempts_are_found() -> None:
    facts = facts_of(orders=[order()], outbox=[command("payment.create", attempts=350)])
    assert wrong(intents.commands, facts) == ["message m (payment.create) was attempted 350 times"]


def test_an_order_with_another_amount_than_its_payment_is_found() -> None:
    made = [operation("p", "sale", 0)]
    facts = facts_of(orders=[order(status="paid", paid_amount=400)], payments=[payment()], operations=made)
    assert wrong(intents.amounts, facts) == ["order o has paid and refunded (400, 0), its payments (900, 0)"]


def test_captures_that_do_not_add_up_to_the_captured_amount_are_found() -> None:
    made = [operation("p", "authorize", 0), operation("p", "capture", 1, amount=300, final=False)]
    rows = {"orders": [order(status="authorized", paid_amount=900)], "payments": [payment(status="authorized")]}
    assert wrong(intents.amounts, facts_of(**rows, operations=made)) == [
        "payment p: captured_amount is 900, its succeeded sales and captures are 300"
    ]
    made.append(operation("p", "capture", 2, amount=600))
    assert wrong(intents.amounts, facts_of(**rows, operations=made)) == []


def test_money_that_was_returned_after_the_order_was_canceled_is_not_part_of_its_amounts() -> None:
    returned = payment(refunded_amount=900)
    rows = {"operations": [operation("p", "sale", 0), operation("p", "refund", 1)]}
    refunds = [{"merchant": "demo", "order_id": "o", "amount": 900, "status": "succeeded"}]
    facts = facts_of(orders=[order(status="canceled")], payments=[returned], refunds=refunds, **rows)
    assert wrong(intents.amounts, facts) == []
    kept = facts_of(orders=[order(status="canceled")], payments=[payment()], operations=[operation("p", "sale", 0)])
    assert len(wrong(intents.amounts, kept)) == 1


@pytest.mark.parametrize(("second", "found"), [(5, 1), (15, 0)])
def test_two_payments_that_hold_money_at_the_same_time_are_found(second: int, found: int) -> None:
    voided = payment("first", status="voided", captured_amount=0, updated_at=BEGAN + timedelta(minutes=10))
    operations = [operation("first", "authorize", 0), operation("second", "sale", second)]
    facts = facts_of(
        orders=[order(status="paid", paid_amount=900)], payments=[voided, payment("second")], operations=operations
    )
    assert len(wrong(intents.amounts, facts)) == found


def answered(sent: float, received: float, version: int, status: int = 200) -> Request:
    """Return a request that was answered with the order in this version."""
    body = {"id": "o", "status": "authorized", "version": version, "paid_amount": 0, "refunded_amount": 0}
    return request("look", status=status, answer=body, sent=sent, received=received)


@pytest.mark.parametrize(("sent", "found"), [(1.5, 0), (2.5, 1)])
def test_a_version_that_goes_backwards_is_found_unless_the_requests_overlap(sent: float, found: int) -> None:
    now = {"id": "o", "status": "authorized", "version": 3, "paid_amount": 0, "refunded_amount": 0}
    facts = facts_of(requests=[answered(1, 2, 3), answered(sent, 4, 2)], client=OrderService(now))
    assert len(wrong(told.told, facts)) == found


@pytest.mark.parametrize(
    ("now", "events", "found"),
    [
        ({"status": "paid", "paid_amount": 900}, [], 0),
        ({"status": "authorized"}, [], 1),
        ({"status": "authorized", "last_error": {"code": "capture_declined"}}, [], 0),
        ({"status": "authorized"}, [{"version": 3, "data": {"failure_reason": "declined"}}], 0),
        ({"status": "authorized"}, [{"version": 2, "data": {"failure_reason": "an earlier decline"}}], 1),
        ({"status": "pending_payment"}, [], 1),
    ],
)
def test_a_202_without_an_end_that_its_caller_can_see_is_found(
    now: dict[str, Any], events: list[dict[str, Any]], found: int
) -> None:
    capture = answered(1, 2, 2, status=202)
    capture.kind = "capture"
    shown = {"id": "o", "version": 3, "paid_amount": 0, "refunded_amount": 0, **now}
    rows = [{"merchant": "demo", "order_id": "o", **event} for event in events]
    facts = facts_of(requests=[capture], client=OrderService(shown), events=rows)
    assert len(wrong(told.told, facts)) == found


def test_a_run_says_what_did_not_happen() -> None:
    facts = facts_of(payments=[payment()], operations=[operation("p", "sale", 0), operation("p", "void", 1)])
    assert coverage.missing(coverage.occurrences(facts)) == [
        "captures",
        "captures that keep the rest",
        "refunds",
        "declines",
        "unknown outcomes",
    ]
    assert coverage.missing(Counter(dict.fromkeys(coverage.REQUIRED, 1))) == []
