"""What an order is and what follows from what is known of it: pure decisions, no input or output.

`decide` is the heart. Placing an order, canceling it, a payment's answer, an event that comes twice or
late: all end in it, so the same facts always lead to the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Status(StrEnum):
    """Where an order stands. `canceled`, `refunded` and `expired` are final."""

    PENDING_PAYMENT = "pending_payment"
    AUTHORIZED = "authorized"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    CANCELING = "canceling"
    CANCELED = "canceled"
    REFUNDED = "refunded"
    EXPIRED = "expired"


FINAL = frozenset({Status.CANCELED, Status.REFUNDED, Status.EXPIRED})
WAITING = frozenset({Status.PENDING_PAYMENT, Status.CANCELING})
"""An order does not stay in one of these: something is under way that ends it."""

LIVE = frozenset({"processing", "authorized", "captured"})
"""States of a payment that is under way or holds money."""


class Command(StrEnum):
    """What an order asks of the payment service; the topic of the outbox row that carries it."""

    CREATE = "payment.create"
    CAPTURE = "payment.capture"
    VOID = "payment.void"
    REFUND = "payment.refund"


@dataclass(frozen=True, slots=True)
class Payment:
    """A snapshot of a payment as the payment service told it; only a newer version counts. Minor units."""

    id: str
    version: int
    status: str
    amount: int
    currency: str
    captured_amount: int = 0
    refunded_amount: int = 0
    refunding_amount: int = 0
    failure_reason: str | None = None

    @property
    def held(self) -> int:
        """What the merchant has of the customer's money."""
        return self.captured_amount - self.refunded_amount


@dataclass(frozen=True, slots=True)
class Order:
    """The facts of an order that decisions depend on. Amounts in minor units.

    `past` are the ids of payments that came to nothing before the one it has now; `asked` are the commands
    that have not been answered, and REFUND while one of its refunds is pending.
    """

    status: Status
    total_amount: int
    currency: str
    paid_amount: int = 0
    refunded_amount: int = 0
    past: frozenset[str] = frozenset()
    asked: frozenset[Command] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """An order's next state, and one thing to ask of payment; `refund_amount` goes with the command REFUND."""

    status: Status
    paid_amount: int = 0
    refunded_amount: int = 0
    failure_reason: str | None = None
    command: Command | None = None
    refund_amount: int = 0


def is_news(past: frozenset[str], known: Payment | None, payment: Payment) -> bool:
    """Whether a snapshot is newer than the one that is known: twice, late or reordered is no news.

    `past` are the order's payments that count no more.
    """
    if payment.id in past:
        return False
    if known is None or payment.id == known.id:
        return known is None or payment.version > known.version
    # Another payment counts only after ours has come to nothing: an order has one live payment at a time.
    return known.status not in LIVE


def decide(order: Order, payment: Payment | None, declined: str | None = None) -> Decision:
    """What follows for an order from its newest payment (None: there is none yet).

    One step: it is asked again until nothing follows. `declined` is why the void or refund that was to cancel
    the order was declined just now.
    """
    now = Decision(order.status, order.paid_amount, order.refunded_amount)
    if order.status in FINAL:
        return _let_go(order, payment, now)
    if order.status is Status.CANCELING:
        return _cancel(order, payment, now, declined)
    if order.total_amount == 0:
        return replace(now, status=Status.PAID)
    if payment is None:
        return _ask(order, now, Command.CREATE) if order.status is Status.PENDING_PAYMENT else now
    if order.status is Status.PAYMENT_FAILED:
        # Somebody else has begun to pay for this order: it is a new attempt like any other.
        begun = payment.status in LIVE and fits(order, payment)
        return replace(now, status=Status.PENDING_PAYMENT) if begun else now
    return _pay(order, payment, now)


def fits(order: Order, payment: Payment) -> bool:
    """Whether the payment is for this order's total: somebody may have charged another amount in its name."""
    return (payment.amount, payment.currency) == (order.total_amount, order.currency)


def _pay(order: Order, payment: Payment, now: Decision) -> Decision:
    pending = order.status is Status.PENDING_PAYMENT
    if not fits(order, payment):
        return replace(now, status=Status.PAYMENT_FAILED, failure_reason="amount_mismatch") if pending else now
    # An order goes through each state, even where it has missed what led from one to the next.
    match payment.status:
        case "captured" if payment.captured_amount < order.total_amount:
            return replace(now, paid_amount=payment.captured_amount, status=Status.AUTHORIZED)
        case "captured" if order.status is not Status.PAID:
            return replace(now, paid_amount=payment.captured_amount, status=Status.PAID)
        case "captured":
            status = Status.PAID if payment.held else Status.REFUNDED
            return replace(now, refunded_amount=payment.refunded_amount, status=status)
        case "authorized" if pending:
            return replace(now, status=Status.AUTHORIZED)
        case "failed" if pending:
            return replace(now, status=Status.PAYMENT_FAILED, failure_reason=payment.failure_reason or "unknown")
        case "voided":
            return replace(now, status=Status.CANCELING)
        case "expired" if order.status is not Status.PAID:
            return replace(now, status=Status.AUTHORIZED if pending else Status.EXPIRED)
        case _:
            return now


def _cancel(order: Order, payment: Payment | None, now: Decision, declined: str | None) -> Decision:
    if Command.CREATE in order.asked:
        return now  # whatever has been asked for may still happen
    if payment is None or not fits(order, payment):
        return replace(now, status=Status.CANCELED)  # it has no money; what is somebody else's it lets go of
    amounts = replace(now, paid_amount=payment.captured_amount, refunded_amount=payment.refunded_amount)
    if declined is not None and payment.held > 0:
        whole = payment.captured_amount == order.total_amount
        return replace(amounts, status=Status.PAID if whole else Status.AUTHORIZED, failure_reason=declined)
    if payment.status == "processing":
        return now
    if payment.status == "authorized" and declined is not None:
        return replace(now, status=Status.AUTHORIZED, failure_reason=declined)
    if payment.status == "authorized":
        return _ask(order, now, Command.VOID)
    if payment.held == 0:
        return replace(amounts, status=Status.CANCELED)
    return _give_back(order, payment, amounts)


def _let_go(order: Order, payment: Payment | None, now: Decision) -> Decision:
    """An order that is over keeps no money that somebody takes for it afterwards."""
    if payment is not None and payment.status == "authorized":
        return _ask(order, now, Command.VOID)
    return _give_back(order, payment, now) if payment is not None and payment.held > 0 else now


def _give_back(order: Order, payment: Payment, now: Decision) -> Decision:
    left = payment.held - payment.refunding_amount
    return replace(_ask(order, now, Command.REFUND), refund_amount=left) if left > 0 else now


def _ask(order: Order, now: Decision, command: Command) -> Decision:
    return now if command in order.asked else replace(now, command=command)


def follow(order: Order, decision: Decision) -> Order:
    """The order after a decision has been carried out."""
    return replace(
        order,
        status=decision.status,
        paid_amount=decision.paid_amount,
        refunded_amount=decision.refunded_amount,
        asked=order.asked | {decision.command} if decision.command else order.asked,
    )


def why_not_cancel(order: Order) -> str | None:
    """Why an order can't be canceled; None when it can, or is already."""
    return (
        f"Nothing is left to cancel: the order is {order.status}."
        if order.status in (Status.REFUNDED, Status.EXPIRED)
        else None
    )


def total(lines: list[tuple[int, int]]) -> int:
    """The sum of quantity times unit amount over (quantity, unit amount) lines, in minor units.

    Raises ValueError when it does not fit the 64 bits of the database.
    """
    amount = sum(quantity * unit_amount for quantity, unit_amount in lines)
    if amount > 2**63 - 1:
        raise ValueError("the total is larger than an amount can be")
    return amount
