"""The steps of an order: each is one version, with the event that records it and the command that is sent with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from order import model
from order.model import Asked, Command, Decision, LastError, Order, Outcome, Payment, Status

PARTIALLY_CAPTURED = "order.partially_captured"
"""The type of the step of a capture that keeps the rest authorized."""

NewId = Callable[[], str]
"""Returns a new UUIDv7 for a message to payment."""


class Message(Struct, frozen=True):
    """A command for payment: what the outbox row holds. `reason` and `metadata` are those of a refund."""

    id: str
    command: Command
    payload: dict[str, Any]
    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Step(Struct, frozen=True):
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


class History:
    """The steps so far, and the order after them with what the next step will change."""

    def __init__(self, order: Order, new_id: NewId) -> None:
        self.order, self.steps = order, list[Step]()
        self._written, self._new_id = order, new_id

    def forget(self, ids: frozenset[str] | set[str]) -> None:
        """Take commands out of `asked`."""
        self.order = replace(self.order, asked=tuple(asked for asked in self.order.asked if asked.id not in ids))

    def take(self, payment: Payment) -> None:
        """Make a newer snapshot, or another payment, the order's."""
        known, error = self.order.payment, self.order.last_error
        if known is not None and known.id != payment.id:
            self.leave_payment()
        elif known is not None and error is not None and _is_resolved(error, known, payment):
            self.order = replace(self.order, last_error=None)
        self.order = replace(self.order, payment=payment)

    def take_back(self, payment: Payment) -> None:
        """Let a payment count again that the order gave up and that is live now, unless the order has a live one.

        A payment that has ended stays so, unless payment was restored to a moment before its end. Then it is the one
        that payment has for this order: it can be charged, and payment creates no other.
        """
        known = self.order.payment
        if payment.status in model.LIVE and (known is None or known.status not in model.LIVE):
            self.order = replace(self.order, past=self.order.past - {payment.id})

    def fail(self, error: LastError | None) -> None:
        """Show a decline, unless the order knows already that somebody has captured or voided since."""
        payment = self.order.payment
        if error is not None and payment is not None and _is_over(error, payment):
            error = None
        self.order = replace(self.order, last_error=error)

    def leave_payment(self, *, only_ended: bool = False) -> None:
        """Move the payment to `past`, so that another one can take its place.

        With `only_ended`, a live payment stays.
        """
        payment = self.order.payment
        if payment is not None and not (only_ended and payment.status in model.LIVE):
            self.order = replace(self.order, past=self.order.past | {payment.id}, payment=None, last_error=None)

    def advance(self, declined: LastError | None = None) -> None:
        """Take every step that `model.decide` finds."""
        while (decision := model.decide(self.order, declined)) != model.stay(self.order):
            declined = None
            self.step(_type(self.order, decision), decision, reason=_refund_reason(self.order, decision))

    def record(self) -> None:
        """Add a step for facts that changed without one, such as the snapshot that later ones are compared with."""
        if self.order != self._written:
            self.step("payment.updated")

    def step(
        self,
        kind: str,
        decision: Decision | None = None,
        *,
        message_id: str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ended: Outcome | None = None,
        failure: str | None = None,
    ) -> None:
        """Add a step that carries out a decision; by default, one that only records what has changed.

        `reason` and `metadata` are those of a refund. `failure` says in the history why a command failed.
        """
        decision = decision or model.stay(self.order)
        before, message = self._written, None
        asked = self.order.asked
        if decision.command is not None:
            message = self._message(decision, message_id, reason, metadata or {})
            to_cancel = message.command is Command.REFUND and self.order.status is Status.CANCELING
            asked += (Asked(message.id, message.command, decision.amount, to_cancel, decision.final),)
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
        captured = decision.paid_amount - before.paid_amount if kind == PARTIALLY_CAPTURED else decision.amount
        data = _data(self.order, decision, failure, ended, captured)
        self.steps.append(Step(kind, before, self.order, data, message, ended))

    def _message(
        self, decision: Decision, message_id: str | None, reason: str | None, metadata: Mapping[str, str]
    ) -> Message:
        command = decision.command
        assert command is not None
        payload = payload_of(self.order, command, decision.amount, reason, final=decision.final)
        return Message(message_id or self._new_id(), command, payload, reason, metadata)


def payload_of(
    order: Order, command: Command, amount: int, reason: str | None = None, *, final: bool = True
) -> dict[str, Any]:
    """Return the body of a command for payment. `amount` and `reason` are those of a refund or a partial capture.

    `final` is false for a capture that keeps the rest authorized.

    Requires `order.payment`, unless the command is CREATE.
    """
    if command is Command.CREATE:
        return {
            "order_id": order.id,
            "amount": order.total_amount,
            "currency": order.currency,
            "payment_method": order.payment_method,
            "capture": order.capture,
        }
    assert order.payment is not None
    payload: dict[str, Any] = {"payment_id": order.payment.id}
    if command is Command.REFUND:
        payload |= {"amount": amount, **({"reason": reason} if reason else {})}
    elif command is Command.CAPTURE:
        payload |= {"amount": amount} if amount else {}
        payload |= {} if final else {"final": False}
    return payload


def _type(order: Order, decision: Decision) -> str:
    if decision.status != order.status:
        return f"order.{decision.status}"
    is_authorized = order.payment is not None and order.payment.status == "authorized"
    if is_authorized and decision.paid_amount > order.paid_amount:
        return PARTIALLY_CAPTURED
    return f"{decision.command}_requested" if decision.command else "payment.updated"


def _refund_reason(order: Order, decision: Decision) -> str | None:
    """Return why an order returns money by itself; None if the decision is not a refund."""
    if decision.command is not Command.REFUND:
        return None
    if order.status is Status.CANCELING:
        return "order canceled"
    return "the payment does not fit the order" if order.payment and not model.fits(order, order.payment) else None


def _data(
    order: Order, decision: Decision, failure: str | None, ended: Outcome | None, captured: int
) -> dict[str, Any]:
    """Return the details of an event, which depend on its type. `captured` is what was or is to be captured."""
    payment = order.payment
    data = {
        "payment_id": payment.id if payment else None,
        "payment_status": payment.status if payment else None,
        "payment_method": order.payment_method if decision.command is Command.CREATE else None,
        "failure_reason": failure or decision.failure_reason,
        "capture_amount": (captured or None) if decision.command in (Command.CAPTURE, None) else None,
        "capture_final": None if decision.final else False,
        "refund_id": ended.id if ended else None,
        "refund_amount": (decision.amount or None) if decision.command is Command.REFUND else None,
    }
    return {name: value for name, value in data.items() if value is not None}


def _is_resolved(error: LastError, known: Payment, payment: Payment) -> bool:
    """Return whether a snapshot shows that somebody has succeeded since with what was declined."""
    if error.command is Command.REFUND:
        return payment.refunded_amount > known.refunded_amount
    more = error.command is Command.CAPTURE and payment.captured_amount > known.captured_amount
    return more or _is_over(error, payment)


def _is_over(error: LastError, payment: Payment) -> bool:
    """Return whether a declined capture or void no longer matters: the payment is captured or voided."""
    return error.command is not Command.REFUND and payment.status in ("captured", "voided")
