"""The order service's use cases: one transaction each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import uuid_utils
from psycopg.types.json import Jsonb

from chassis import idempotency, logs, metrics
from chassis.database import Database, Row, Session
from chassis.idempotency import Claim
from chassis.outbox import Message
from chassis.problems import Problem
from chassis.relay import Relay
from order import model, store
from order.gateway import PaymentGateway

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as it stands, and whether it was placed by an earlier request with the same key."""

    id: str
    row: Row
    replayed: bool


class Orders:
    """What can be done with orders."""

    def __init__(self, database: Database, gateway: PaymentGateway, waiting: int) -> None:
        """`waiting` is how many callers of this process may wait for an outcome at the same time."""
        self.database = database
        self._room_to_wait = threading.BoundedSemaphore(waiting)
        self.relay = Relay(database, gateway.breaker, gateway.send, self._settle)

    @contextmanager
    def room_to_wait(self, wait: float) -> Iterator[float]:
        """How long this caller may wait, in seconds: as long as it likes, or not at all.

        Half of the threads stay free whatever callers prefer, not least for the events that end the waiting.
        """
        if wait <= 0 or not self._room_to_wait.acquire(blocking=False):
            yield 0
            return
        try:
            yield wait
        finally:
            self._room_to_wait.release()

    def place(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Placed:
        """Commit an order and what is to be asked of payment; with `wait`, ask at once for so many seconds.

        `wanted` is what schemas.PlaceOrder loads. Raises Problem for a key that is taken or in use.
        """
        order, message = _prepare(claim.merchant, _lines(wanted), wanted, headers, wait)
        session = self.database.session()
        try:
            row = store.place(session, claim, order, _command(message, wait))
        except psycopg.errors.LockNotAvailable as error:
            raise idempotency.in_use() from error
        if row is None:
            return self._earlier(session, claim, wait)
        return Placed(order["id"], self._go_on(row, message, wait), replayed=False)

    def place_by_id(self, merchant: str, order_id: str, wanted: dict[str, Any], headers: dict[str, str]) -> None:
        """Commit an order of the sketch's API, whose own id makes it happen once.

        `wanted` has items, total_amount, currency, payment_method. Raises Problem `order-exists`.
        """
        order, message = _prepare(merchant, wanted["items"], wanted, headers, 0, order_id)
        session = self.database.session()
        try:
            row = store.place_by_id(session, order, _command(message, 0))
        except psycopg.errors.LockNotAvailable as error:
            raise idempotency.in_use() from error
        if row is not None:
            self._go_on(row, message, 0)
            return
        there = store.sketch(session, merchant, order_id)
        if there is None or (there["items"], there["total_amount"]) != (wanted["items"], wanted["total_amount"]):
            raise Problem("order-exists", "An order with this id exists and has other content.")

    def get(self, merchant: str, order_id: str) -> Row:
        """An order's view. Raises Problem `order-not-found`."""
        return _found(store.get(self.database.session(), merchant, order_id))

    def sketch(self, merchant: str, order_id: str) -> Row:
        """An order as the sketch's API shows it. Raises Problem `order-not-found`."""
        return _found(store.sketch(self.database.session(), merchant, order_id))

    def history(self, merchant: str, order_id: str) -> str:
        """An order's history as JSON text. Raises Problem `order-not-found`."""
        return _found(store.events(self.database.session(), merchant, order_id))

    def apply_event(self, merchant: str, order_id: str, payment: model.Payment) -> bool:
        """Apply a payment snapshot that payment sent by itself; False if there is no such order."""
        with self.database.transaction() as session:
            step = self._apply(session, merchant, order_id, payment)
        _count(step)
        return step is not None

    def _settle(self, session: Session, message: Message, payment: model.Payment) -> Callable[[], None]:
        step = self._apply(session, message.merchant, message.aggregate_id, payment)
        return lambda: _count(step)

    def _apply(self, session: Session, merchant: str, order_id: str, payment: model.Payment) -> _Step | None:
        facts = store.lock(session, merchant, order_id)
        if facts is None:
            log.warning("payment_of_no_order", order_id=order_id, payment_id=payment.id)
            return None
        order = model.Order(
            model.Status(facts["status"]),
            facts["total_amount"],
            facts["currency"],
            facts["paid_amount"],
            str(facts["payment_id"]) if facts["payment_id"] else None,
            facts["payment_version"],
        )
        if not model.is_news(order, payment):
            return _Step(order.status, order.status)
        decision = model.decide(order, payment)
        store.apply(
            session,
            {
                "merchant": merchant,
                "id": order_id,
                "seen": facts["version"],
                "before": order.status,
                "status": decision.status,
                "type": f"order.{decision.status}" if decision.status != order.status else "payment.updated",
                "paid_amount": decision.paid_amount,
                "failure_reason": decision.failure_reason,
                "payment_id": payment.id,
                "payment_status": payment.status,
                "payment_version": payment.version,
                "data": {
                    "payment_id": payment.id,
                    "payment_status": payment.status,
                    "failure_reason": decision.failure_reason,
                },
            },
        )
        return _Step(order.status, decision.status)

    def _go_on(self, row: Row, message: Message | None, wait: float) -> Row:
        """After the commit: have the command carried out, here and now if the caller waits for it."""
        metrics.transitions.labels("order", "", row["status"]).inc()
        if message is None:
            return row
        if wait <= 0:
            self.relay.wake()
            return row
        deadline = time.monotonic() + wait
        self.relay.deliver(message, timeout=wait)
        return self._await_outcome(message.merchant, message.aggregate_id, deadline)

    def _earlier(self, session: Session, claim: Claim, wait: float) -> Placed:
        there = idempotency.earlier(session, claim)
        if there is None:  # whoever held the key has rolled back, or the key was purged in this moment
            raise idempotency.in_use()
        row = self._await_outcome(claim.merchant, there.resource_id, time.monotonic() + wait)
        return Placed(there.resource_id, row, replayed=True)

    def _await_outcome(self, merchant: str, order_id: str, deadline: float) -> Row:
        """The order when its outcome is known, or as it stands at the deadline."""
        while True:
            row = _found(store.get(self.database.session(), merchant, order_id))
            left = deadline - time.monotonic()
            if row["status"] != model.Status.PENDING_PAYMENT or left <= 0:
                return row
            time.sleep(min(0.05, left))


@dataclass(frozen=True, slots=True)
class _Step:
    before: str
    after: str


def _count(step: _Step | None) -> None:
    if step is not None and step.before != step.after:
        metrics.transitions.labels("order", step.before, step.after).inc()


def _lines(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": None, **item, "amount": item["quantity"] * item["unit_amount"]} for item in wanted["items"]]


def _prepare(
    merchant: str,
    items: list[dict[str, Any]],
    wanted: dict[str, Any],
    headers: dict[str, str],
    wait: float,
    order_id: str | None = None,
) -> tuple[dict[str, Any], Message | None]:
    """The row of a new order, and the message that asks for its payment if it needs one."""
    order_id = order_id or str(uuid_utils.uuid7())
    total = wanted["total_amount"] if "total_amount" in wanted else sum(item["amount"] for item in items)
    currency, method, capture = wanted["currency"], wanted["payment_method"], wanted.get("capture", "automatic")
    decision = model.decide(model.Order(model.Status.PENDING_PAYMENT, total, currency), None)
    order = {
        "merchant": merchant,
        "id": order_id,
        "status": decision.status,
        "currency": currency,
        "total_amount": total,
        "items": Jsonb(items),
        "customer": wanted.get("customer"),
        "payment_method": method,
        "capture": capture,
        "metadata": Jsonb(wanted.get("metadata", {})),
    }
    if not decision.commands:
        return order, None
    payload = {
        "order_id": order_id,
        "amount": total,
        "currency": currency,
        "payment_method": method,
        "capture": capture,
    }
    owner = f"request {uuid_utils.uuid7()}" if wait > 0 else ""
    command_id = str(uuid_utils.uuid7())
    return order, Message(0, command_id, merchant, order_id, decision.commands[0], payload, headers, 1, owner)


def _command(message: Message | None, wait: float) -> dict[str, Any]:
    """The outbox row of a message; leased to this request if it will deliver the message itself."""
    if message is None:
        return {}
    return {
        "command_id": message.id,
        "topic": message.topic,
        "payload": Jsonb(message.payload),
        "headers": Jsonb(message.headers),
        "owner": message.owner or None,
        "lease": wait + 3 if wait > 0 else None,
    }


T = TypeVar("T")


def _found(thing: T | None) -> T:
    if thing is None:
        raise Problem("order-not-found", "This merchant has no order with this id.")
    return thing
