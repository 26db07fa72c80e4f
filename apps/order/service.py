"""The order service's use cases: one transaction each."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import uuid_utils

from chassis.http import idempotency, prefer
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.postgres.database import Database, Row, Session, to_json
from chassis.telemetry import logs, metrics
from order import model, progress, store
from order.gateway import Answer, PaymentGateway
from order.model import Command, Status
from order.progress import Locked, Overtaken, Seen
from order.webhooks.service import Webhooks

log = logs.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """The view of an order or refund as it stands, and whether an earlier request with the same key did it."""

    row: Row
    replayed: bool = False


class Orders:
    """What can be done with orders.

    `headers` are sent along with what a request sets off. `wait` is how many seconds the caller waits for the
    outcome: the request then carries its command to payment itself, at once.
    """

    def __init__(self, database: Database, gateway: PaymentGateway, webhooks: Webhooks, waiting: int) -> None:
        """`waiting` is how many callers of this process may wait for an outcome at the same time."""
        self.database = database
        self.gateway = gateway
        self.webhooks = webhooks
        self.relay = Relay(database, gateway.breaker, gateway.send, self._settle, self._settle_at_once)
        self._recent = idempotency.Recent()
        self._room_to_wait = threading.BoundedSemaphore(waiting)

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

    def place(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Done:
        """Commit an order and what is to be asked of payment.

        `wanted` is what schemas.PlaceOrder loads. Raises Problem for a key that is taken or in use.
        """
        session = self.database.session()
        if claim in self._recent:
            there = store.placed(session, claim)
            if there is not None:
                return self._placed_before(claim, there, wait)
        order, message = _prepare(claim.merchant, _lines(wanted), wanted, headers, _lease(wait))
        with idempotency.not_in_use():
            row = store.place(session, claim, order)
        self._recent.add(claim)
        if row is None:
            there = store.placed(session, claim) or self._otherwise_known(session, claim)
            return self._placed_before(claim, there, wait)
        self._placed(row)
        if wait > 0 and message is not None:
            return Done(self._pay_now(progress.placed(session, order, row, message), wait))
        self._deliver(message, 0)
        return Done(row)

    def _pay_now(self, placed: Seen, wait: float) -> Row:
        """Have an order that was just placed paid while the caller waits; its view then."""
        self.relay.deliver(placed.answers, wait, partial(self._settle_at_once, seen=placed))
        return placed.view or self._await(placed.merchant, placed.id, wait, _has_outcome)

    def _placed_before(self, claim: Claim, row: Row, wait: float) -> Done:
        if wait > 0:
            row = self._await(claim.merchant, str(row["id"]), wait, _has_outcome)
        return Done(row, replayed=True)

    def _otherwise_known(self, session: Session, claim: Claim) -> Row:
        """What a key stands for that no order was placed with, or not this one: it says which. Raises Problem."""
        there = idempotency.required(session, claim)
        return self.get(claim.merchant, there.resource_id)

    def place_by_id(self, merchant: str, order_id: str, wanted: dict[str, Any], headers: dict[str, str]) -> None:
        """Commit an order of the sketch's API, whose own id makes it happen once.

        `wanted` has items, total_amount, currency, payment_method. Raises Problem `order-exists`.
        """
        order, message = _prepare(merchant, wanted["items"], wanted, headers, 0, order_id)
        session = self.database.session()
        with idempotency.not_in_use():
            row = store.place_by_id(session, order)
        if row is not None:
            self._placed(row)
            self._deliver(message, 0)
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

    def find(self, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
        """Views of orders, newest first, from after a time and id on; `query` is what schemas.ListOrders loads."""
        return store.find(self.database.session(), merchant, query, after)

    def history(self, merchant: str, order_id: str) -> str:
        """An order's history as JSON text. Raises Problem `order-not-found`."""
        return _found(store.events(self.database.session(), merchant, order_id))

    def refunds(self, merchant: str, order_id: str) -> list[Row]:
        """Views of an order's refunds, newest first. Raises Problem `order-not-found`."""
        self.get(merchant, order_id)
        return store.find_refunds(self.database.session(), merchant, order_id)

    def cancel(self, claim: Claim, order_id: str, headers: dict[str, str], wait: float) -> Done:
        """Cancel an order in whatever state, giving back what was taken. Raises Problem `order-state`."""

        def act(locked: Locked) -> None:
            order = locked.order
            reason = model.why_not_cancel(order)
            if reason is not None:
                raise Problem("order-state", reason)
            if order.status in (Status.CANCELING, Status.CANCELED):
                return
            if order.status is Status.PENDING_PAYMENT and store.forget_unasked(
                locked.session, locked.merchant, order_id
            ):
                locked.order = dataclasses.replace(order, asked=frozenset())
            status = Status.CANCELED if order.status is Status.PAYMENT_FAILED else Status.CANCELING
            locked.step(f"order.{status}", locked.as_is(status=status))
            locked.go_on()

        return self._act(claim, order_id, headers, wait, act, lambda row: row["status"] != Status.CANCELING)

    def capture(self, claim: Claim, order_id: str, headers: dict[str, str], wait: float) -> Done:
        """Take the money of an authorized order. Raises Problem `order-state`."""

        def act(locked: Locked) -> None:
            if locked.order.status is not Status.AUTHORIZED:
                raise Problem("order-state", f"Only an authorized order has a capture: it is {locked.order.status}.")
            if Command.CAPTURE not in locked.order.asked:
                locked.step("payment.capture_requested", locked.as_is(command=Command.CAPTURE))

        return self._act(claim, order_id, headers, wait, act, lambda row: row["status"] != Status.AUTHORIZED)

    def pay_again(self, claim: Claim, order_id: str, method: str, headers: dict[str, str], wait: float) -> Done:
        """Have an order paid by another payment method, after the first has failed. Raises Problem `order-state`."""

        def act(locked: Locked) -> None:
            if locked.order.status is not Status.PAYMENT_FAILED:
                raise Problem("order-state", f"Only a payment that failed is tried again: it is {locked.order.status}.")
            if locked.payment is not None and locked.payment.status not in model.LIVE:
                locked.leave_payment()
            locked.row["payment_method"] = method
            again = locked.as_is(status=Status.PENDING_PAYMENT, command=Command.CREATE)
            locked.step("order.payment_attempted", again)

        return self._act(claim, order_id, headers, wait, act, _has_outcome)

    def refund(
        self, claim: Claim, order_id: str, amount: int | None, reason: str | None, headers: dict[str, str], wait: float
    ) -> Done:
        """Give back so much, or all that is left; the row is the refund's view.

        Raises Problem `order-state` or `amount-exceeds-captured`.
        """
        refund_id = str(uuid_utils.uuid7())

        def view(refund_id: str) -> Row:
            return _found(store.get_refund(self.database.session(), claim.merchant, refund_id))

        with idempotency.not_in_use(), self.database.transaction() as session:
            if not idempotency.take(session, claim, refund_id, 201):
                return Done(view(idempotency.required(session, claim).resource_id), replayed=True)
            locked = self._lock(session, claim, order_id, headers, _lease(wait))
            if locked.order.status is not Status.PAID:
                raise Problem("order-state", f"Only a paid order has refunds: it is {locked.order.status}.")
            left = locked.order.paid_amount - locked.order.refunded_amount - locked.row["refunding_amount"]
            if left < (amount or 1):
                raise Problem("amount-exceeds-captured", f"Of {locked.order.paid_amount}, {left} is left to refund.")
            asked = locked.as_is(command=Command.REFUND, refund_amount=amount or left)
            locked.step("payment.refund_requested", asked, message_id=refund_id, reason=reason)
        self._deliver(locked.message, wait)
        return Done(prefer.until(lambda: view(refund_id), lambda row: row["status"] != "pending", wait))

    def receive(self, event_id: str, merchant: str, order_id: str, told: Answer, headers: dict[str, str]) -> bool:
        """Apply what payment told by itself, once; False if there is no such order.

        Mostly its answer to a command has told the same before: then there is nothing to do, and nothing to commit.
        """
        if not progress.has_news(self.database.session(), merchant, order_id, told):
            return True
        with self.database.transaction() as session:
            if not store.receive(session, event_id):
                return True
            locked = self._learn(session, merchant, order_id, told, headers)
        if locked is not None:
            self._after(locked)
        return locked is not None

    def sweep(self, session: Session, seconds: float, authorized: float) -> None:
        """Ask payment again about what has waited for so long: an event that was lost delays, and loses nothing."""
        asked = store.sweep(session, seconds, authorized)
        if asked:
            log.info("swept", asked_again=asked)
            self.relay.wake()

    def _act(
        self,
        claim: Claim,
        order_id: str,
        headers: dict[str, str],
        wait: float,
        act: Callable[[Locked], None],
        is_done: Callable[[Row], bool],
    ) -> Done:
        """Do something with a locked order under an idempotency key, and wait for what comes of it."""
        with idempotency.not_in_use(), self.database.transaction() as session:
            taken = idempotency.take(session, claim, order_id, 200)
            if taken:
                locked = self._lock(session, claim, order_id, headers, _lease(wait))
                act(locked)
            else:
                idempotency.required(session, claim)
        if taken:
            self._after(locked)
            self._deliver(locked.message, wait)
        return Done(self._await(claim.merchant, order_id, wait, is_done), replayed=not taken)

    def _lock(self, session: Session, claim: Claim, order_id: str, headers: dict[str, str], lease: float) -> Locked:
        """The order, if it is as the caller wants it. Raises Problem `order-not-found`, `precondition-failed`."""
        locked = _found(progress.lock(session, claim.merchant, order_id, headers, "merchant"))
        claim.condition.check(locked.row["version"])
        locked.lease = lease
        return locked

    def _settle(self, session: Session, message: Message, answer: Answer) -> Callable[[], None] | None:
        """What follows from payment's answer to a command, in the transaction that marks it delivered."""
        locked = self._learn(session, message.merchant, message.aggregate_id, answer, message.headers)
        return None if locked is None else lambda: self._after(locked)

    def _settle_at_once(
        self, session: Session, message: Message, answer: Answer, seen: Seen | None = None
    ) -> Callable[[], None] | None:
        """The same in one statement, where one step follows and nothing comes in between: mostly so.

        `seen` is the order as it was, if that is known already.
        """
        seen = seen or progress.look(session, message)
        if seen is None or not seen.is_one_step(answer):
            return None
        try:
            seen.learn(answer)
        except Overtaken:
            return None
        return lambda: self._after(seen)

    def _learn(
        self, session: Session, merchant: str, order_id: str, told: Answer, headers: dict[str, str]
    ) -> Locked | None:
        locked = progress.lock(session, merchant, order_id, headers, "payment")
        if locked is None:
            log.warning("payment_of_no_order", order_id=order_id, payment_id=told.payment.id)
            return None
        locked.learn(told)
        return locked

    def _placed(self, row: Row) -> None:
        metrics.count_transition("order", "", row["status"])
        if row["told"]:
            self.webhooks.wake()

    def _after(self, locked: Locked) -> None:
        locked.count()
        if locked.told:
            self.webhooks.wake()
        if locked.message is not None and not locked.message.owner:
            self.relay.wake()

    def _deliver(self, message: Message | None, wait: float) -> None:
        """After the commit: have the command carried out, here and now if the caller waits for it."""
        if message is None:
            return
        if wait > 0:
            self.relay.deliver(message, timeout=wait)
        else:
            self.relay.wake()

    def _await(self, merchant: str, order_id: str, wait: float, is_done: Callable[[Row], bool]) -> Row:
        return prefer.until(lambda: self.get(merchant, order_id), is_done, wait)


def _has_outcome(row: Row) -> bool:
    return bool(row["status"] != Status.PENDING_PAYMENT)


def _lease(wait: float) -> float:
    """How long a request that waits has its command for itself: a little longer than it takes at most."""
    return wait + 3 if wait > 0 else 0


def _lines(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": None, **item, "amount": item["quantity"] * item["unit_amount"]} for item in wanted["items"]]


def _prepare(
    merchant: str,
    items: list[dict[str, Any]],
    wanted: dict[str, Any],
    headers: dict[str, str],
    lease: float,
    order_id: str | None = None,
) -> tuple[dict[str, Any], Message | None]:
    """The row of a new order, and the message that asks for its payment if it needs one."""
    order_id = order_id or str(uuid_utils.uuid7())
    total = wanted["total_amount"] if "total_amount" in wanted else sum(item["amount"] for item in items)
    decision = model.decide(model.Order(Status.PENDING_PAYMENT, total, wanted["currency"]), None)
    order = {
        "merchant": merchant,
        "id": order_id,
        "status": decision.status,
        "currency": wanted["currency"],
        "total_amount": total,
        "items": to_json(items),
        "customer": wanted.get("customer"),
        "payment_method": wanted["payment_method"],
        "capture": wanted.get("capture", "automatic"),
        "metadata": to_json(wanted.get("metadata", {})),
        "event_id": str(uuid_utils.uuid7()),
        "paid_event_id": str(uuid_utils.uuid7()) if decision.status is Status.PAID else None,
        "headers": to_json(headers),
    }
    if decision.command is None:
        return order, None
    message = progress.new_message(
        merchant, order_id, decision.command, progress.payment_request(order_id, order), headers, lease
    )
    return {**order, **progress.outbox_row(message, lease)}, message


def _found(thing: T | None) -> T:
    if thing is None:
        raise Problem("order-not-found", "This merchant has no order with this id.")
    return thing
