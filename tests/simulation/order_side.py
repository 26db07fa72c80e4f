"""The order service without its database: rows in memory, and the decisions of `order.transition`."""

from __future__ import annotations

from chassis.messaging.outbox import Message
from order import answers, refusals, staleness, transition
from order.changes import outbox_message
from order.history import Step
from order.model import Command, Order, Outcome, Status
from order.transition import Answer, Cancel, Capture, Lost, LostRefunds, PayAgain, Refund, Release
from payment.model import Result
from tests.simulation.ids import MERCHANT, Ids
from tests.simulation.payment_side import CURRENCY, PaymentSide
from tests.simulation.provider import Provider, check

WAITING = frozenset({Status.PENDING_PAYMENT, Status.CANCELING})
"""States that an order leaves without a further request: a command to payment is under way."""
SWEPT = WAITING | {Status.AUTHORIZED}

_NEXT: dict[str, frozenset[str]] = {
    "pending_payment": frozenset({"paid", "authorized", "payment_failed", "canceling"}),
    "payment_failed": frozenset({"pending_payment", "canceled"}),
    "authorized": frozenset({"paid", "canceling", "expired"}),
    "paid": frozenset({"refunded", "canceling"}),
    "canceling": frozenset({"canceled", "paid", "authorized"}),
}


class Sent:
    """A row of order's outbox. `claim` is the token of the lease."""

    __slots__ = ("attempts", "claim", "delivered", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.attempts = self.claim = 0
        self.delivered = False

    def copy(self) -> Sent:
        """Return a copy for a backup."""
        row = Sent(self.message)
        row.attempts, row.claim, row.delivered = self.attempts, self.claim, self.delivered
        return row


class OrderRow:
    """The rows of an order: its facts, its outbox and its refunds. `requests` counts what merchants requested."""

    __slots__ = ("commands", "facts", "last", "outbox", "refunds", "requests")

    def __init__(self, facts: Order) -> None:
        self.facts = facts
        self.outbox: dict[str, Sent] = {}
        self.last: str | None = None
        self.refunds: dict[str, Outcome | None] = {}
        self.requests = dict.fromkeys(Command, 0)
        self.commands = dict.fromkeys(Command, 0)

    def copy(self) -> OrderRow:
        """Return a copy for a backup."""
        row = OrderRow(self.facts)
        row.outbox = {name: sent.copy() for name, sent in self.outbox.items()}
        row.last, row.refunds = self.last, dict(self.refunds)
        row.requests, row.commands = dict(self.requests), dict(self.commands)
        return row

    def undelivered(self) -> Sent | None:
        """Return the oldest command that is not delivered: only this one is sent."""
        return next((sent for sent in self.outbox.values() if not sent.delivered), None)

    def waits(self) -> bool:
        """Return whether something is left to do without a further request."""
        return (
            self.facts.status in WAITING
            or bool(self.facts.asked)
            or None in self.refunds.values()
            or self.undelivered() is not None
        )


class OrderSide:
    """Orders; each method is one transaction. Every write is checked against what the order was before."""

    def __init__(self, new: Ids, provider: Provider, payment: PaymentSide) -> None:
        self.rows: dict[str, OrderRow] = {}
        self.lost: set[str] = set()
        self._new, self._provider, self._payment = new, provider, payment

    def place(self, total: int, method: str, capture: str) -> None:
        """Place an order."""
        facts = Order(self._new.new(), Status.PENDING_PAYMENT, total, CURRENCY, method, capture)
        order = self.rows[facts.id] = OrderRow(facts)
        self._write(order, transition.first_steps(facts, self._new.new))

    def cancel(self, order: OrderRow) -> None:
        """Cancel the order, if it allows that."""
        if refusals.cancel_refusal(order.facts) is None:
            withdrawn: frozenset[str] = frozenset()
            if order.facts.status is Status.PENDING_PAYMENT:
                withdrawn = frozenset(
                    name
                    for name, sent in order.outbox.items()
                    if sent.message.topic == Command.CREATE and not sent.delivered and sent.attempts == 0
                )
                for name in withdrawn:
                    del order.outbox[name]
            self._request(order, Command.VOID, Cancel(withdrawn))

    def capture(self, order: OrderRow, amount: int | None, *, final: bool) -> None:
        """Capture an amount in minor units, or all that is left if it is None, if the order allows that."""
        wanted = Capture(amount, final)
        if refusals.refusal_of(order.facts, wanted) is None:
            captures = order.commands[Command.CAPTURE]
            self._request(order, Command.CAPTURE, wanted)
            check(final or order.commands[Command.CAPTURE] > captures, "a capture of a part was taken for another one")

    def release(self, order: OrderRow) -> None:
        """Release the rest of an order of which a part is captured, if the order allows that."""
        if refusals.refusal_of(order.facts, Release()) is None:
            self._request(order, Command.VOID, Release())

    def pay_again(self, order: OrderRow, method: str) -> None:
        """Try another payment method, if the order allows that."""
        if refusals.refusal(order.facts, Command.CREATE) is None:
            self._request(order, Command.CREATE, PayAgain(method))

    def refund(self, order: OrderRow, amount: int | None) -> None:
        """Refund an amount in minor units, or all that is left if it is None, if the order allows that."""
        if refusals.refusal(order.facts, Command.REFUND, amount) is None:
            self._request(order, Command.REFUND, Refund(self._new.new(), amount))

    def claim(self, order: OrderRow) -> tuple[Message, int] | None:
        """Lease the oldest undelivered command; return its message and the token, or None if there is none."""
        sent = order.undelivered()
        if sent is None:
            return None
        sent.attempts += 1
        sent.claim = self._new.number()
        return sent.message, sent.claim

    def receive_response(self, message: Message, claim: int, answer: Answer) -> None:
        """Apply payment's response to a command and mark it delivered, unless the lease was lost."""
        order = self.rows.get(message.aggregate_id)
        sent = order.outbox.get(message.id) if order else None
        if order is not None and sent is not None and not sent.delivered and sent.claim == claim:
            sent.delivered = True
            self._apply(order, answer)

    def receive_event(self, order_id: str, answer: Answer) -> None:
        """Apply an event, if the order is there; before that, the payment that it has to read (staleness.to_read)."""
        order = self.rows.get(order_id)
        if order is None:
            return
        row = self._payment.rows.get(staleness.to_read(order.facts, answer) or "")
        if row is not None:
            now = answers.snapshot(row.view())
            self._apply(order, Answer(now, is_current=now.id in order.facts.past))
        self._apply(order, answer)

    def sweep(self, order: OrderRow) -> None:
        """Make the last command of a waiting order, and refunds without an outcome, due again (waiting.sweep)."""
        again = [name for name, outcome in order.refunds.items() if outcome is None]
        if order.facts.status in SWEPT and order.last is not None:
            again.append(order.last)
        self._make_due(order, again)

    def ask_again(self) -> None:
        """Make every command without an outcome due again under its own id: the resync after a restore of either side.

        Of an order that waits, that includes the command that created its payment.
        """
        for order in self.rows.values():
            waits = order.facts.status in SWEPT and order.last is not None
            self._make_due(order, [asked.id for asked in order.facts.asked] + ([order.last or ""] if waits else []))

    @staticmethod
    def _make_due(order: OrderRow, names: list[str]) -> None:
        """Make these commands due again, unless the order knows their outcome (resending.IS_LIVE)."""
        asked = {each.id for each in order.facts.asked}
        for name in names:
            sent = order.outbox.get(name)
            if sent is not None and (sent.message.topic == Command.CREATE or name in asked):
                sent.delivered = False

    def forget_lost_payments(self) -> None:
        """Take payments and refunds that payment has lost from their orders, before `order resync` sends commands."""
        for order in self.rows.values():
            payment = order.facts.payment
            if payment is not None and payment.status == "processing" and payment.id not in self._payment.rows:
                sent = order.outbox.get(order.last or "")
                creates = sent is not None and sent.message.topic == Command.CREATE
                self._apply(order, Lost(payment.id, order.last if creates else None))
            row = self._payment.rows.get(payment.id) if payment is not None else None
            if payment is not None and row is not None and row.version < payment.version:
                self._apply(order, LostRefunds(answers.snapshot(row.view()), payment.version))

    def backup(self) -> dict[str, OrderRow]:
        """Return a copy of all orders."""
        return {name: order.copy() for name, order in self.rows.items()}

    def restore(self, backup: dict[str, OrderRow]) -> None:
        """Replace all orders by older ones. Orders that were placed since are `lost`."""
        self.lost |= self.rows.keys() - backup.keys()
        self.rows = {name: order.copy() for name, order in backup.items()}

    def _request(self, order: OrderRow, intent: Command, change: transition.Change) -> None:
        """Apply a merchant's request; count the intent unless it changes nothing, because it is under way already."""
        order.requests[intent] += 1
        if not self._apply(order, change):
            order.requests[intent] -= 1

    def _apply(self, order: OrderRow, change: transition.Change) -> bool:
        steps = transition.apply(order.facts, change, self._new.new)
        self._write(order, steps)
        return bool(steps)

    def _write(self, order: OrderRow, steps: list[Step]) -> None:
        old = order.facts
        for step in steps:
            before, after = order.facts, step.after
            check(after.version == before.version + 1, "the versions of an order have a gap")
            legal = after.status is before.status or after.status in _NEXT.get(before.status, ())
            check(legal, f"an order that was {before.status} became {after.status}")
            order.facts = after
            message = outbox_message(MERCHANT, step, {}, 0)
            if message is not None:
                order.outbox[message.id] = Sent(message)
                order.last = message.id
                order.commands[Command(message.topic)] += 1
                if message.topic == Command.REFUND:
                    order.refunds[message.id] = None
            if step.ended is not None:
                check(order.refunds.get(step.ended.id) is None, "a refund has two outcomes")
                order.refunds[step.ended.id] = step.ended
        if steps:
            self._check(order, old)

    def _check(self, order: OrderRow, old: Order) -> None:
        """Check what the callers of an order see after a write. Raises Broken."""
        facts = order.facts
        amounts = (facts.refunded_amount, facts.paid_amount, facts.total_amount)
        check(0 <= amounts[0] <= amounts[1] <= amounts[2], f"amounts out of range: {amounts}")
        if facts.payment is not None and old.payment is not None and facts.payment.id == old.payment.id:
            check(facts.payment.version >= old.payment.version, "an order went back to an older snapshot")
            backwards = facts.paid_amount < old.paid_amount or facts.refunded_amount < old.refunded_amount
            check(not backwards, "the paid or refunded amount of an order decreased")
        check(facts.payment is None or facts.payment.id not in facts.past, "an order went back to an earlier payment")
        check(old.past <= facts.past, "an order forgot an earlier payment")
        if facts.status is Status.CANCELED and old.status is not Status.CANCELED:
            payment = facts.payment
            # A payment of another amount is a third party's: it is returned after that.
            if payment is not None and payment.amount == facts.total_amount:
                held = payment.held > 0 or payment.status in ("processing", "authorized")
                check(not held, "an order is canceled while its payment holds money")
        if facts.status in (Status.PENDING_PAYMENT, Status.PAYMENT_FAILED, Status.EXPIRED):
            check(facts.paid_amount == 0, f"an order of which {facts.paid_amount} is captured is {facts.status}")
        self._check_declines(facts, old)
        self._check_number_of_commands(order)

    def _check_declines(self, facts: Order, old: Order) -> None:
        """Check that the caller of a command that the provider declined can see that."""
        left = {asked.id for asked in facts.asked}
        for asked in old.asked:
            record = self._provider.executed(asked.id) if asked.id not in left else None
            if record is None or record.outcome.result is not Result.DECLINED or asked.command is Command.CREATE:
                continue
            standing = facts.payment is not None and facts.payment.status == "authorized"
            if asked.command is Command.REFUND or standing:
                shown = facts.last_error is not None and facts.last_error.command is asked.command
                check(shown, f"a declined {asked.command} left no trace")

    def _check_number_of_commands(self, order: OrderRow) -> None:
        """Check that the order has sent at most one command for each intent."""
        facts, requests = order.facts, order.requests
        # Each payment that an order ever had may have to be voided or refunded once when the order is final.
        payments = len(self._payment.payments_ever.get(facts.id, ()))
        refunds = len(self._payment.refunds_by_others.get(facts.id, ()))
        bounds = {
            Command.CREATE: 1 + requests[Command.CREATE],
            Command.CAPTURE: requests[Command.CAPTURE],
            Command.VOID: requests[Command.VOID] + payments,
            # A cancel refunds the rest again if a refund made at payment came in between.
            Command.REFUND: requests[Command.REFUND] + requests[Command.VOID] + payments + refunds,
        }
        for command, bound in bounds.items():
            sent = order.commands[command]
            check(sent <= bound, f"{command} was sent under {sent} ids, at most {bound} are wanted")
        waiting = [asked.command for asked in facts.asked if asked.command in (Command.CAPTURE, Command.VOID)]
        check(len(waiting) == len(set(waiting)), "two commands for the same purpose are under way")
