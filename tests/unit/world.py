"""Models of both services and a provider, without clocks, threads, network or database; decisions use the real code.

The pure functions of `order.transition` and `payment.model` are called as `order.changes` and `payment.service` call
them: rows are written, commands are sent until they get a response, operations are attempted until their outcome is
known. The test that uses these models decides what happens next.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

import order.model as orders
import payment.model as payments
from order import gateway, refusals, transition
from order.history import Message, Step
from order.model import Command
from order.transition import Answer, Cancel, Capture, PayAgain, Refund
from payment.model import Kind, Operation, Refusal, Result
from payment.model import Outcome as ProviderOutcome

CURRENCY = "EUR"
WAITING = frozenset({orders.Status.PENDING_PAYMENT, orders.Status.CANCELING})
"""States that an order leaves without a further request: a command to payment is under way."""


@dataclass(frozen=True, slots=True)
class Request:
    """A command on its way from order to payment, sent by one claim of its outbox row."""

    sent: Sent
    claim: int


@dataclass(frozen=True, slots=True)
class Mail:
    """What payment reports: the response to a request, or an event if `request` is None."""

    order_id: str
    answer: Answer
    request: Request | None = None


class Provider:
    """A provider that executes each operation once and checks no amounts: the services have to keep the limits."""

    def __init__(self) -> None:
        self.books: dict[str, tuple[Operation, ProviderOutcome]] = {}
        self.expired: set[str] = set()

    def send(self, operation: Operation) -> ProviderOutcome:
        """Execute the operation, unless it was executed before; return its outcome."""
        if operation.id not in self.books:
            self.books[operation.id] = (operation, self._decide(operation))
        return self.books[operation.id][1]

    def lookup(self, operation: Operation) -> ProviderOutcome | None:
        """Return the outcome of the operation with this id, or None if the provider does not know it."""
        done = self.books.get(operation.id)
        return done[1] if done else None

    def done(self, payment_id: str, *kinds: Kind) -> list[int]:
        """Return the amounts of a payment's succeeded operations of these kinds."""
        return [
            operation.amount
            for operation, outcome in self.books.values()
            if operation.payment_id == payment_id and operation.kind in kinds and outcome.result is Result.SUCCEEDED
        ]

    def net(self, payment_id: str) -> int:
        """Return the captured amount less the refunded amount."""
        return sum(self.done(payment_id, Kind.SALE, Kind.CAPTURE)) - sum(self.done(payment_id, Kind.REFUND))

    def _decide(self, operation: Operation) -> ProviderOutcome:
        succeeded = ProviderOutcome(Result.SUCCEEDED, f"ref-{operation.id}")
        payment_id, kind = operation.payment_id, operation.kind
        if kind in (Kind.SALE, Kind.AUTHORIZE):
            return _declined("card_declined") if operation.payment_method == "pm_declined" else succeeded
        if kind is Kind.REFUND:
            return _declined("refund_declined") if operation.payment_method == "pm_refund_declined" else succeeded
        return _declined("authorization_expired") if payment_id in self.expired else succeeded


def _declined(reason: str) -> ProviderOutcome:
    return ProviderOutcome(Result.DECLINED, None, reason)


@dataclass(slots=True)
class OperationRow:
    """The row of an operation, with the idempotency key of the request that made it."""

    operation: Operation
    key: str
    status: Result | None = None
    attempts: int = 0
    claim: int = 0
    reason: str | None = None


@dataclass(slots=True)
class PaymentRow:
    """The row of a payment, and the statuses that it has had."""

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

    def write(self, facts: payments.Payment) -> None:
        """Write the next version."""
        self.facts = facts
        self.version += 1
        self.history.append(facts.status)
        self.versions.append(self.version)

    def snapshot(self) -> orders.Payment:
        """Return the snapshot that order gets."""
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
    """The payment service: a key names a payment or an operation; an operation is attempted until it is settled."""

    def __init__(self, numbers: itertools.count[int]) -> None:
        self.provider = Provider()
        self.rows: dict[str, PaymentRow] = {}
        self.operations: dict[str, OperationRow] = {}
        self.keys: dict[str, str] = {}
        self.ledger: list[tuple[str, payments.Entry]] = []
        self.events: list[Mail] = []
        self._numbers = numbers

    def create(self, key: str, order_id: str, amount: int, method: str, capture: str) -> PaymentRow:
        """Return the payment of the key, the live payment of the order, or a new payment."""
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
    ) -> OperationRow | Refusal:
        """Reserve the amount of a capture, void or refund; return the operation, or why it is refused."""
        if key in self.keys:
            return self.operations[self.keys[key]]
        row = self.rows[payment_id]
        facts = row.facts
        refusal = payments.refusal(facts, kind, amount)
        if refusal is not None:
            return refusal
        if kind is Kind.REFUND:
            wanted = amount or facts.captured - facts.refunded - facts.refunding
            row.write(replace(facts, refunding=facts.refunding + wanted))
        else:
            wanted = amount or facts.authorized
            row.write(replace(facts, busy=kind))
        tried = self._store(row, kind, wanted, key, note)
        self.keys[key] = tried.operation.id
        return tried

    def attempt(self, tried: OperationRow, fault: str) -> tuple[OperationRow, int, ProviderOutcome]:
        """Claim an operation and call the provider; return the arguments for `settle`."""
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

    def settle(self, tried: OperationRow, claim: int, outcome: ProviderOutcome) -> None:
        """Commit an outcome, unless it is unknown, the operation is settled, or a later claim holds the lease."""
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
        row.write(
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
        """Return the response to a command as `order.gateway` reads it; None if it is refused now and retried later."""
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

    def told(self, row: PaymentRow) -> list[Mail]:
        """Return the events of a payment's settled operations, as its relay delivers them again."""
        settled = [tried for tried in self.operations.values() if tried.operation.payment_id == row.id]
        return [Mail(row.order_id, Answer(row.snapshot(), _outcome(tried))) for tried in settled]

    def unsettled(self) -> list[OperationRow]:
        """Return the operations without a known outcome."""
        return [tried for tried in self.operations.values() if tried.status is None]

    def _new(self, order_id: str, amount: int, method: str) -> PaymentRow:
        row = PaymentRow(
            f"p{next(self._numbers)}", order_id, amount, method, payments.Payment(payments.Status.PROCESSING)
        )
        row.history.append(row.facts.status)
        row.versions.append(1)
        self.rows[row.id] = row
        return row

    def _store(self, row: PaymentRow, kind: Kind, amount: int, key: str, note: str | None = None) -> OperationRow:
        operation_id = f"o{next(self._numbers)}"
        operation = Operation("demo", operation_id, row.id, kind, amount, CURRENCY, row.method, 0, "", note=note)
        self.operations[operation_id] = OperationRow(operation, key)
        return self.operations[operation_id]


def _outcome(tried: OperationRow) -> orders.Outcome | None:
    if tried.status is None:
        return None
    succeeded = tried.status is Result.SUCCEEDED
    return orders.Outcome(tried.key, succeeded, not succeeded, tried.reason)


@dataclass(slots=True, eq=False)
class Sent:
    """A row of the order service's outbox."""

    order_id: str
    message: Message
    attempts: int = 0
    claim: int = 0
    delivered: bool = False

    @property
    def id(self) -> str:
        """The message's id, which is its idempotency key at payment."""
        return self.message.id


class OrderRow:
    """The row of an order and its outbox rows. `order.transition` decides what follows from a change."""

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
        """The newest payment snapshot that the order has."""
        return self.facts.payment

    def cancel(self) -> str | None:
        """Cancel the order; return why it is refused, or None."""
        refused = refusals.cancel_refusal(self.facts)
        if refused is not None:
            return refused.detail
        withdrawn: frozenset[str] = frozenset()
        if self.facts.status is orders.Status.PENDING_PAYMENT:
            withdrawn = frozenset(sent.id for sent in self.outbox if not sent.delivered and sent.attempts == 0)
            self.outbox = [sent for sent in self.outbox if sent.id not in withdrawn]
        self.requests[Command.VOID] += 1
        self._apply(Cancel(withdrawn))
        return None

    def capture(self, amount: int | None) -> None:
        """Capture `amount` of an authorized order, or its total if it is None."""
        if refusals.refusal(self.facts, Command.CAPTURE, amount) is None:
            self.requests[Command.CAPTURE] += 1
            self._apply(Capture(amount))

    def pay_again(self, method: str) -> None:
        """Try another payment method after a payment has failed."""
        if refusals.refusal(self.facts, Command.CREATE) is None:
            self.requests[Command.CREATE] += 1
            self._apply(PayAgain(method))

    def refund(self, amount: int | None) -> None:
        """Refund `amount` of a paid order, or all that is left if it is None."""
        if refusals.refusal(self.facts, Command.REFUND, amount) is None:
            self.requests[Command.REFUND] += 1
            self._apply(Refund(self._new_id(), amount))

    def claim(self) -> Request | None:
        """Lease the oldest undelivered command; None if there is none."""
        for sent in self.outbox:
            if not sent.delivered:
                sent.attempts += 1
                sent.claim = next(self._numbers)
                return Request(sent, sent.claim)
        return None

    def receive(self, mail: Mail) -> None:
        """Apply what payment reports. A response is applied once, and only if its claim still holds the lease."""
        if mail.request is not None:
            sent = mail.request.sent
            if sent.delivered or sent.claim != mail.request.claim or sent not in self.outbox:
                return
            sent.delivered = True
        self._apply(mail.answer)

    def sweep(self) -> None:
        """Make the last command of a waiting order, and refunds without an outcome, due again."""
        waiting = self.facts.status in WAITING | {orders.Status.AUTHORIZED}
        again = {name for name, outcome in self.refunds.items() if outcome is None}
        if waiting and self.last is not None:
            again.add(self.last)
        for sent in self.outbox:
            if sent.id in again and sent.delivered:
                sent.delivered = False

    def commands(self, command: Command) -> int:
        """Return how many outbox rows the order has written with this command."""
        return sum(sent.message.command is command for sent in self.outbox)

    def _new_id(self) -> str:
        return f"c{next(self._numbers)}"

    def _apply(self, change: transition.Change) -> None:
        self._write(transition.apply(self.facts, change, self._new_id))

    def _write(self, steps: list[Step]) -> None:
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
                assert self.refunds[step.ended.id] is None, "a refund is settled once"
                self.refunds[step.ended.id] = step.ended
