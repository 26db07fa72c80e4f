"""What an order is and what follows from what is known of it: pure decisions, no input or output.

`decide` is the heart. Placing an order, a payment's answer, an event that comes twice or late: all end
in it, so the same facts always lead to the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Where an order stands."""

    PENDING_PAYMENT = "pending_payment"
    AUTHORIZED = "authorized"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"


class Command(StrEnum):
    """What an order asks of the payment service; the topic of the outbox row that carries it."""

    CREATE = "payment.create"


@dataclass(frozen=True, slots=True)
class Order:
    """The facts of an order that decisions depend on. Amounts in minor units."""

    status: Status
    total_amount: int
    currency: str
    paid_amount: int = 0
    payment_id: str | None = None
    payment_version: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    """A snapshot of a payment as the payment service told it; only a newer version counts."""

    id: str
    version: int
    status: str
    amount: int
    currency: str
    captured_amount: int = 0
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """An order's next state, what to ask of payment, and the reason of a failure."""

    status: Status
    paid_amount: int = 0
    failure_reason: str | None = None
    commands: tuple[Command, ...] = field(default=())


def is_news(order: Order, payment: Payment) -> bool:
    """Whether the snapshot is newer than what the order has applied: twice, late or reordered is no news."""
    if order.payment_id is None:
        return True
    return payment.id == order.payment_id and payment.version > order.payment_version


def decide(order: Order, payment: Payment | None) -> Decision:
    """What follows for `order` from the newest snapshot of its payment; None: there is no payment yet."""
    if order.total_amount == 0:
        return Decision(Status.PAID)
    if payment is None:
        return Decision(Status.PENDING_PAYMENT, commands=(Command.CREATE,))
    if order.status is not Status.PENDING_PAYMENT and order.status is not Status.AUTHORIZED:
        return Decision(order.status, order.paid_amount, payment.failure_reason)
    if (payment.amount, payment.currency) != (order.total_amount, order.currency):
        # Somebody charged another amount in this order's name: that is not the order's money.
        return Decision(Status.PAYMENT_FAILED, failure_reason="amount_mismatch")
    match payment.status:
        case "captured" if payment.captured_amount == order.total_amount:
            return Decision(Status.PAID, paid_amount=payment.captured_amount)
        case "authorized":
            return Decision(Status.AUTHORIZED)
        case "failed":
            return Decision(Status.PAYMENT_FAILED, failure_reason=payment.failure_reason or "unknown")
        case _:
            return Decision(order.status)


def total(lines: list[tuple[int, int]]) -> int:
    """The sum of quantity times unit amount over (quantity, unit amount) lines, in minor units.

    Raises ValueError when it does not fit the 64 bits of the database.
    """
    amount = sum(quantity * unit_amount for quantity, unit_amount in lines)
    if amount > 2**63 - 1:
        raise ValueError("the total is larger than an amount can be")
    return amount
