"""The order service's use cases: one transaction each.

A use case plans the change that a request makes to an order. `changes.Changes` applies and commits it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.http import idempotency, prefer
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, invalid
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.postgres.database import UNAVAILABLE, Database, Row, Session
from chassis.postgres.durability import confirmed
from chassis.postgres.group_commit import GroupCommit
from chassis.replica import Replica
from chassis.telemetry import logs
from order import lines, references, refusals, repeated, transition
from order.changes import Changes, Plan, found, lease_seconds, new_id, outbox_message
from order.gateway import PaymentGateway
from order.labels import MOST_LABELS
from order.model import Command, Order, Status
from order.refunds import refuse_many
from order.refusals import Refusal
from order.store import orphans, placing, refunds, steps, updated, views, waiting
from order.transition import Answer, Cancel, Capture, Change, Label, Lost, LostRefunds, PayAgain, Refund, Release

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """The current view of an order or refund, and whether an earlier request with the same key did the work."""

    row: Row
    replayed: bool = False


class Orders:
    """The use cases of orders.

    `headers` are those of the request; they are sent with everything that it causes. `wait` is how many seconds the
    caller waits for the outcome: the request then delivers its command to payment itself.
    """

    def __init__(
        self,
        database: Database,
        lists: Replica,
        gateway: PaymentGateway,
        wake_webhooks: Callable[[], None],
        waiting: int,
    ) -> None:
        """`lists` is where lists are read. `wake_webhooks` is called when deliveries were queued.

        `waiting` callers may wait at the same time.
        """
        self.database = database
        self._lists = lists
        self.gateway = gateway
        self._changes = Changes(database, gateway, wake_webhooks)
        self._placing: GroupCommit[dict[str, Any], Row | None] = GroupCommit(
            lambda orders: placing.insert_under_keys(database.session(), orders),
            # Without the message, which may quote an order.
            lambda count, error: log.info("orders_placed_singly", orders=count, error=type(error).__name__),
        )
        self._recent = idempotency.Recent()
        self.waiting_room = prefer.WaitingRoom(waiting)

    def place(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Done:
        """Commit an order together with its command to payment; `wanted` is what schemas.PlaceOrder loads.

        Raises Problem `idempotency-key-reused`, `idempotency-key-in-use` or `reference-taken`.
        """
        deadline = time.monotonic() + wait
        if claim in self._recent and (row := placing.get_by_key(self.database.session(), claim)) is not None:
            return self._placed_before(claim, row, wait)
        items = [lines.placed(line) for line in wanted["items"]]
        placed, message, order = _new_order(claim.merchant, new_id(), items, wanted, headers, wait)
        try:
            row = idempotency.inserted(lambda: self._placing.run(placing.under_key(claim, order)))
        except placing.ReferenceTaken as error:
            raise references.taken(self.database.session(), claim.merchant, wanted["reference"]) from error
        self._recent.add(claim)
        if row is None:
            session = self.database.session()
            row = placing.get_by_key(session, claim) or self._by_key(session, claim)
            return self._placed_before(claim, row, wait)
        self._changes.count_placed(placed, told=row["told"])
        if wait > 0 and message is not None:
            return Done(self._pay_and_await(message, placed, row, deadline))
        self._changes.send(message, 0)
        return Done(row)

    def _pay_and_await(self, message: Message, placed: Order, row: Row, deadline: float) -> Row:
        """Have an order paid that was just placed; return its view when its outcome is known, or at the deadline.

        The order is committed: if the database fails now, the view of the placed order is the right response.
        """
        try:
            paid = self._changes.pay_now(message, placed, deadline - time.monotonic())
            if paid is not None and _has_outcome(paid):
                return paid
            return self._await(message.merchant, placed.id, deadline, _has_outcome)
        except UNAVAILABLE as error:
            log.warning("database_unavailable", error=error)
            return row

    def _placed_before(self, claim: Claim, row: Row, wait: float) -> Done:
        confirmed.wait(self.database.session())
        if wait > 0:
            row = self._await(claim.merchant, str(row["id"]), time.monotonic() + wait, _has_outcome)
        return Done(row, replayed=True)

    def _by_key(self, session: Session, claim: Claim) -> Row:
        """Return the order that a taken key stands for. Raises Problem if it stands for another request."""
        return self.get(claim.merchant, idempotency.required(session, claim).resource_id)

    def place_by_id(self, merchant: str, order_id: str, wanted: dict[str, Any], headers: dict[str, str]) -> None:
        """Commit an order of the sketch's API, whose own id makes it unique. It takes payments that arrived before it.

        `wanted` has items, total_amount, currency and payment_method. Raises Problem `order-exists`.
        """
        placed, message, order = _new_order(merchant, order_id, wanted["items"], wanted, headers, 0)
        session = self.database.session()
        row = idempotency.inserted(lambda: placing.insert(session, order))
        if row is not None:
            self._changes.count_placed(placed, told=row["told"])
            self._changes.take_orphans(merchant, order_id, headers)
            self._changes.send(message, 0)
            return
        confirmed.wait(session)
        there = views.sketch(session, merchant, order_id)
        if there is None or (there["items"], there["total_amount"]) != (wanted["items"], wanted["total_amount"]):
            raise Problem("order-exists", "An order with this id exists and has other content.")

    def get(self, merchant: str, order_id: str) -> Row:
        """Return an order's view. Raises Problem `order-not-found`."""
        return found(views.get(self.database.session(), merchant, order_id))

    def sketch(self, merchant: str, order_id: str) -> Row:
        """Return an order as the sketch's API shows it. Raises Problem `order-not-found`."""
        return found(views.sketch(self.database.session(), merchant, order_id))

    def find(self, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
        """Return views of orders after the time and id of the last one; `query` is what schemas.ListOrders loads.

        They come in the order of `sort`, by default the newest first. With `updated_after`, those whose last change is
        the oldest come first.
        """
        if "updated_after" in query:
            return updated.find(self.database.session(), merchant, query, after)
        return self._lists.read(lambda session: views.find(session, merchant, query, after))

    def history(self, merchant: str, order_id: str, after: int, limit: int) -> list[Row]:
        """Return the events of an order's history after a version; see views.events. Raises Problem `order-not-found`.

        Every order has an event for its first version.
        """
        rows = views.events(self.database.session(), merchant, order_id, after, limit)
        if not rows:
            self.get(merchant, order_id)
        return rows

    def cancel(self, claim: Claim, order_id: str, headers: dict[str, str], wait: float) -> Done:
        """Cancel an order and return its money. Raises Problem `order-not-found` or `order-state`."""

        def plan(session: Session, order: Order) -> Change:
            _raise(refusals.cancel_refusal(order))
            pending = order.status is Status.PENDING_PAYMENT
            return Cancel(steps.withdraw(session, claim.merchant, order_id) if pending else frozenset())

        return self._request(claim, order_id, headers, wait, plan, lambda row: row["status"] != Status.CANCELING)

    def capture(
        self, claim: Claim, order_id: str, wanted: Capture | Release, headers: dict[str, str], wait: float
    ) -> Done:
        """Capture an authorized order, or release the rest of it.

        Raises Problem `order-not-found`, `order-state` or `amount-exceeds-authorized`.
        """

        def plan(session: Session, order: Order) -> Change | None:
            _raise(refusals.refusal_of(order, wanted))
            return repeated.capture(session, claim, wanted)

        return self._request(claim, order_id, headers, wait, plan, lambda row: not row["capturing"])

    def pay_again(self, claim: Claim, order_id: str, method: str, headers: dict[str, str], wait: float) -> Done:
        """Pay with another method after a failure. Raises Problem `order-not-found`, `order-state`, `payment-limit`."""

        def plan(_: Session, order: Order) -> Change:
            _raise(refusals.refusal(order, Command.CREATE))
            return PayAgain(method)

        return self._request(claim, order_id, headers, wait, plan, _has_outcome)

    def refund(self, claim: Claim, order_id: str, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Done:
        """Refund an amount in minor units, or all that is left; the row is the refund's view.

        `wanted` is what change_schemas.CreateRefund loads.
        Raises Problem `order-not-found`, `order-state`, `amount-exceeds-captured` or `refund-limit`.
        """
        amount = wanted.get("amount")
        derived = repeated.refund_id(claim, amount)
        refund_id = derived or new_id()

        def plan(session: Session, order: Order) -> Change | None:
            if derived is not None and refunds.get(session, claim.merchant, order_id, derived) is not None:
                return None  # the key was purged
            _raise(refusals.refusal(order, Command.REFUND, amount))
            refuse_many(session, claim.merchant, order)
            return Refund(refund_id, amount, wanted.get("reason"), wanted["metadata"])

        def view(refund_id: str) -> Row:
            return found(refunds.get(self.database.session(), claim.merchant, order_id, refund_id))

        deadline = time.monotonic() + wait
        earlier = self._changes.once(claim, order_id, refund_id, 201, headers, wait, plan)
        shown = earlier or refund_id
        row = prefer.until(lambda: view(shown), lambda row: row["status"] != "pending", deadline - time.monotonic())
        return Done(row, replayed=earlier is not None)

    def label(self, claim: Claim, order_id: str, metadata: dict[str, str | None], headers: dict[str, str]) -> Done:
        """Set labels of an order, and remove those that are None. Raises Problem `order-not-found` or `validation`."""
        change = Label(metadata)

        def plan(_: Session, order: Order) -> Change:
            if len(change.of(order)) > MOST_LABELS:
                raise invalid("/metadata", f"The order would have more than {MOST_LABELS} labels.")
            return change

        return self._request(claim, order_id, headers, 0, plan, lambda _: True)

    @property
    def relay(self) -> Relay:
        """The relay that carries commands to payment."""
        return self._changes.relay

    def receive_payment_event(self, merchant: str, order_id: str, answer: Answer, headers: dict[str, str]) -> bool:
        """Apply what an event of payment reports; return False if there is no such order. Then the payment is kept."""
        return self._changes.receive(merchant, order_id, answer, headers)

    def lose(self, merchant: str, order_id: str, lost: Lost | LostRefunds) -> None:
        """Take a payment, or refunds that are under way, from the order: payment has lost them in a restore."""
        self._changes.lose(merchant, order_id, lost)

    def sweep(self, session: Session, seconds: float, authorized: float) -> None:
        """Send commands again that have had no outcome for too long, in case an event was lost; see waiting.sweep.

        Also give orders the payments that arrived before them, in case a process crashed after it had placed the order.
        """
        for row in orphans.with_order(session, 1000):
            self._changes.take_orphans(row["merchant"], str(row["order_id"]), {})
        swept = waiting.sweep(session, seconds, authorized)
        if swept:
            log.info("swept", asked_again=swept)
            self.relay.wake()

    def _request(
        self,
        claim: Claim,
        order_id: str,
        headers: dict[str, str],
        wait: float,
        plan: Plan,
        is_done: Callable[[Row], bool],
    ) -> Done:
        """Change an order once per idempotency key, and wait for the outcome."""
        deadline = time.monotonic() + wait
        earlier = self._changes.once(claim, order_id, order_id, 200, headers, wait, plan)
        return Done(self._await(claim.merchant, order_id, deadline, is_done), replayed=earlier is not None)

    def _await(self, merchant: str, order_id: str, deadline: float, is_done: Callable[[Row], bool]) -> Row:
        return prefer.until(lambda: self.get(merchant, order_id), is_done, deadline - time.monotonic())


def _has_outcome(row: Row) -> bool:
    return bool(row["status"] != Status.PENDING_PAYMENT)


def _new_order(
    merchant: str,
    order_id: str,
    items: list[dict[str, Any]],
    wanted: dict[str, Any],
    headers: dict[str, str],
    wait: float,
) -> tuple[Order, Message | None, dict[str, Any]]:
    """Return a new order after its last step, its message to payment, and the parameters of what stores them."""
    total = wanted["total_amount"] if "total_amount" in wanted else lines.total(items)
    method, capture = wanted["payment_method"], wanted.get("capture", "automatic")
    order = Order(order_id, Status.PENDING_PAYMENT, total, wanted["currency"], method, capture)
    step = transition.place(order, new_id)
    message = outbox_message(merchant, step, headers, wait)
    parameters = placing.parameters(merchant, step.after, items, wanted, headers, message, lease_seconds(wait))
    return step.after, message, parameters


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise Problem(refusal.problem, refusal.detail)
