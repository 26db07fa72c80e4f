"""Changing orders: read the facts, apply a change, write the steps for the version that was read.

No lock is held between reading and writing. If the order has changed in between, nothing is written: it is read again,
and the change is applied again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import uuid_utils

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, unavailable
from chassis.messaging import outbox
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import UNAVAILABLE, Database, Row, Session
from chassis.telemetry import logs, metrics
from order import staleness, transition
from order.answers import NOT_FOUND, Failure
from order.gateway import PaymentGateway
from order.history import Step
from order.model import Order
from order.store import orphans, steps
from order.store.steps import Path
from order.transition import Answer, Change, Lost, LostRefunds

log = logs.get_logger()

T = TypeVar("T")

_BEHIND = "payment refused the command in a state that is older than the one order knows: has it been restored?"

_NOT_UPDATED = "The event follows a change of the order's payment, and the payment service does not respond."

Plan = Callable[[Session, Order], Change | None]
"""Returns the change that a request makes to an order as it stands, if any. May raise Problem."""


class Overtaken(Exception):
    """The order has another version than the one that was read: read it again."""


class Changes:
    """Applies the changes that requests, answers and events make to orders, and sends the commands that follow."""

    def __init__(self, database: Database, gateway: PaymentGateway, wake_webhooks: Callable[[], None]) -> None:
        self.relay = Relay(database, gateway.breaker, self._deliver, self._deliver_many)
        self._database, self._gateway, self._wake_webhooks = database, gateway, wake_webhooks

    def once(
        self,
        claim: Claim,
        order_id: str,
        resource_id: str,
        status: int,
        headers: dict[str, str],
        wait: float,
        plan: Plan,
    ) -> str | None:
        """Apply the planned change once per key, and send the last command.

        Returns None. If the key is taken, returns the id of its resource; then nothing is changed.

        Raises Problem `order-not-found`, `precondition-failed`, and what `plan` raises.
        """
        while True:
            try:
                with idempotency.once(self._database, claim, resource_id, status) as (session, earlier):
                    if earlier is not None:
                        return earlier.resource_id
                    order = found(steps.read(session, claim.merchant, order_id))
                    claim.condition.check(order.version)
                    change = plan(session, order)
                    taken = transition.apply(order, change, new_id) if change else []
                    message = outbox_message(claim.merchant, taken[-1], headers, wait) if taken else None
                    owner = (message.owner or None) if message else None
                    path = Path(claim.merchant, taken, "merchant", headers, owner=owner, lease=lease_seconds(wait))
                    row = steps.write(session, [path])[0] if taken else None
                    if taken and row is None:
                        raise Overtaken  # rolls back the key and the withdrawn commands, too
            except Overtaken:
                continue
            if row is not None:
                self._count(path, row)
            self.send(message, wait)
            return None

    def receive(self, merchant: str, order_id: str, answer: Answer, headers: dict[str, str]) -> bool:
        """Apply what an event of payment reports.

        A duplicate or late event changes nothing, because the order's row says what is known already. If there is no
        such order, the payment is kept (see orphans) until the order is placed; then returns False.

        Raises Problem `unavailable` if the order has to read a payment first (staleness.to_read), and payment does not
        respond; payment sends the event again.
        """
        updated = False
        while True:
            session = self._database.session()
            order = steps.read(session, merchant, order_id)
            if order is not None and not updated and (payment_id := staleness.to_read(order, answer)) is not None:
                self._update(merchant, order, payment_id, headers)
                updated = True
                continue
            if order is None and answer.payment is not None:
                # Read again after the commit: an order that is placed now finds the payment, or is found here.
                orphans.keep(session, merchant, order_id, answer.payment)
                order = steps.read(session, merchant, order_id)
            if order is None:
                log.warning("payment_of_no_order", order_id=order_id)
                return False
            path = Path(merchant, transition.apply(order, answer, new_id), "payment", headers)
            if not path.steps or self._write(session, path) is not None:
                return True

    def _update(self, merchant: str, order: Order, payment_id: str, headers: dict[str, str]) -> None:
        """Read a payment of the order from payment, and apply it. Raises Problem `unavailable`."""
        try:
            payment = self._gateway.snapshot(merchant, payment_id)
        except Refused as error:
            if error.problem == NOT_FOUND:  # payment has lost it: `order resync` takes it from the order
                return
            raise unavailable(_NOT_UPDATED) from error
        except Unreachable as error:
            raise unavailable(_NOT_UPDATED) from error
        self.receive(merchant, order.id, Answer(payment, is_current=payment_id in order.past), headers)

    def lose(self, merchant: str, order_id: str, lost: Lost | LostRefunds) -> None:
        """Take a payment, or refunds that are under way, from the order: payment has lost them."""
        while True:
            session = self._database.session()
            order = steps.read(session, merchant, order_id)
            taken = transition.apply(order, lost, new_id) if order else []
            if not taken or self._write(session, Path(merchant, taken, "payment", {})) is not None:
                return

    def take_orphans(self, merchant: str, order_id: str, headers: dict[str, str]) -> None:
        """Give an order that exists now the payments that arrived before it.

        If payment has to be asked and does not respond, or a payment cannot be interpreted, they are kept, and the
        sweep tries again: one such order keeps no other from its payments. Raises what `UNAVAILABLE` lists.
        """
        session = self._database.session()
        payments = orphans.of_order(session, merchant, order_id)
        try:
            for payment in payments:
                self.receive(merchant, order_id, Answer(payment), headers)
        except Problem as problem:
            log.warning("payment_not_taken", order_id=order_id, error=problem)
            return
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.error("payment_fault", order_id=order_id, exc_info=error)
            return
        if payments:
            orphans.delete_of_order(session, merchant, order_id)

    def pay_now(self, message: Message, placed: Order, wait: float) -> Row | None:
        """Deliver the command of an order that was just placed. Returns the order's view if the answer changed it."""
        paid: list[Row | None] = []

        def handle(message: Message, timeout: float | None) -> str:
            outcome, row = self._settle(message, self._gateway.send(message, timeout), placed)
            paid.append(row)
            return outcome

        self.relay.deliver(message, wait, handle)
        return paid[0] if paid else None

    def send(self, message: Message | None, wait: float) -> None:
        """After the commit: deliver a command now if the caller waits for it, or else wake the relay."""
        if message is None:
            return
        if wait > 0:
            self.relay.deliver(message, timeout=wait)
        else:
            self.relay.wake()

    def count_placed(self, order: Order, *, told: bool) -> None:
        """After the commit of a new order: measure it, and wake the webhooks' loop if it has work."""
        metrics.count_transition("order", "", order.status)
        if told:
            self._wake_webhooks()

    def _deliver(self, message: Message, timeout: float | None) -> str:
        return self._settle(message, self._gateway.send(message, timeout))[0]

    def _deliver_many(self, messages: Sequence[Message]) -> dict[str, Failure]:
        """Send commands of different orders together, and commit all that follows from the answers in one statement.

        Returns the failures by message id. An order that another change has overtaken is settled alone.
        """
        answers, failed = dict[str, Answer](), dict[str, Failure]()
        for message_id, answer in self._gateway.send_many(messages).items():
            if isinstance(answer, Answer):
                answers[message_id] = answer
            else:
                failed[message_id] = answer
        answered = [message for message in messages if message.id in answers]
        session = self._database.session()
        orders = steps.read_many(session, [(message.merchant, message.aggregate_id) for message in answered])
        paths, unchanged = [], []
        for message in answered:
            order = orders.get((message.merchant, message.aggregate_id))
            if order is not None and staleness.is_behind(order, answers[message.id]):
                failed[message.id] = Refused(_BEHIND)
                continue
            taken = transition.apply(order, answers[message.id], new_id) if order else []
            if taken:
                paths.append(Path(message.merchant, taken, "payment", message.headers, answered=message))
            else:
                unchanged.append(message)
        rows = steps.write(session, paths, show=False) if paths else []
        outbox.mark_many_delivered(session, unchanged)
        for path, row in zip(paths, rows, strict=True):
            if row is not None:
                self._count(path, row)
            elif path.answered is not None:
                try:
                    self._settle(path.answered, answers[path.answered.id])
                except Refused as error:
                    failed[path.answered.id] = error
        return failed

    def _settle(self, message: Message, answer: Answer, order: Order | None = None) -> tuple[str, Row | None]:
        """Commit what follows from payment's answer, together with the mark that the message is delivered.

        `order` are the order's facts, if they are known. Returns the outcome and, if the order changed, its view.
        Raises Refused if the command is to be sent again: see staleness.is_behind.
        """
        session = self._database.session()
        while True:
            order = order or steps.read(session, message.merchant, message.aggregate_id)
            if order is not None and staleness.is_behind(order, answer):
                raise Refused(_BEHIND)
            taken = transition.apply(order, answer, new_id) if order else []
            if not taken:
                return ("delivered" if outbox.mark_delivered(session, message) else "lease_lost"), None
            path = Path(message.merchant, taken, "payment", message.headers, answered=message)
            row = self._write(session, path)
            if row is not None:
                return "delivered", row
            if not outbox.is_leased(session, message):
                # The relay that holds the lease now sends the message again, gets the same answer, and applies it.
                return "lease_lost", None
            order = None

    def _write(self, session: Session, path: Path) -> Row | None:
        (row,) = steps.write(session, [path])
        if row is not None:
            self._count(path, row)
        return row

    def _count(self, path: Path, row: Row) -> None:
        """After the commit: measure the steps, and wake the loops that have work now."""
        for step in path.steps:
            if step.before.status != step.after.status:
                metrics.count_transition("order", step.before.status, step.after.status)
        if row["told"]:
            self._wake_webhooks()
        if path.owner is None and any(step.message for step in path.steps):
            self.relay.wake()


def new_id() -> str:
    """Return a new UUIDv7."""
    return str(uuid_utils.uuid7())


def lease_seconds(wait: float) -> float:
    """Return the lease in seconds of a command that a waiting request delivers: a little longer than it waits."""
    return wait + 3 if wait > 0 else 0


def outbox_message(merchant: str, step: Step, headers: dict[str, str], wait: float) -> Message | None:
    """Return the outbox message of a step; if the caller waits, it is leased to this request."""
    message = step.message
    if message is None:
        return None
    owner = f"request {message.id}" if wait > 0 else ""
    return Message(0, message.id, merchant, step.after.id, message.command, message.payload, headers, 1, owner)


def found(order: T | None) -> T:
    """Return `order`, an order or a view of one. Raises Problem `order-not-found` if it is None."""
    if order is None:
        raise Problem("order-not-found", "This merchant has no order with this id.")
    return order
