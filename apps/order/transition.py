"""The one pure transition of an order: `apply(order, change)` returns every step that follows.

A change is what a merchant requests (`Cancel`, `Capture`, `PayAgain`, `Refund`) or what payment reports (`Answer`).
Each step is one version of the order, with the event that records it and what is asked of payment. `order.store`
writes steps only if the order still has the version that they start from; `order.changes` calls both.

    steps = apply(order, Answer(payment))
    steps[-1].after.status  # Status.PAID
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from order import model
from order.model import Asked, Command, Decision, LastError, Order, Outcome, Payment, Status

EVENTS = (
    "order.placed",
    "order.authorized",
    "order.paid",
    "order.payment_failed",
    "order.canceling",
    "order.canceled",
    "order.refunded",
    "order.expired",
    "refund.succeeded",
    "refund.failed",
)
"""The steps of an order's history that others can subscribe to."""

NewId = Callable[[], str]
"""Returns a new UUIDv7 for a message to payment."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the order. `withdrawn` are ids of messages to payment that were deleted before anybody sent them."""

    withdrawn: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Capture:
    """Capture the authorized amount."""


@dataclass(frozen=True, slots=True)
class PayAgain:
    """Try another payment after one has failed."""

    payment_method: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Refund an amount in minor units (None: all that is left). `id` becomes the id of the refund."""

    id: str
    amount: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What payment reports: its newest snapshot, and the outcome of a command if it is known.

    `payment` is None if payment does not know the payment that the command is about. `answers` is the id of the message
    that payment answered, and None for an event.
    """

    payment: Payment | None
    outcome: Outcome | None = None
    answers: str | None = None


Change = Cancel | Capture | PayAgain | Refund | Answer


@dataclass(frozen=True, slots=True)
class Message:
    """A command for payment: what the outbox row holds. `reason` is that of a refund."""

    id: str
    command: Command
    payload: dict[str, Any]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One version of an order.

    `type` and `data` are the event's. `message` is the command that is sent with it. `ended` is the outcome of a refund
    that ends with this step.
    """

    type: str
    before: Order
    after: Order
    data: dict[str, Any] = field(default_factory=dict)
    message: Message | None = None
    ended: Outcome | None = None


def is_event(kind: str) -> bool:
    """Return whether a step of this type is an event for others. Refunds are reported separately."""
    return kind.startswith("order.") and kind in EVENTS


def place(order: Order, new_id: NewId) -> Step:
    """Return the first step of a new order, whose `version` is 0."""
    decision = model.decide(order)
    path = _Path(order, new_id)
    path.step("order.placed", decision)
    return path.steps[0]


def apply(order: Order, change: Change, new_id: NewId) -> list[Step]:
    """Return all steps that follow from a change, oldest first; none if it changes nothing.

    The caller has checked with `model.refusal` or `model.cancel_refusal` that the order allows a merchant's request.
    """
    path = _Path(order, new_id)
    match change:
        case Cancel():
            _cancel(path, change)
        case Capture():
            if not order.waits_for(Command.CAPTURE):
                path.step("payment.capture_requested", replace(model.stay(order), command=Command.CAPTURE))
        case PayAgain():
            path.leave_payment(only_ended=True)
            path.order = replace(path.order, payment_method=change.payment_method)
            again = replace(model.stay(order), status=Status.PENDING_PAYMENT, command=Command.CREATE)
            path.step("order.payment_attempted", again)
        case Refund():
            amount = change.amount or order.refundable_amount
            asked = replace(model.stay(order), command=Command.REFUND, refund_amount=amount)
            path.step("payment.refund_requested", asked, message_id=change.id, reason=change.reason)
        case Answer():
            _answer(path, change)
    return path.steps


def _cancel(path: _Path, change: Cancel) -> None:
    order = path.order
    if order.status in (Status.CANCELING, Status.CANCELED):
        return
    path.forget(change.withdrawn)
    status = Status.CANCELED if order.status is Status.PAYMENT_FAILED else Status.CANCELING
    path.step(f"order.{status}", replace(model.stay(order), status=status))
    path.advance()


def _answer(path: _Path, answer: Answer) -> None:
    if answer.payment is not None and model.is_newer(path.order, answer.payment):
        if path.order.payment is not None and path.order.payment.id != answer.payment.id:
            path.leave_payment()
        path.order = replace(path.order, payment=answer.payment)
    ids = {answer.answers, answer.outcome.id if answer.outcome else None}
    # A payment that was created is in the row from now on, so its command has done all that it can.
    path.forget({asked.id for asked in path.order.asked if asked.id in ids and asked.command is Command.CREATE})
    declined = _end(path, answer.outcome) if answer.outcome else None
    path.advance(declined)
    path.record()


def _end(path: _Path, outcome: Outcome) -> str | None:
    """End the command that an outcome is about; return why it was declined if it was to cancel the order."""
    asked = next((asked for asked in path.order.asked if asked.id == outcome.id), None)
    if asked is None:
        return None  # it has ended before, or it is a third party's
    path.forget({asked.id})
    reason = outcome.reason or "declined"
    if outcome.succeeded:
        path.order = replace(path.order, last_error=None)
    elif outcome.declined:
        path.order = replace(path.order, last_error=LastError(asked.command, reason))
    unchanged = replace(model.stay(path.order), failure_reason=outcome.reason)
    if asked.command is Command.REFUND:
        path.step(f"refund.{'succeeded' if outcome.succeeded else 'failed'}", unchanged, ended=outcome)
        return reason if outcome.declined and asked.to_cancel else None
    if asked.command is Command.CAPTURE and outcome.declined:
        path.step("payment.capture_declined", replace(unchanged, failure_reason=reason))
    return reason if asked.command is Command.VOID and outcome.declined else None


class _Path:
    """The steps so far, and the order after them with what the next step will change."""

    def __init__(self, order: Order, new_id: NewId) -> None:
        self.order, self.steps = order, list[Step]()
        self._written, self._new_id = order, new_id

    def forget(self, ids: frozenset[str] | set[str]) -> None:
        """Take commands out of `asked`."""
        self.order = replace(self.order, asked=tuple(asked for asked in self.order.asked if asked.id not in ids))

    def leave_payment(self, *, only_ended: bool = False) -> None:
        """Move the payment to `past`, so that another one can take its place.

        With `only_ended`, a live payment stays.
        """
        payment = self.order.payment
        if payment is not None and not (only_ended and payment.status in model.LIVE):
            self.order = replace(self.order, past=self.order.past | {payment.id}, payment=None, last_error=None)

    def advance(self, declined: str | None = None) -> None:
        """Take every step that `model.decide` finds."""
        while (decision := model.decide(self.order, declined)) != model.stay(self.order):
            declined = None
            to_cancel = self.order.status is Status.CANCELING and decision.command is Command.REFUND
            self.step(_type(self.order, decision), decision, reason="order canceled" if to_cancel else None)

    def record(self) -> None:
        """Add a step for facts that changed without one, such as the snapshot that later ones are compared with."""
        if self.order != self._written:
            self.step("payment.updated", model.stay(self.order))

    def step(
        self,
        kind: str,
        decision: Decision,
        *,
        message_id: str | None = None,
        reason: str | None = None,
        ended: Outcome | None = None,
    ) -> None:
        """Add a step that carries out a decision."""
        before, message = self._written, None
        asked = self.order.asked
        if decision.command is not None:
            message = self._message(decision, message_id, reason)
            to_cancel = message.command is Command.REFUND and self.order.status is Status.CANCELING
            asked += (Asked(message.id, message.command, decision.refund_amount, to_cancel),)
        failed = decision.status is Status.PAYMENT_FAILED
        self.order = self._written = replace(
            self.order,
            status=decision.status,
            paid_amount=decision.paid_amount,
            refunded_amount=decision.refunded_amount,
            failure_reason=(decision.failure_reason or self.order.failure_reason) if failed else None,
            asked=asked,
            version=self.order.version + 1,
        )
        self.steps.append(Step(kind, before, self.order, _data(self.order, decision), message, ended))

    def _message(self, decision: Decision, message_id: str | None, reason: str | None) -> Message:
        order, command = self.order, decision.command
        assert command is not None
        if command is Command.CREATE:
            payload = {
                "order_id": order.id,
                "amount": order.total_amount,
                "currency": order.currency,
                "payment_method": order.payment_method,
                "capture": order.capture,
            }
        else:
            assert order.payment is not None
            payload = {"payment_id": order.payment.id}
            if command is Command.REFUND:
                payload |= {"amount": decision.refund_amount, **({"reason": reason} if reason else {})}
        return Message(message_id or self._new_id(), command, payload, reason)


def _type(order: Order, decision: Decision) -> str:
    if decision.status != order.status:
        return f"order.{decision.status}"
    return f"{decision.command}_requested" if decision.command else "payment.updated"


def _data(order: Order, decision: Decision) -> dict[str, Any]:
    """Return the details of an event, which depend on its type."""
    payment = order.payment
    data = {
        "payment_id": payment.id if payment else None,
        "payment_status": payment.status if payment else None,
        "payment_method": order.payment_method if decision.command is Command.CREATE else None,
        "failure_reason": decision.failure_reason,
        "refund_amount": decision.refund_amount or None,
    }
    return {name: value for name, value in data.items() if value is not None}
