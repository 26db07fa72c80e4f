"""The facts of an order, and the decisions that depend on nothing else: pure functions without input or output.

Read `decide` first. It returns the next step of an order from the facts in the order's row. `order.transition` calls it
until nothing follows, for every request, answer and event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace


class Status(StrEnum):
    """The states of an order. `canceled`, `refunded` and `expired` are final."""

    PENDING_PAYMENT = "pending_payment"
    AUTHORIZED = "authorized"
    PAID = "paid"
    PAYMENT_FAILED = "payment_failed"
    CANCELING = "canceling"
    CANCELED = "canceled"
    REFUNDED = "refunded"
    EXPIRED = "expired"


FINAL = frozenset({Status.CANCELED, Status.REFUNDED, Status.EXPIRED})
LIVE = frozenset({"processing", "authorized", "captured"})
"""States of a payment that is under way or holds money."""


class Command(StrEnum):
    """What an order requests from the payment service; also the topic of the outbox message with the request."""

    CREATE = "payment.create"
    CAPTURE = "payment.capture"
    VOID = "payment.void"
    REFUND = "payment.refund"


class Payment(Struct, frozen=True):
    """A snapshot of a payment, as the payment service reported it. Amounts are in minor units."""

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
        """The customer's money that is captured and not refunded."""
        return self.captured_amount - self.refunded_amount


class Asked(Struct, frozen=True):
    """A command that was sent to payment and has no known outcome.

    `id` is the id of its outbox message and its idempotency key at payment. `amount` is that of a refund or a partial
    capture, in minor units; 0 stands for everything. `to_cancel` is true for a refund that is to cancel the order.
    `final` is false for a capture that keeps the rest authorized.
    """

    id: str
    command: Command
    amount: int = 0
    to_cancel: bool = False
    final: bool = True


class Outcome(Struct, frozen=True):
    """What became of the command with this message id. If it neither succeeded nor was declined, another operation
    had changed the payment before it.
    """

    id: str
    succeeded: bool
    declined: bool = False
    reason: str | None = None


class LastError(Struct, frozen=True):
    """The newest decline of a command by the provider; it stays until something succeeds.

    `reason` is the provider's, or None while it is not known. `id` is that of the command.
    """

    command: Command
    reason: str | None = None
    id: str = ""

    @property
    def code(self) -> str:
        """`capture_declined`, `void_declined` or `refund_declined`."""
        return f"{self._action}_declined"

    @property
    def detail(self) -> str:
        """One sentence for people."""
        if self.reason == "payment-not-found":
            return f"The payment service does not know this payment; the {self._action} was not carried out."
        return f"The payment provider declined the {self._action}{f': {self.reason}' if self.reason else ''}."

    @property
    def _action(self) -> str:
        return self.command.removeprefix("payment.")


class Order(Struct, frozen=True):
    """All facts of an order that decisions depend on; they stand in the order's row. Amounts are in minor units.

    `payment` is the newest snapshot of its payment, `past` the ids of earlier payments, which no longer count, and
    `asked` the commands without a known outcome.
    """

    id: str
    status: Status
    total_amount: int
    currency: str
    payment_method: str
    capture: str = "automatic"
    paid_amount: int = 0
    refunded_amount: int = 0
    failure_reason: str | None = None
    payment: Payment | None = None
    past: frozenset[str] = frozenset()
    asked: tuple[Asked, ...] = ()
    last_error: LastError | None = None
    version: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def refunding_amount(self) -> int:
        """The sum of the refunds that have no known outcome."""
        return sum(asked.amount for asked in self.asked if asked.command is Command.REFUND)

    @property
    def capturable_amount(self) -> int:
        """How much of an authorized order is not captured, in minor units."""
        return self.total_amount - self.paid_amount

    @property
    def refundable_amount(self) -> int:
        """How much is left to refund, in minor units. Money that does not fit the order is not part of it."""
        return max(0, self.paid_amount - self.refunded_amount - self.refunding_amount)

    def waits_for(self, *commands: Command) -> bool:
        """Return whether one of these commands has no known outcome."""
        return any(asked.command in commands for asked in self.asked)


class Decision(Struct, frozen=True):
    """An order's next state, and at most one command for payment.

    `amount` is that of a refund or a partial capture, in minor units; 0 stands for everything. `final`: see Asked.
    """

    status: Status
    paid_amount: int = 0
    refunded_amount: int = 0
    failure_reason: str | None = None
    command: Command | None = None
    amount: int = 0
    final: bool = True


def fits(order: Order, payment: Payment) -> bool:
    """Return whether a payment has the order's amount and currency. A third party may have paid another amount."""
    return (payment.amount, payment.currency) == (order.total_amount, order.currency)


def stay(order: Order) -> Decision:
    """Return the decision that changes nothing."""
    return Decision(order.status, order.paid_amount, order.refunded_amount)


def decide(order: Order, declined: LastError | None = None) -> Decision:
    """Return the next step of an order; call again until it returns `stay(order)`.

    `declined` is the void or refund that was to cancel the order, if the provider has just declined it.
    """
    now = stay(order)
    if order.status in FINAL:
        return _return_money(order, now)
    if order.status is Status.CANCELING:
        return _cancel(order, now, declined)
    if order.total_amount == 0:
        # Nothing is owed, so a third party's payment is returned.
        return _return_money(order, now) if order.status is Status.PAID else replace(now, status=Status.PAID)
    payment = order.payment
    if payment is None:
        return _ask(order, now, Command.CREATE) if order.status is Status.PENDING_PAYMENT else now
    if order.status is Status.PENDING_PAYMENT and payment.status not in LIVE and order.waits_for(Command.CREATE):
        return now  # somebody else's payment has ended: the one that the order has asked for can still be created
    if not fits(order, payment):
        return _mismatch(order, now)
    if order.status is Status.PAYMENT_FAILED:
        # A third party has created a payment for this order. It counts as a new attempt.
        return replace(now, status=Status.PENDING_PAYMENT) if payment.status in LIVE else now
    return _pay(order, payment, now)


def _mismatch(order: Order, now: Decision) -> Decision:
    """Fail an order that a third party has paid with another amount or currency, and return that money."""
    failed = replace(now, status=Status.PAYMENT_FAILED, failure_reason="amount_mismatch")
    if order.status is Status.PENDING_PAYMENT:
        return failed
    returned = _return_money(order, failed)
    return returned if returned.command and order.status is Status.PAYMENT_FAILED else now


def _pay(order: Order, payment: Payment, now: Decision) -> Decision:
    pending = order.status is Status.PENDING_PAYMENT
    # An order passes through each state, even if it missed the snapshots in between.
    match payment.status:
        case "captured" if not payment.captured_amount:
            return now
        case "captured" if order.status is not Status.PAID:
            return replace(now, paid_amount=payment.captured_amount, status=Status.PAID)
        case "captured":
            status = Status.PAID if payment.held else Status.REFUNDED
            return replace(now, refunded_amount=payment.refunded_amount, status=status)
        case "authorized" if pending:
            return replace(now, status=Status.AUTHORIZED)
        case "authorized" if order.status is Status.AUTHORIZED:
            # After a restore, payment may report its captures again, one after the other.
            return replace(now, paid_amount=max(order.paid_amount, payment.captured_amount))
        case "failed" if pending:
            return replace(now, status=Status.PAYMENT_FAILED, failure_reason=payment.failure_reason or "unknown")
        case "voided":
            return replace(now, status=Status.CANCELING)
        case "expired" if order.status is not Status.PAID:
            return replace(now, status=Status.AUTHORIZED if pending else Status.EXPIRED)
        case _:
            return now


def _cancel(order: Order, now: Decision, declined: LastError | None) -> Decision:
    payment = order.payment
    if order.waits_for(Command.CREATE, Command.CAPTURE):
        return now  # the command may still take money: what to return is known only afterwards
    if payment is None or not fits(order, payment):
        return replace(now, status=Status.CANCELED)  # it holds no money; `_return_money` handles a third party's
    paid = max(order.paid_amount, payment.captured_amount)
    amounts = replace(now, paid_amount=paid, refunded_amount=payment.refunded_amount)
    if payment.status == "processing":
        return now
    if payment.status == "authorized":
        if declined is not None:
            return replace(amounts, status=Status.AUTHORIZED, failure_reason=declined.reason or declined.code)
        return _ask(order, now, Command.VOID) if amounts == now else amounts
    if payment.held == 0:
        return replace(amounts, status=Status.CANCELED)
    if declined is not None and declined.command is Command.REFUND:
        return replace(amounts, status=Status.PAID, failure_reason=declined.reason or declined.code)
    return _refund(order, payment, amounts)


def _return_money(order: Order, now: Decision) -> Decision:
    """Return money that the order does not keep: it is final, or the payment does not fit it.

    A command that the provider has declined is not sent again, because that would repeat without end.
    """
    payment, error = order.payment, order.last_error
    if payment is None or order.waits_for(Command.CAPTURE):
        return now
    if payment.status == "authorized" and not (error and error.command is Command.VOID):
        return _ask(order, now, Command.VOID)
    # Payment refunds nothing while a part is authorized.
    if payment.status == "captured" and payment.held > 0 and not (error and error.command is Command.REFUND):
        return _refund(order, payment, now)
    return now


def _refund(order: Order, payment: Payment, now: Decision) -> Decision:
    left = payment.held - payment.refunding_amount
    if left <= 0 or order.waits_for(Command.REFUND):
        return now
    return replace(now, command=Command.REFUND, amount=left)


def _ask(order: Order, now: Decision, command: Command) -> Decision:
    return now if order.waits_for(command) else replace(now, command=command)
