"""Which requests of a merchant an order allows: pure functions without input or output."""

from __future__ import annotations

from dataclasses import dataclass

from order.model import Command, Order, Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order does not allow a request: the name of the problem and its detail."""

    problem: str
    detail: str


_ALLOWED = {
    Command.CREATE: (Status.PAYMENT_FAILED, "Only an order whose payment failed can be paid again"),
    Command.CAPTURE: (Status.AUTHORIZED, "Only an authorized order can be captured"),
    Command.REFUND: (Status.PAID, "Only a paid order can be refunded"),
}


def refusal(order: Order, command: Command, amount: int | None = None) -> Refusal | None:
    """Return why a payment attempt, capture or refund is refused, or None.

    `amount` is that of a capture or refund, in minor units; None: all that is left.
    """
    status, detail = _ALLOWED[command]
    if order.status is not status:
        return Refusal("order-state", f"{detail}: this one is {order.status}.")
    if command is Command.CAPTURE:
        return _capture_refusal(order, amount or order.total_amount)
    if command is Command.REFUND and order.refundable_amount < (amount or 1):
        left = f"Of {order.paid_amount} paid, {order.refundable_amount} is left to refund."
        return Refusal("amount-exceeds-captured", left)
    return None


def _capture_refusal(order: Order, amount: int) -> Refusal | None:
    # An order is authorized only by a payment of its total.
    if amount > order.total_amount:
        return Refusal("amount-exceeds-authorized", f"Only {order.total_amount} is authorized.")
    for asked in order.asked:
        pending = asked.amount or order.total_amount
        if asked.command is Command.CAPTURE and pending != amount:
            return Refusal("order-state", f"An order is captured once: a capture of {pending} is under way.")
    return None


def cancel_refusal(order: Order) -> Refusal | None:
    """Return why an order can't be canceled, or None if it can be or is canceled already."""
    if order.status in (Status.REFUNDED, Status.EXPIRED):
        return Refusal("order-state", f"Nothing is left to cancel: the order is {order.status}.")
    return None
