"""The payment service without its database: rows in memory, and the decisions of `payment.model`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

import payment.model as payments
from order import answers
from order.transition import Answer
from payment import ids
from payment.ids import What
from payment.model import Kind, Operation, Outcome, Refusal, Result
from tests.simulation.ids import MERCHANT, Ids
from tests.simulation.provider import Provider, Record, check

CURRENCY = "EUR"
RESYNC_STEP = 1000
"""How far apart the versions are that two restores give: more than a payment has versions of its own."""

_NEXT: dict[str, frozenset[str]] = {
    "processing": frozenset({"authorized", "captured", "failed"}),
    "authorized": frozenset({"captured", "voided", "expired"}),
}


class OperationRow:
    """The row of an operation. `claim` is the token of the lease, `key` the idempotency key of the request.

    `is_leased` is false when the lease has run out and nobody has claimed the operation since.
    """

    __slots__ = ("attempts", "claim", "is_leased", "key", "operation", "reason", "status")

    def __init__(self, operation: Operation, key: str, claim: int) -> None:
        self.operation, self.key, self.claim = operation, key, claim
        self.attempts, self.is_leased = 1, True
        self.status: Result | None = None
        self.reason: str | None = None

    def copy(self) -> OperationRow:
        """Return a copy for a backup."""
        row = OperationRow(self.operation, self.key, self.claim)
        row.attempts, row.is_leased = self.attempts, self.is_leased
        row.status, row.reason = self.status, self.reason
        return row


class PaymentRow:
    """The row of a payment."""

    __slots__ = ("amount", "facts", "failure_reason", "floor", "id", "method", "order_id", "version")

    def __init__(self, payment_id: str, order_id: str, amount: int, method: str) -> None:
        self.id, self.order_id, self.amount, self.method = payment_id, order_id, amount, method
        self.facts = payments.Payment(payments.Status.PROCESSING)
        self.version, self.floor = 1, 0
        self.failure_reason: str | None = None

    def copy(self) -> PaymentRow:
        """Return a copy for a backup."""
        row = PaymentRow(self.id, self.order_id, self.amount, self.method)
        row.facts, row.version, row.floor = self.facts, self.version, self.floor
        row.failure_reason = self.failure_reason
        return row

    def write(self, facts: payments.Payment) -> None:
        """Write the next version, and check it. Raises Broken."""
        before = self.facts
        self.facts = facts
        self.version = max(self.version + 1, self.floor)  # store.NEXT_VERSION
        legal = facts.status is before.status or facts.status in _NEXT.get(before.status, ())
        check(legal, f"a payment that was {before.status} became {facts.status}")
        within = 0 <= facts.refunded <= facts.refunded + facts.refunding <= facts.captured <= facts.authorized
        check(within and facts.refunding >= 0 and facts.authorized <= self.amount, f"amounts out of range: {facts}")

    def reserve_refund(self, amount: int) -> None:
        """Reserve an amount for a refund."""
        facts = self.facts
        self.write(replace(facts, refunding=facts.refunding + amount))

    def view(self) -> dict[str, Any]:
        """Return the payment as the API shows it, with the fields that order reads."""
        facts = self.facts
        return {
            "id": self.id,
            "order_id": self.order_id,
            "version": self.version,
            "status": str(facts.status),
            "amount": self.amount,
            "currency": CURRENCY,
            "captured_amount": facts.captured,
            "refunded_amount": facts.refunded,
            "refunding_amount": facts.refunding,
            "failure_reason": self.failure_reason,
        }


class EventRow:
    """A row of payment's outbox: a snapshot and an outcome for order."""

    __slots__ = ("answer", "delivered", "order_id")

    def __init__(self, order_id: str, answer: Answer, delivered: bool = False) -> None:
        self.order_id, self.answer, self.delivered = order_id, answer, delivered


class Backup:
    """The whole database of the payment service at some moment."""

    def __init__(self, side: PaymentSide) -> None:
        self.rows = {row.id: row.copy() for row in side.rows.values()}
        self.operations = {row.operation.id: row.copy() for row in side.operations.values()}
        self.keys = dict(side.keys)
        self.events = [EventRow(event.order_id, event.answer, event.delivered) for event in side.events]
        self.clearing = side.clearing


class PaymentSide:
    """Payments, operations, idempotency keys and events; each method is one transaction."""

    def __init__(self, new: Ids, provider: Provider) -> None:
        self.rows: dict[str, PaymentRow] = {}
        self.operations: dict[str, OperationRow] = {}
        self.keys: dict[str, str] = {}
        self.events: list[EventRow] = []
        self.told: list[EventRow] = []
        self.clearing = self.resyncs = 0
        self.begun: OperationRow | None = None
        self.payments_ever: dict[str, set[str]] = {}
        self.refunds_by_others: dict[str, set[str]] = {}
        self._new, self._provider = new, provider

    def create(self, key: str, order_id: str, amount: int, method: str, capture: str) -> PaymentRow:
        """Return the payment of the key, the order's live payment, or a new one; then `begun` is its operation."""
        payment_id = ids.derive(MERCHANT, key, What.PAYMENT)
        row = self.rows.get(self.keys.get(key, payment_id))
        if row is not None:
            return row
        live = [row for row in self.rows.values() if row.order_id == order_id and row.facts.status in payments.LIVE]
        if live:
            row = live[0]
        else:
            row = self.rows[payment_id] = PaymentRow(payment_id, order_id, amount, method)
            row.floor = self.resyncs * RESYNC_STEP  # the floor holds for payments that are created after a resync, too
            self.payments_ever.setdefault(order_id, set()).add(payment_id)
            operation_id = ids.derive(MERCHANT, key, What.OPERATION)
            self._store(operation_id, row, payments.opening(capture), amount, key)
        self.keys[key] = row.id
        return row

    def act(
        self, key: str, payment_id: str, kind: Kind, amount: int | None, *, final: bool = True
    ) -> OperationRow | Refusal | None:
        """Reserve the amount of a capture, void or refund, as `payment.reservations` does.

        Returns the operation (`begun` is the same if it is new), why it is refused, or None if there is no such
        payment.
        """
        operation_id = self.keys.get(key) or ids.derive(MERCHANT, key, What.OPERATION)
        done = self._reserve(operation_id, key, payment_id, kind, amount, final=final)
        if isinstance(done, OperationRow):
            self.keys[key] = operation_id
        return done

    def expire(self, payment_id: str) -> None:
        """Begin the void of an authorization that is too old, if nothing else is under way."""
        operation_id = ids.derive(MERCHANT, payment_id, What.EXPIRY)
        self._reserve(operation_id, f"expiry of {payment_id}", payment_id, Kind.VOID, None, payments.EXPIRED_NOTE)

    def _reserve(
        self,
        operation_id: str,
        key: str,
        payment_id: str,
        kind: Kind,
        amount: int | None,
        note: str | None = None,
        *,
        final: bool = True,
    ) -> OperationRow | Refusal | None:
        if operation_id in self.operations:
            return self.operations[operation_id]
        row = self.rows.get(payment_id)
        if row is None:
            return None
        facts = row.facts
        refusal = payments.refusal(facts, kind, amount)
        if refusal is not None:
            return refusal
        if kind is Kind.REFUND:
            wanted = amount or facts.captured - facts.refunded - facts.refunding
            row.reserve_refund(wanted)
        else:
            wanted = amount or facts.capturable
            row.write(replace(facts, busy=kind))
        final = kind is not Kind.CAPTURE or payments.is_final(facts, wanted, wanted=final)
        return self._store(operation_id, row, kind, wanted, key, note, final=final)

    def claim(self, tried: OperationRow) -> int:
        """Lease an operation that has no outcome; return the token of the lease."""
        tried.attempts, tried.is_leased = tried.attempts + 1, True
        tried.claim = self._new.number()
        return tried.claim

    def settle(self, operation_id: str, claim: int, outcome: Outcome, answered: bool) -> None:
        """Commit an outcome, unless it is unknown, the operation is settled, or the lease was lost.

        `answered` is true if the outcome goes to order by an answer: then there is an event of it only if an earlier
        one of the order waits, if the order has another payment, or if the lease has run out.
        """
        tried = self.operations.get(operation_id)
        if outcome.result is Result.UNKNOWN or tried is None or tried.status is not None or tried.claim != claim:
            return
        self._settle(tried, outcome)
        row = self.rows[tried.operation.payment_id]
        waits = any(not event.delivered for event in self.events if event.order_id == row.order_id)
        alone = all(other is row for other in self.rows.values() if other.order_id == row.order_id)
        if answered and alone and not waits and tried.is_leased:
            return
        succeeded = tried.status is Result.SUCCEEDED
        operation = {
            "idempotency_key": None if tried.operation.note == payments.EXPIRED_NOTE else tried.key,
            "status": "succeeded" if succeeded else "declined",
            "reason": tried.reason,
        }
        self.events.append(EventRow(row.order_id, answers.from_event({"data": row.view(), "operation": operation})))

    def unsettled(self) -> list[OperationRow]:
        """Return the operations without a known outcome."""
        return [tried for tried in self.operations.values() if tried.status is None]

    def purge(self) -> None:
        """Delete the keys that may be purged: those whose payment or operation has an outcome (store.OLD_KEYS)."""
        kept = {}
        for key, name in self.keys.items():
            tried, row = self.operations.get(name), self.rows.get(name)
            if tried is not None and row is None:
                row = self.rows[tried.operation.payment_id]
            is_open = tried is not None and tried.status is None
            waits = row is not None and (row.facts.status is payments.Status.PROCESSING or row.facts.busy is not None)
            if is_open or waits:
                kept[key] = name
        self.keys = kept

    def restore(self, backup: Backup) -> None:
        """Replace the database by an older one, then run the resync.

        The resync adopts what only the provider knows. It tells order again, under new versions, of payments that
        changed by that or are not final. All other payments get a new version with their next change.
        """
        self.rows = {row.id: row.copy() for row in backup.rows.values()}
        self.operations = {row.operation.id: row.copy() for row in backup.operations.values()}
        self.keys = dict(backup.keys)
        self.events = [EventRow(event.order_id, event.answer, event.delivered) for event in backup.events]
        self.clearing = backup.clearing
        self._raise_floor()
        adopted = {record.operation.payment_id for record in self._provider.books.values() if self._adopt(record)}
        self._tell([row for row in self.rows.values() if row.id in adopted or row.facts.status in _NEXT])

    def tell_all(self) -> None:
        """Run the resync after order was restored: write an event with each payment's snapshot and a new version."""
        self._raise_floor()
        before = len(self.events)
        self._tell(list(self.rows.values()))
        self.told = self.events[before:]

    @property
    def is_telling(self) -> bool:
        """Return whether order has not heard yet of every payment, although it was restored."""
        return any(not event.delivered for event in self.told)

    def _raise_floor(self) -> None:
        self.resyncs += 1  # not a part of the database: a restore does not undo it
        for row in self.rows.values():
            row.floor = self.resyncs * RESYNC_STEP

    def _tell(self, rows: list[PaymentRow]) -> None:
        for row in rows:
            row.version = max(row.version + 1, row.floor)
            self.events.append(EventRow(row.order_id, Answer(answers.snapshot(row.view()))))

    def _adopt(self, record: Record) -> bool:
        operation = record.operation
        tried = self.operations.get(operation.id)
        if tried is not None and tried.status is not None:
            return False
        row = self.rows.get(operation.payment_id)
        if row is None:
            row = PaymentRow(operation.payment_id, record.order_id, operation.amount, operation.payment_method)
            self.rows[row.id] = row
            row.floor = self.resyncs * RESYNC_STEP
        if tried is None:
            tried = self.operations[operation.id] = OperationRow(operation, record.key, 0)
            if operation.kind is Kind.REFUND:
                row.reserve_refund(operation.amount)
        self._settle(tried, record.outcome)
        return True

    def _settle(self, tried: OperationRow, outcome: Outcome) -> None:
        """Write what `payment.model.settle` decides, as the statement payment.settlements.settle does."""
        operation = tried.operation
        row = self.rows[operation.payment_id]
        facts = row.facts
        settlement = payments.settle(replace(operation, captured=facts.captured), outcome)
        tried.status, tried.reason = outcome.result, outcome.reason
        row.failure_reason = settlement.failure_reason or row.failure_reason
        balance = 0
        for entry in settlement.entries:
            signed = entry.amount if entry.direction == "debit" else -entry.amount
            balance += signed
            if entry.account == "provider_clearing":
                self.clearing += signed
        check(balance == 0, "the ledger entries of an operation do not balance")
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

    def _store(
        self,
        operation_id: str,
        row: PaymentRow,
        kind: Kind,
        amount: int,
        key: str,
        note: str | None = None,
        *,
        final: bool = True,
    ) -> OperationRow:
        operation = Operation(
            MERCHANT, operation_id, row.id, kind, amount, CURRENCY, row.method, 1, "", note=note, final=final
        )
        self.begun = self.operations[operation_id] = OperationRow(operation, key, self._new.number())
        return self.begun
