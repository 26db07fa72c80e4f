"""Invariants 14 and 15: one command and one operation for each intent, and amounts that agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.chaos.facts import Facts, Key, Row

MOST_ATTEMPTS = 60
"""Attempts of one message or operation in a run. Backoff allows far fewer; a loop without it makes hundreds."""


def commands(facts: Facts) -> Iterator[str | None]:
    """Check the number of commands of each order, and of operations of each command, and their attempts."""
    sent: Counter[tuple[Key, str]] = Counter()
    for message in facts.outbox:
        sent[(message["merchant"], str(message["aggregate_id"])), message["topic"]] += 1
        yield _attempts(f"message {message['id']} ({message['topic']})", message["attempts"])
    allowed = _intents(facts)
    for (order, topic), count in sent.items():
        most = allowed[order, topic]
        yield None if count <= most else f"order {order[1]} has {count} commands {topic}, for {most} intents"
    for operations in (_with_key(facts), _without_key(facts)):
        for what, count in operations.items():
            yield None if count == 1 else f"{what} has {count} operations at the provider"
    for operation in facts.operations:
        yield _attempts(f"operation {operation['id']} ({operation['kind']})", operation["attempts"])
    for key, record in facts.provider.items():
        yield _attempts(f"operation {key} ({record['kind']}) at the provider", record["calls"])


def most_of_any(facts: Facts) -> str:
    """Return the greatest number of commands of any order, and of attempts of one message and one operation."""
    sent = Counter((message["aggregate_id"], message["topic"].removeprefix("payment.")) for message in facts.outbox)
    topics = sorted({topic for _, topic in sent})
    most = [f"{topic} {max(n for (_, t), n in sent.items() if t == topic)}" for topic in topics]
    messages = max((message["attempts"] for message in facts.outbox), default=0)
    operations = max((operation["attempts"] for operation in facts.operations), default=0)
    calls = max((record["calls"] for record in facts.provider.values()), default=0)
    return (
        f"most commands of an order: {', '.join(most) or 'none'}; most attempts: {messages} of a message,"
        f" {operations} of an operation; most calls of the provider with one key: {calls}"
    )


def _attempts(what: str, count: int) -> str | None:
    return None if count <= MOST_ATTEMPTS else f"{what} was attempted {count} times"


def _intents(facts: Facts) -> Counter[tuple[Key, str]]:
    """Return how many commands of each topic an order may have: one for each intent.

    An intent is what a caller asked for, under one key. The service has intents of its own: the first payment, and the
    return of each payment's money after the order is final, by a void or a refund.
    """
    allowed: Counter[tuple[Key, str]] = Counter()
    for key in facts.orders:
        allowed[key, "payment.create"] += 1
        for topic in ("payment.void", "payment.refund"):
            allowed[key, topic] += len(facts.payments_of.get(key, []))
    for kind, topics in (
        ("pay again", ["payment.create"]),
        ("capture", ["payment.capture"]),
        ("release", ["payment.void"]),
        ("cancel", ["payment.void", "payment.refund"]),
        ("refund", ["payment.refund"]),
    ):
        for key, requests in facts.requests_about(kind, f"{kind} again").items():
            for topic in topics:
                allowed[key, topic] += len({request.key for request in requests})
    return allowed


def _with_key(facts: Facts) -> Counter[str]:
    return Counter(
        f"the key {operation['idempotency_key']} of {operation['merchant']}"
        for operation in facts.operations
        if operation["idempotency_key"] is not None
    )


def _without_key(facts: Facts) -> Counter[str]:
    """Count the charges of the sketch's API and the voids of expired authorizations, by payment."""
    return Counter(
        f"payment {operation['payment_id']} ({operation['kind']}, without a key)"
        for operation in facts.operations
        if operation["idempotency_key"] is None and operation["kind"] in ("sale", "authorize", "void")
    )


def amounts(facts: Facts) -> Iterator[str | None]:
    """Check that order and payment have the same amounts, and that captures and refunds add up in each of them."""
    for key, order in facts.orders.items():
        yield _same_amounts(order, facts.payments_of.get(key, []))
        left = order["refunding_amount"]
        yield None if left == 0 else f"order {key[1]} still has {left} refunding"
        refunded = sum(r["amount"] for r in facts.refunds_of.get(key, []) if r["status"] == "succeeded")
        returned = sum(p["refunded_amount"] for p in facts.payments_of.get(key, []))
        yield (
            None if refunded == returned else f"order {key[1]}: refunds of {refunded}, its payments returned {returned}"
        )
        yield _one_holds_money(facts, key)
    for payment in facts.payments:
        yield from _sums(facts, payment)


def _same_amounts(order: Row, payments: list[Row]) -> str | None:
    """Compare an order with its payments.

    Money that does not fit the order, or that came after its end, is returned. It is not part of the order's amounts.
    """
    kept = [p for p in payments if (p["amount"], p["currency"]) == (order["total_amount"], order["currency"])]
    if order["status"] in ("canceled", "expired") and order["paid_amount"] == 0:
        kept = []
    theirs = sum(p["captured_amount"] for p in kept), sum(p["refunded_amount"] for p in kept)
    ours = order["paid_amount"], order["refunded_amount"]
    if ours != theirs:
        return f"order {order['id']} has paid and refunded {ours}, its payments {theirs}"
    others = [p for p in payments if p not in kept and p["refunded_amount"] < p["captured_amount"]]
    return f"order {order['id']} does not show the money that its payments hold: {others}" if others else None


def _sums(facts: Facts, payment: Row) -> Iterator[str | None]:
    made = facts.operations_of.get((payment["merchant"], str(payment["id"])), [])
    for kinds, status, column in (
        (("refund",), "succeeded", "refunded_amount"),
        (("refund",), "pending", "refunding_amount"),
        (("sale", "capture"), "succeeded", "captured_amount"),
    ):
        total = sum(o["amount"] for o in made if o["kind"] in kinds and o["status"] == status)
        has = payment[column]
        of = " and ".join(f"{kind}s" for kind in kinds)
        yield None if total == has else f"payment {payment['id']}: {column} is {has}, its {status} {of} are {total}"


def _one_holds_money(facts: Facts, order: Key) -> str | None:
    """Check that no two payments of an order held money at the same time."""
    held = sorted(
        period for payment in facts.payments_of.get(order, []) if (period := _holding(facts, payment)) is not None
    )
    for (_, end, first), (begin, _, second) in zip(held, held[1:], strict=False):
        if begin < end:
            return f"order {order[1]}: the payments {first} and {second} held money at the same time"
    return None


def _holding(facts: Facts, payment: Row) -> tuple[datetime, datetime, str] | None:
    """Return from when to when a payment held or reserved money, and its id."""
    made = [
        operation
        for operation in facts.operations_of.get((payment["merchant"], str(payment["id"])), [])
        if operation["status"] == "succeeded"
    ]
    began = [operation["settled_at"] for operation in made if operation["kind"] in ("sale", "authorize")]
    if not began:
        return None
    return min(began), _end(payment, made) or datetime.max.replace(tzinfo=began[0].tzinfo), str(payment["id"])


def _end(payment: Row, made: list[dict[str, Any]]) -> datetime | None:
    if payment["status"] in ("voided", "expired"):
        ended: datetime = payment["updated_at"]
        return ended
    refunds = [operation["settled_at"] for operation in made if operation["kind"] == "refund"]
    whole = payment["captured_amount"] and payment["refunded_amount"] == payment["captured_amount"]
    return max(refunds) if whole and refunds else None
