"""Both services and a provider without clocks, threads, network or database: what they decide is the real code.

Around the pure functions of `order.transition` and `payment.model` stands only what `order.changes` and
`payment.service` do with them: rows that are written, commands that are sent until answered, operations that are tried
until their outcome is known. The test that drives it decides what happens next.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

import order.model as orders
import payment.model as payments
from order import gateway, transition
from order.model import Command
from order.transition import Answer, Cancel, Capture, PayAgain, Refund
from payment.model import Kind, Operation, Refusal, Result
from payment.model import Outcome as ProviderOutcome

CURRENCY = "EUR"


@dataclass(frozen=True, slots=True)
class Request:
    """A command on its way from order to payment, sent by one claim of its outbox row."""

    sent: Sent
    claim: int


@dataclass(frozen=True, slots=True)
class Mail:
    """What payment reports: the answer to a request, or an event if there is none."""

    order_id: str
    answer: Answer
    request: Request | None = None


class Provider:
    """Never acts twice on the same operation, but does all else that it is asked: the bounds are ours to keep."""

    def __init__(self) -> None:
        self.books: dict[str, tuple[Operation, ProviderOutcome]] = {}
        self.let_go: set[str] = set()

    def send(self, operation: Operation) -> ProviderOutcome:
        """Act, unless it was done before."""
        if operation.id not in self.books:
            self.books[operation.id] = (operation, self._decide(operation))
        return self.books[operation.id][1]

    def lookup(self, operation: Operation) -> ProviderOutcome | None:
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

    def _decide(self, operation: Operation) -> ProviderOutcome:
        succeeded = ProviderOutcome(Result.SUCCEEDED, f"ref-{operation.id}")
        payment_id, kind = operation.payment_id, operation.kind
        if kind in (Kind.SALE, Kind.AUTHORIZE):
            return _declined("card_declined") if operation.payment_method == "pm_declined" else succeeded
        if kind is Kind.REFUND:
            return _declined("refund_declined") if operation.payment_method == "pm_refund_declined" else succeeded
        return _declined("authorization_is_gone") if payment_id in self.let_go else succeeded


def _declined(reason: str) -> ProviderOutcome:
    return ProviderOutcome(Result.DECLINED, None, reason)


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
        self.events: list[Mail] = []
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

    def attempt(self, tried: Tried, fault: str) -> tuple[Tried, int, ProviderOutcome]:
        """Claim an operation and ask the provider; what has become known of it, for `settle`."""
        tried.attempts += 1
        tried.claim = next(self._numbers)
        row = self.rows[tried.operation.payment_id]
        operation = replace(tried.operation, attempts=tried.attempts, reference=row.reference)
        outcome = self.provider.lookup(operation) if tried.attempts > 1 else None
        if outcome is None:
            if fault == "request lost":
                return tried, tried.claim, ProviderOutcome(Result.UNKNOWN)
            outcome = self.provider.send(operation)
        return tried, tried.claim, ProviderOutcome(Result.UNKNOWN) if fault == "answer lost" else outcome

    def settle(self, tried: Tried, claim: int, outcome: ProviderOutcome) -> None:
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
        self.events.append(Mail(row.order_id, Answer(row.snapshot(), _outcome(tried))))

    def carry_out(self, request: Request) -> Mail | None:
        """Answer a command as `order.gateway` reads it; None if it is refused for now and retried later."""
        message, order_id = request.sent.message, request.sent.order_id
        body = message.payload
        if message.command is Command.CREATE:
            row = self.create(message.id, order_id, body["amount"], body["payment_method"], body["capture"])
            return Mail(order_id, Answer(row.snapshot(), None, message.id), request)
        kind = Kind(message.command.removeprefix("payment."))
        done = self.act(message.id, body["payment_id"], kind, body.get("amount"))
        row = self.rows[body["payment_id"]]
        payment = row.snapshot()
        if isinstance(done, Refusal):
            if kind is not Kind.REFUND and payment.status == "authorized":
                return None
            outcome: orders.Outcome | None = orders.Outcome(message.id, False, False, done.problem)
        elif kind is Kind.REFUND:
            outcome = _outcome(done)
        else:
            outcome = gateway.action_outcome(message.id, message.command, row.facts.busy is not None, payment)
        return Mail(order_id, Answer(payment, outcome, message.id), request)

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


def _outcome(tried: Tried) -> orders.Outcome | None:
    if tried.status is None:
        return None
    succeeded = tried.status is Result.SUCCEEDED
    return orders.Outcome(tried.key, succeeded, not succeeded, tried.reason)


@dataclass(slots=True, eq=False)
class Sent:
    """A row of order's outbox."""

    order_id: str
    message: transition.Message
    attempts: int = 0
    claim: int = 0
    delivered: bool = False

    @property
    def id(self) -> str:
        """The message's id, which is its idempotency key at payment."""
        return self.message.id


class OrderRow:
    """An order's row with its outbox. What follows from a change is `order.transition`'s own."""

    def __init__(self, order_id: str, total: int, method: str, capture: str, numbers: itertools.count[int]) -> None:
        self._numbers = numbers
        self.id = order_id
        self.outbox: list[Sent] = []
        self.last: str | None = None
        self.history: list[orders.Status] = []
        self.requests: Counter[Command] = Counter()
        self.refunds: dict[str, orders.Outcome | None] = {}
        new = orders.Order(order_id, orders.Status.PENDING_PAYMENT, total, CURRENCY, method, capture)
        self.facts = new
        self._write([transition.place(new, self._new_id)])

    @property
    def payment(self) -> orders.Payment | None:
        """The newest snapshot that the order has."""
        return self.facts.payment

    def cancel(self) -> str | None:
        """Cancel; return why not, or None."""
        refused = orders.cancel_refusal(self.facts)
        if refused is not None:
            return refused.detail
        withdrawn: frozenset[str] = frozenset()
        if self.facts.status is orders.Status.PENDING_PAYMENT:
            withdrawn = frozenset(sent.id for sent in self.outbox if not sent.delivered and sent.attempts == 0)
            self.outbox = [sent for sent in self.outbox if sent.id not in withdrawn]
        self.requests[Command.VOID] += 1
        self._apply(Cancel(withdrawn))
        return None

    def ask_capture(self) -> None:
        """Capture an authorized order."""
        if orders.refusal(self.facts, Command.CAPTURE) is None:
            self.requests[Command.CAPTURE] += 1
            self._apply(Capture())

    def pay_again(self, method: str) -> None:
        """Try another payment method after a payment has failed."""
        if orders.refusal(self.facts, Command.CREATE) is None:
            self.requests[Command.CREATE] += 1
            self._apply(PayAgain(method))

    def refund(self, amount: int | None) -> None:
        """Refund so much of a paid order, or all that is left."""
        if orders.refusal(self.facts, Command.REFUND, amount) is None:
            self.requests[Command.REFUND] += 1
            self._apply(Refund(self._new_id(), amount))

    def claim(self) -> Request | None:
        """Lease the oldest command that is not delivered."""
        for sent in self.outbox:
            if not sent.delivered:
                sent.attempts += 1
                sent.claim = next(self._numbers)
                return Request(sent, sent.claim)
        return None

    def receive(self, mail: Mail) -> None:
        """Apply what payment reports. An answer counts for the claim that holds the lease, and once."""
        if mail.request is not None:
            sent = mail.request.sent
            if sent.delivered or sent.claim != mail.request.claim or sent not in self.outbox:
                return
            sent.delivered = True
        self._apply(mail.answer)

    def sweep(self) -> None:
        """Send again what has waited for long: the last command, and refunds without an outcome."""
        waiting = self.facts.status in orders.WAITING | {orders.Status.AUTHORIZED}
        again = {name for name, outcome in self.refunds.items() if outcome is None}
        if waiting and self.last is not None:
            again.add(self.last)
        for sent in self.outbox:
            if sent.id in again and sent.delivered:
                sent.delivered = False

    def commands(self, command: Command) -> int:
        """How many messages with this command were ever sent."""
        return sum(sent.message.command is command for sent in self.outbox)

    def _new_id(self) -> str:
        return f"c{next(self._numbers)}"

    def _apply(self, change: transition.Change) -> None:
        self._write(transition.apply(self.facts, change, self._new_id))

    def _write(self, steps: list[transition.Step]) -> None:
        for step in steps:
            assert step.before == self.facts
            self.facts = step.after
            self.history.append(step.after.status)
            if step.message is not None:
                self.outbox.append(Sent(self.id, step.message))
                self.last = step.message.id
                if step.message.command is Command.REFUND:
                    self.refunds[step.message.id] = None
            if step.ended is not None:
                assert self.refunds[step.ended.id] is None, "a refund ends once"
                self.refunds[step.ended.id] = step.ended
