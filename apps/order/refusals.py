"""Which requests of a merchant an order allows: pure functions without input or output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from order.model import Command, Order, Status
from order.transition import Capture, Release


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


MOST_PAYMENTS = 100
"""The most payments of an order that have ended without money. All of them are in its row, which each step writes."""


def refusal(
    order: Order,
    command: Command,
    amount: int | None = None,
    *,
    final: bool = True,
    text: Callable[[int], str] = str,
) -> Refusal | None:
    """Return why a payment attempt, capture or refund is refused, or None.

    `amount` is that of a capture or refund, in minor units; None: all that is left. `final` is false for a capture that
    keeps the rest authorized. `text` writes amounts; by default they are in minor units.
    """
    status, detail = _ALLOWED[command]
    if order.status is not status:
        partly = order.status is Status.AUTHORIZED and order.paid_amount > 0
        until = " A part of it is captured: capture or release the rest first." if partly else ""
        return Refusal("order-state", f"{detail}: this one is {order.status}.{until}")
    if command is Command.CREATE and len(order.past) >= MOST_PAYMENTS:
        return Refusal("payment-limit", f"{MOST_PAYMENTS} payments of the order have failed: place a new order.")
    if command is Command.CAPTURE:
        return _capture_refusal(order, order.capturable_amount if amount is None else amount, final, text)
    if command is Command.REFUND and order.refundable_amount < (amount or 1):
        left = f"Of {text(order.paid_amount)} paid, {text(order.refundable_amount)} is left to refund."
        return Refusal("amount-exceeds-captured", left)
    return None


def _capture_refusal(order: Order, amount: int, final: bool, text: Callable[[int], str]) -> Refusal | None:
    # An order is authorized only by a payment of its total.
    left = order.capturable_amount
    if amount > left:
        of = f"Of {text(order.total_amount)} authorized, {text(left)} is left to capture."
        only = f"Only {text(order.total_amount)} is authorized."
        return Refusal("amount-exceeds-authorized", of if order.paid_amount else only)
    if order.waits_for(Command.VOID):
        return Refusal("order-state", "The rest of the authorized amount is being released.")
    for asked in order.asked:
        pending = asked.amount or left
        # A final capture happens once, so a second request for the same amount is for the same capture.
        if asked.command is Command.CAPTURE and not (final and asked.final and pending == amount):
            under_way = f"a capture of {text(pending)} is under way."
            return Refusal("order-state", f"One capture is carried out at a time: {under_way}")
    return None


def release_refusal(order: Order) -> Refusal | None:
    """Return why the rest of an order can't be released, or None if it can be or is being released."""
    if order.status is not Status.AUTHORIZED:
        return refusal(order, Command.CAPTURE)
    if order.waits_for(Command.CAPTURE):
        return Refusal("order-state", "A capture is under way: release the rest after it.")
    if order.paid_amount == 0:
        return Refusal("order-state", "Nothing is captured: cancel the order to release all of it.")
    return None


def refusal_of(order: Order, change: Capture | Release) -> Refusal | None:
    """Return why a capture or release is refused, or None."""
    if isinstance(change, Release):
        return release_refusal(order)
    return refusal(order, Command.CAPTURE, change.amount, final=change.final)


def cancel_refusal(order: Order) -> Refusal | None:
    """Return why an order can't be canceled, or None if it can be or is canceled already."""
    if order.status in (Status.REFUNDED, Status.EXPIRED):
        return Refusal("order-state", f"Nothing is left to cancel: the order is {order.status}.")
    return None
