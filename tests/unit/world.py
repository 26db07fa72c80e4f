"""Both services and a provider without clocks, threads, network or database: what they decide is the real code.

Around the pure functions of `order.model` and `payment.model` stands only what `order.progress`, `order.service` and
`payment.service` do with them: rows that are changed, commands that are asked until answered, operations that are
tried until their outcome is known. Whoever drives it says what happens next.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import order.model as orders
import payment.model as payments
from order.model import Command
from payment.model import Kind, Operation, Outcome, Refusal, Result

CURRENCY = "EUR"


@dataclass(frozen=True, slots=True)
class RefundOutcome:
    """What became of a refund that an order asked for; `declined` by the provider, or else overtaken."""

    id: str
    succeeded: bool
    reason: str | None
    declined: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A command on its way from order to payment, sent by one claim of its outbox row."""

    command: Asked
    claim: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What payment says on its way back, to one claim."""

    order_id: str
    payment: orders.Payment
    refund: RefundOutcome | None
    request: Request


@dataclass(frozen=True, slots=True)
class Event:
    """What payment tells of its own accord."""

    order_id: str
    payment: orders.Payment
    refund: RefundOutcome | None


class Provider:
    """Never acts twice on the same operation, but does all else that it is asked: the bounds are ours to keep."""

    def __init__(self) -> None:
        self.books: dict[str, tuple[Operation, Outcome]] = {}
        self.let_go: set[str] = set()

    def send(self, operation: Operation) -> Outcome:
        """Act, unless it was done before."""
        if operation.id not in self.books:
            self.books[operation.id] = (operation, self._decide(operation))
        return self.books[operation.id][1]

    def lookup(self, operation: Operation) -> Outcome | None:
        """What was done under this id."""
        done = self.books.get(operation.id)
        return done[1] if done else None

    def done(self, payment_id: str, *kinds: Kind) -> list[int]:
        """The amounts of a payment's operations of these kinds that succeeded."""
        return [
            operation.amount
            for operation, outcome in self.books.values()
            if operation.payment_id == payment_id and operation.kind in kinds and outcome.result is Result.SUCCEEDED
        ]

    def net(self, payment_id: str) -> int:
        """What was taken and not given back."""
        return sum(self.done(payment_id, Kind.SALE, Kind.CAPTURE)) - sum(self.done(payment_id, Kind.REFUND))

    def _decide(self, operation: Operation) -> Outcome:
        succeeded = Outcome(Result.SUCCEEDED, f"ref-{operation.id}")
        payment_id, kind = operation.payment_id, operation.kind
        if kind in (Kind.SALE, Kind.AUTHORIZE):
            return _declined("card_declined") if operation.payment_method == "pm_declined" else succeeded
        if kind is Kind.REFUND:
            return _declined("refund_declined") if operation.payment_method == "pm_refund_declined" else succeeded
        return _declined("authorization_is_gone") if payment_id in self.let_go else succeeded


def _declined(reason: str) -> Outcome:
    return Outcome(Result.DECLINED, None, reason)


@dataclass(slots=True)
class Tried:
    """An operation's row."""

    operation: Operation
    key: str
    status: Result | None = None
    attempts: int = 0
    claim: int = 0
    reason: str | None = None


@dataclass(slots=True)
class PaymentRow:
    """A payment's row, and the states it has been in."""

    id: str
    order_id: str
    amount: int
    method: str
    facts: payments.Payment
    version: int = 1
    failure_reason: str | None = None
    reference: str | None = None
    history: list[payments.Status] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def become(self, facts: payments.Payment) -> None:
        """Write the next version."""
        self.facts = facts
        self.version += 1
        self.history.append(facts.status)
        self.versions.append(self.version)

    def snapshot(self) -> orders.Payment:
        """What order is told."""
        facts = self.facts
        return orders.Payment(
            self.id,
            self.version,
            facts.status,
            self.amount,
            CURRENCY,
            facts.captured,
            facts.refunded,
            facts.refunding,
            self.failure_reason,
        )


class PaymentService:
    """`payment.service`: an idempotency key names a payment or an operation, an operation is tried until settled."""

    def __init__(self, numbers: itertools.count[int]) -> None:
        self.provider = Provider()
        self.rows: dict[str, PaymentRow] = {}
        self.operations: dict[str, Tried] = {}
        self.keys: dict[str, str] = {}
        self.ledger: list[tuple[str, payments.Entry]] = []
        self.events: list[Event] = []
        self._numbers = numbers

    def create(self, key: str, order_id: str, amount: int, method: str, capture: str) -> PaymentRow:
        """A payment, or the one that the order has already."""
        if key in self.keys:
            return self.rows[self.keys[key]]
        live = [row for row in self.rows.values() if row.order_id == order_id and row.facts.status in payments.LIVE]
        row = live[0] if live else self._new(order_id, amount, method)
        self.keys[key] = row.id
        if not live:
            self._store(row, payments.opening(capture), amount, key)
        return row

    def act(
        self, key: str, payment_id: str, kind: Kind, amount: int | None, note: str | None = None
    ) -> Tried | Refusal:
        """A capture, void or refund whose amount is set aside, or why there is none."""
        if key in self.keys:
            return self.operations[self.keys[key]]
        row = self.rows[payment_id]
        facts = row.facts
        refusal = payments.refusal(facts, kind, amount)
        if refusal is not None:
            return refusal
        if kind is Kind.REFUND:
            wanted = amount or facts.captured - facts.refunded - facts.refunding
            row.become(replace(facts, refunding=facts.refunding + wanted))
        else:
            wanted = amount or facts.authorized
            row.become(replace(facts, busy=kind))
        tried = self._store(row, kind, wanted, key, note)
        self.keys[key] = tried.operation.id
        return tried

    def attempt(self, tried: Tried, fault: str) -> tuple[Tried, int, Outcome]:
        """Claim an operation and ask the provider; what has become known of it, for `settle`."""
        tried.attempts += 1
        tried.claim = next(self._numbers)
        row = self.rows[tried.operation.payment_id]
        operation = replace(tried.operation, attempts=tried.attempts, reference=row.reference)
        outcome = self.provider.lookup(operation) if tried.attempts > 1 else None
        if outcome is None:
            if fault == "request lost":
                return tried, tried.claim, Outcome(Result.UNKNOWN)
            outcome = self.provider.send(operation)
        return tried, tried.claim, Outcome(Result.UNKNOWN) if fault == "answer lost" else outcome

    def settle(self, tried: Tried, claim: int, outcome: Outcome) -> None:
        """Commit an outcome, unless nothing is known or the operation is somebody else's by now."""
        if outcome.result is Result.UNKNOWN or tried.status is not None or tried.claim != claim:
            return
        operation = tried.operation
        settlement = payments.settle(operation.kind, operation.amount, outcome, operation.note)
        tried.status, tried.reason = outcome.result, outcome.reason
        row = self.rows[operation.payment_id]
        facts = row.facts
        row.failure_reason = settlement.failure_reason or row.failure_reason
        row.reference = row.reference or outcome.reference
        self.ledger += [(operation.id, entry) for entry in settlement.entries]
        row.become(
            payments.Payment(
                settlement.status or facts.status,
                facts.authorized + settlement.authorized,
                facts.captured + settlement.captured,
                facts.refunded + settlement.refunded,
                facts.refunding + settlement.refunding,
                facts.busy if operation.kind is Kind.REFUND else None,
            )
        )
        self.events.append(Event(row.order_id, row.snapshot(), _outcome(tried)))

    def carry_out(self, request: Request) -> Answer:
        """What `order.gateway` gets for a command: a command that comes too late gets the payment as it stands."""
        command = request.command
        if command.topic is Command.CREATE:
            row = self.create(command.id, command.order_id, command.amount, command.method, command.capture)
            return Answer(command.order_id, row.snapshot(), None, request)
        kind = Kind(command.topic.removeprefix("payment."))
        amount = command.amount if kind is Kind.REFUND else None
        done = self.act(command.id, command.payment_id, kind, amount)
        refund = None
        if kind is Kind.REFUND:
            refund = RefundOutcome(command.id, False, done.problem) if isinstance(done, Refusal) else _outcome(done)
        return Answer(command.order_id, self.rows[command.payment_id].snapshot(), refund, request)

    def unsettled(self) -> list[Tried]:
        """Operations whose outcome is not known."""
        return [tried for tried in self.operations.values() if tried.status is None]

    def _new(self, order_id: str, amount: int, method: str) -> PaymentRow:
        row = PaymentRow(
            f"p{next(self._numbers)}", order_id, amount, method, payments.Payment(payments.Status.PROCESSING)
        )
        row.history.append(row.facts.status)
        row.versions.append(1)
        self.rows[row.id] = row
        return row

    def _store(self, row: PaymentRow, kind: Kind, amount: int, key: str, note: str | None = None) -> Tried:
        operation_id = f"o{next(self._numbers)}"
        operation = Operation("demo", operation_id, row.id, kind, amount, CURRENCY, row.method, 0, "", note=note)
        self.operations[operation_id] = Tried(operation, key)
        return self.operations[operation_id]


def _outcome(tried: Tried) -> RefundOutcome | None:
    if tried.operation.kind is not Kind.REFUND or tried.status is None:
        return None
    succeeded = tried.status is Result.SUCCEEDED
    return RefundOutcome(tried.key, succeeded, tried.reason, declined=not succeeded)


@dataclass(slots=True, eq=False)
class Asked:
    """A command in order's outbox; `amount` is what a payment or refund is to be of."""

    id: str
    order_id: str
    topic: Command
    payment_id: str
    amount: int
    method: str
    capture: str
    attempts: int = 0
    claim: int = 0
    delivered: bool = False


@dataclass(slots=True)
class Refund:
    """A refund's row."""

    amount: int
    to_cancel: bool
    succeeded: bool | None = None
    declined: bool = False


class OrderRow:
    """An order's row with its refunds and outbox, and what `order.service` and `order.progress` do with it."""

    def __init__(self, order_id: str, total: int, method: str, capture: str, numbers: itertools.count[int]) -> None:
        self.id, self.method, self.capture = order_id, method, capture
        self.facts = orders.Order(orders.Status.PENDING_PAYMENT, total, CURRENCY)
        self.payment: orders.Payment | None = None
        self.version = 0
        self.refunding = 0
        self.refunds: dict[str, Refund] = {}
        self.outbox: list[Asked] = []
        self.last: str | None = None
        self.history: list[orders.Status] = []
        self.steps: list[tuple[str, orders.Status]] = []
        self._numbers = numbers
        self._step("order.placed", orders.decide(self.facts, None))

    def cancel(self) -> str | None:
        """Cancel; why not, or None."""
        self._lock()
        refused = orders.why_not_cancel(self.facts)
        if refused is not None:
            return refused
        if self.facts.status in (orders.Status.CANCELING, orders.Status.CANCELED):
            return None
        if self.facts.status is orders.Status.PENDING_PAYMENT:
            unasked = [asked for asked in self.outbox if not asked.delivered and asked.attempts == 0]
            if unasked:
                self.outbox = [asked for asked in self.outbox if asked not in unasked]
                self.facts = replace(self.facts, asked=frozenset())
        failed = self.facts.status is orders.Status.PAYMENT_FAILED
        self._step("order.cancel", self._as_is(orders.Status.CANCELED if failed else orders.Status.CANCELING))
        self._go_on()
        return None

    def ask_capture(self) -> None:
        """Take the money of an authorized order."""
        self._lock()
        if self.facts.status is orders.Status.AUTHORIZED and Command.CAPTURE not in self.facts.asked:
            self._step("payment.capture_requested", replace(self._as_is(), command=Command.CAPTURE))

    def pay_again(self, method: str) -> None:
        """Try another payment method after a payment has failed."""
        self._lock()
        if self.facts.status is orders.Status.PAYMENT_FAILED:
            if self.payment is not None and self.payment.status not in orders.LIVE:
                self._leave_payment()
            self.method = method
            again = self._as_is(orders.Status.PENDING_PAYMENT)
            self._step("order.payment_attempted", replace(again, command=Command.CREATE))

    def refund(self, amount: int | None) -> None:
        """Give back so much of a paid order, or all that is left."""
        self._lock()
        left = self.facts.paid_amount - self.facts.refunded_amount - self.refunding
        if self.facts.status is orders.Status.PAID and left >= (amount or 1):
            asked = replace(self._as_is(), command=Command.REFUND, refund_amount=amount or left)
            self._step("payment.refund_requested", asked)

    def claim(self) -> Request | None:
        """Lease the oldest command that has no answer."""
        for asked in self.outbox:
            if not asked.delivered:
                asked.attempts += 1
                asked.claim = next(self._numbers)
                return Request(asked, asked.claim)
        return None

    def hear(self, mail: Answer | Event) -> None:
        """Take in what payment says; an answer counts for the claim that asked, and only once."""
        if isinstance(mail, Answer):
            asked = mail.request.command
            if asked.delivered or asked.claim != mail.request.claim or asked not in self.outbox:
                return
            asked.delivered = True
        self._lock()
        self._learn(mail.payment, mail.refund)

    def sweep(self) -> None:
        """Ask again about what has waited for long: the last command, and refunds that have not ended."""
        waiting = self.facts.status in orders.WAITING | {orders.Status.AUTHORIZED}
        again = {name for name, refund in self.refunds.items() if refund.succeeded is None}
        if waiting and self.last is not None:
            again.add(self.last)
        for asked in self.outbox:
            if asked.id in again and asked.delivered:
                asked.delivered = False

    def _lock(self) -> None:
        asked = {each.topic for each in self.outbox if not each.delivered}
        if any(refund.succeeded is None for refund in self.refunds.values()):
            asked.add(Command.REFUND)
        if self.facts.status in orders.FINAL and any(refund.declined for refund in self.refunds.values()):
            asked.add(Command.REFUND)  # for ever: the provider will not, however often it is asked
        self.facts = replace(self.facts, asked=frozenset(asked))

    def _as_is(self, status: orders.Status | None = None) -> orders.Decision:
        return orders.Decision(status or self.facts.status, self.facts.paid_amount, self.facts.refunded_amount)

    def _go_on(self, declined: str | None = None) -> None:
        while True:
            decision = orders.decide(self.facts, self.payment, declined)
            if orders.follow(self.facts, decision) == self.facts:
                return
            declined = None
            self._step("follows", decision)

    def _learn(self, payment: orders.Payment, outcome: RefundOutcome | None) -> None:
        ended = self.refunds.get(outcome.id) if outcome else None
        if ended is not None and ended.succeeded is not None:
            ended = None
        news = orders.is_news(self.facts.past, self.payment, payment)
        if news:
            if self.payment is not None and self.payment.id != payment.id:
                self._leave_payment()
            self.payment = payment
        version = self.version
        declined = None
        if ended is not None and outcome is not None:
            ended.succeeded, ended.declined = outcome.succeeded, outcome.declined
            self._lock()
            self.refunding -= ended.amount
            self._step("refund.ended", self._as_is())
            if outcome.declined and ended.to_cancel:
                declined = outcome.reason or "declined"
        self._go_on(declined)
        if news and self.version == version:
            self._step("payment.updated", self._as_is())

    def _leave_payment(self) -> None:
        assert self.payment is not None
        self.facts = replace(self.facts, past=self.facts.past | {self.payment.id})
        self.payment = None

    def _step(self, kind: str, decision: orders.Decision) -> None:
        before = self.facts.status
        if decision.command is not None:
            create = decision.command is Command.CREATE
            assert create or self.payment is not None, "there is no payment to ask this of"
            command = Asked(
                f"c{next(self._numbers)}",
                self.id,
                decision.command,
                self.payment.id if self.payment and not create else "",
                self.facts.total_amount if create else decision.refund_amount,
                self.method,
                self.capture,
            )
            self.outbox.append(command)
            self.last = command.id
            if decision.command is Command.REFUND:
                self.refunds[command.id] = Refund(decision.refund_amount, before is orders.Status.CANCELING)
                self.refunding += decision.refund_amount
        self.facts = orders.follow(self.facts, decision)
        self.version += 1
        self.history.append(self.facts.status)
        self.steps.append((kind, self.facts.status))
