"""The one pure transition of an order: `apply(order, change)` returns every step that follows.

A change is what a merchant requests (`Cancel`, `Capture`, `Release`, `PayAgain`, `Refund`, `Label`), what payment
reports (`Answer`), or what payment has lost (`Lost`, `LostRefunds`). Each step is one version of the order, with the
event that records it and what is asked of payment. `order.store` writes steps only if the order still has the version
that they start from; `order.changes` calls both.

    steps = apply(order, Answer(payment))
    steps[-1].after.status  # Status.PAID
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from order import model
from order.history import History, NewId, Step
from order.model import Asked, Command, LastError, Order, Outcome, Payment, Status

EVENTS = (
    "order.placed",
    "order.authorized",
    "order.partially_captured",
    "order.paid",
    "order.payment_failed",
    "order.canceling",
    "order.canceled",
    "order.refunded",
    "order.expired",
    "order.updated",
    "refund.succeeded",
    "refund.failed",
)
"""The steps of an order's history that others can subscribe to."""

TYPES = (
    *EVENTS,
    "order.payment_attempted",
    "order.pending_payment",
    "payment.create_requested",
    "payment.capture_requested",
    "payment.capture_declined",
    "payment.void_requested",
    "payment.void_declined",
    "payment.refund_requested",
    "payment.updated",
)
"""All types of steps."""


class Cancel(Struct, frozen=True):
    """Cancel the order. `withdrawn` are ids of messages to payment that were deleted before anybody sent them."""

    withdrawn: frozenset[str] = frozenset()


class Capture(Struct, frozen=True):
    """Capture an amount in minor units (None: all that is left).

    The rest is released, or stays authorized if the capture is not `final`. `id` becomes that of the command, if given.
    """

    amount: int | None = None
    final: bool = True
    id: str | None = None


class Release(Struct, frozen=True):
    """Release the rest of an authorized order of which a part is captured."""


class PayAgain(Struct, frozen=True):
    """Try another payment after one has failed."""

    payment_method: str


class Refund(Struct, frozen=True):
    """Refund an amount in minor units (None: all that is left). `id` becomes the id of the refund."""

    id: str
    amount: int | None = None
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Label(Struct, frozen=True):
    """Set labels of the order, and remove those that are None. The others stay."""

    metadata: Mapping[str, str | None]

    def of(self, order: Order) -> dict[str, str]:
        """Return the labels that the order has afterwards."""
        return {name: value for name, value in {**order.metadata, **self.metadata}.items() if value is not None}


class Answer(Struct, frozen=True):
    """What payment reports: its newest snapshot, and the outcome of a command if it is known.

    `payment` is None if payment does not know the payment that the command is about. `answers` is the id of the message
    that payment answered, and None for an event. `is_current`: payment was asked after the order gave the payment up.
    """

    payment: Payment | None
    outcome: Outcome | None = None
    answers: str | None = None
    is_current: bool = False


class Lost(Struct, frozen=True):
    """Payment was restored from an older copy and has lost a payment that was `processing`.

    The provider has no record of it either.

    `command` is the id of the order's newest command, if that created a payment: it is sent again, and has no outcome.
    """

    payment_id: str
    command: str | None = None


class LostRefunds(Struct, frozen=True):
    """Payment was restored from an older copy and has lost refunds that had no outcome.

    The provider has no record of them either. `payment` is the payment as it is now, under an older version than
    `seen`, which is that of the order's snapshot.
    """

    payment: Payment
    seen: int


Change = Cancel | Capture | Release | PayAgain | Refund | Label | Answer | Lost | LostRefunds


def place(order: Order, new_id: NewId) -> Step:
    """Return the last step of a new order, whose `version` is 0; see `first_steps`."""
    return first_steps(order, new_id)[-1]


def first_steps(order: Order, new_id: NewId) -> list[Step]:
    """Return the steps of a new order, whose `version` is 0: `order.placed` and, for a free order, `order.paid`."""
    decision = model.decide(order)
    history = History(order, new_id)
    history.step("order.placed", decision if decision.command else None)
    history.advance()
    return history.steps


def apply(order: Order, change: Change, new_id: NewId) -> list[Step]:
    """Return all steps that follow from a change, oldest first; none if it changes nothing.

    The caller has checked with `refusals` that the order allows a merchant's request.
    """
    history = History(order, new_id)
    match change:
        case Cancel():
            _cancel(history, change)
        case Capture():
            if not order.waits_for(Command.CAPTURE):
                stay, amount = model.stay(order), change.amount or 0
                asked = replace(stay, command=Command.CAPTURE, amount=amount, final=change.final)
                history.step("payment.capture_requested", asked, message_id=change.id)
        case Release():
            if not order.waits_for(Command.VOID):
                history.step("payment.void_requested", replace(model.stay(order), command=Command.VOID))
        case PayAgain():
            history.leave_payment(only_ended=True)
            history.order = replace(history.order, payment_method=change.payment_method)
            again = replace(model.stay(order), status=Status.PENDING_PAYMENT, command=Command.CREATE)
            history.step("order.payment_attempted", again)
        case Refund():
            amount = change.amount or order.refundable_amount
            asked = replace(model.stay(order), command=Command.REFUND, amount=amount)
            about: dict[str, Any] = {"reason": change.reason, "metadata": change.metadata}
            history.step("payment.refund_requested", asked, message_id=change.id, **about)
        case Label():
            history.order = replace(order, metadata=change.of(order))
            if history.order != order:
                history.step("order.updated")
        case Answer():
            _answer(history, change)
        case Lost():
            _lose(history, change)
        case LostRefunds():
            _lose_refunds(history, change)
    return history.steps


def is_newer(order: Order, payment: Payment) -> bool:
    """Return whether a snapshot is newer than the one that the order has. A duplicate or late one is not."""
    known = order.payment
    if payment.id in order.past:
        return False
    if known is None or payment.id == known.id:
        return known is None or payment.version > known.version
    # An order has one live payment at a time: another one counts only after the known one has failed or ended.
    return known.status not in model.LIVE


def _cancel(history: History, change: Cancel) -> None:
    order = history.order
    if order.status in (Status.CANCELING, Status.CANCELED):
        return
    history.forget(change.withdrawn)
    status = Status.CANCELED if order.status is Status.PAYMENT_FAILED else Status.CANCELING
    history.step(f"order.{status}", replace(model.stay(order), status=status))
    history.advance()


def _answer(history: History, answer: Answer) -> None:
    ids = {answer.answers, answer.outcome.id if answer.outcome else None}
    create = {asked.id for asked in history.order.asked if asked.id in ids and asked.command is Command.CREATE}
    if answer.payment is not None and (answer.is_current or answer.answers in create):
        history.take_back(answer.payment)
    if answer.payment is not None and is_newer(history.order, answer.payment):
        history.take(answer.payment)
    history.forget(create)  # the payment is in the row from now on, so its command has done all that it can
    declined = _end(history, answer.outcome) if answer.outcome else None
    history.advance(declined)
    history.record()


def _lose(history: History, lost: Lost) -> None:
    payment = history.order.payment
    if payment is None or (payment.id, payment.status) != (lost.payment_id, "processing"):
        return
    # It is not a past payment: its caller may repeat the request, and then it has the same id.
    asked = history.order.asked
    if lost.command is not None and not history.order.waits_for(Command.CREATE):
        asked += (Asked(lost.command, Command.CREATE),)
    history.order = replace(history.order, payment=None, asked=asked)
    history.advance()
    history.record()


def _lose_refunds(history: History, lost: LostRefunds) -> None:
    known, now = history.order.payment, lost.payment
    if known is None or (known.id, known.version) != (now.id, lost.seen) or now.version >= lost.seen:
        return
    # The version stays: payment continues above it.
    history.order = replace(history.order, payment=replace(known, refunding_amount=now.refunding_amount))
    history.advance()
    history.record()


def _end(history: History, outcome: Outcome) -> LastError | None:
    """End the command that an outcome is about; return its decline if it was to cancel the order."""
    asked = next((asked for asked in history.order.asked if asked.id == outcome.id), None)
    if asked is None:
        _explain(history, outcome)
        return None  # it has ended before, or it is a third party's
    history.forget({asked.id})
    error = LastError(asked.command, outcome.reason, asked.id) if outcome.declined else None
    if outcome.succeeded or error is not None:
        history.fail(error)
    if asked.command is Command.REFUND:
        _end_refund(history, outcome)
        return error if asked.to_cancel else None
    if error is None:
        return None
    if asked.command is Command.VOID and history.order.status is Status.CANCELING:
        return error
    history.step(f"{asked.command}_declined", failure=outcome.reason or error.code)
    return None


def _end_refund(history: History, outcome: Outcome) -> None:
    """Add the step of a refund that has ended.

    From this step on, the order shows a refund that succeeded in its amounts. If nothing else follows from the success,
    the step itself changes the amounts. Otherwise the steps that follow come before it.
    """
    if not outcome.succeeded:
        history.step("refund.failed", ended=outcome, failure=outcome.reason)
        return
    decision = model.decide(history.order)
    if decision.status != history.order.status or decision.command is not None:
        history.advance()
        decision = model.stay(history.order)
    history.step("refund.succeeded", decision, ended=outcome)


def _explain(history: History, outcome: Outcome) -> None:
    """Add the provider's reason to the last error, if the event of a decline has it and payment's response had none.

    The response has none if a release before 0.3 began the operation; see `payment.batches`.
    """
    error = history.order.last_error
    if outcome.declined and outcome.reason and error and (error.id, error.reason) == (outcome.id, None):
        history.order = replace(history.order, last_error=replace(error, reason=outcome.reason))
        history.step("payment.updated", failure=outcome.reason)
