"""Adoption: what only the provider knows of a payment becomes a payment and operations here.

Payment's database forgets what was done after the moment to which it was restored. The provider does not. Its records
name the payment, the order and the operation, so the same rows are written again, with the same ids, amounts and ledger
entries, and order gets an event for each outcome. Nothing is requested from the provider but its records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
from msgspec.structs import replace

from chassis.messaging import leases
from chassis.postgres.database import Database, Session
from chassis.telemetry import logs
from payment import adopted, ids, model, operations, settlements, store
from payment.executor import count_settled
from payment.ids import What
from payment.model import EXPIRED_NOTE, Kind, Operation, Record, Result, Status
from payment.providers import Provider
from payment.settlements import Settled

log = logs.get_logger()

_OPENINGS = (Kind.SALE, Kind.AUTHORIZE)
_GONE = (Status.VOIDED, Status.EXPIRED)
_RANK = {Result.SUCCEEDED: 0, Result.UNKNOWN: 1, Result.DECLINED: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that was not adopted, and why."""

    payment_id: str | None
    operation_id: str | None
    charge: str | None
    text: str

    @classmethod
    def of(cls, record: Record, text: str) -> Finding:
        """Return the finding about a record."""
        return cls(record.payment_id, record.operation_id, record.charge, text)


@dataclass(slots=True)
class Adopted:
    """What was adopted: whether the payment was missing, how many operations were, and how many got their outcome."""

    payment: bool = False
    operations: int = 0
    settled: int = 0
    findings: list[Finding] = field(default_factory=list)


class Adoption:
    """Adopts payments from the records of one provider."""

    def __init__(
        self, database: Database, provider: Provider, lease: float, authorization: float, wake: Callable[[], None]
    ) -> None:
        """`wake` notifies the relay of new events. Times are in seconds."""
        self._database, self._provider, self._wake = database, provider, wake
        self._lease, self._authorization = lease, authorization

    def adopt(self, merchant: str, payment_id: str, at_hand: Sequence[Record] = ()) -> Adopted | None:
        """Adopt all that the provider has recorded for a payment. Repeating it changes nothing.

        `at_hand` are records of the payment that a search at the provider may not find yet. Returns None if the
        provider has no record of the payment. Raises ProviderFault.
        """
        records = self._provider.records_of(merchant, payment_id) or list(at_hand)
        return self._adopt(merchant, payment_id, records) if records else None

    def _adopt(self, merchant: str, payment_id: str, recorded: Sequence[Record]) -> Adopted:
        records, repeated = _one_each(recorded)
        try:
            with self._database.transaction() as session:
                found = _Payment(session, self._provider.name, merchant, payment_id, self._lease)
                if found.begin(records, self._authorization):
                    for record in records:
                        found.take_over(record)
        except (psycopg.errors.CheckViolation, psycopg.errors.UniqueViolation) as error:
            # The database's rules allow no such payment: nothing of it is adopted.
            text = str(error).splitlines()[0]
            return Adopted(findings=[Finding.of(records[0], f"contradicts this database: {text}")])
        for record in repeated:
            found.done.findings.append(Finding.of(record, "the provider acted more than once on this operation"))
        self._wake()
        log.warning(
            "payment_adopted",
            payment_id=payment_id,
            missing=found.done.payment,
            operations=found.done.operations,
            settled=found.done.settled,
            findings=len(found.done.findings),
        )
        return found.done

    def catch_up(self, merchant: str, payment_id: str, reference: str | None) -> bool:
        """Adopt what this database has forgotten of one of its payments; return whether anything was adopted.

        `reference` is the payment's provider reference. Raises ProviderFault.
        """
        records = self._provider.records_of(merchant, payment_id, reference)
        known = adopted.find_known(self._database.session(), records)
        # A void without an operation is left out: the provider itself may have voided an old authorization.
        if all(
            record.operation_id is None or adopted.is_known(record, here)
            for record, here in zip(records, known, strict=True)
        ):
            return False
        done = self._adopt(merchant, payment_id, records)
        return bool(done.operations or done.settled)


class _Payment:
    """One payment that is being adopted, in the caller's transaction."""

    def __init__(self, session: Session, provider: str, merchant: str, payment_id: str, lease: float) -> None:
        self.done = Adopted()
        self._session, self._provider, self._lease = session, provider, lease
        self._merchant, self._id = merchant, payment_id
        self._owner = leases.new_owner("adoption")
        self._is_ahead = False

    def begin(self, records: Sequence[Record], authorization: float) -> bool:
        """Lock the payment, or store it. Returns False if it cannot be stored."""
        adopted.lock_operations(self._session, self._merchant, self._id)
        if store.lock(self._session, self._merchant, self._id) is not None:
            return True
        openings = [each for each in records if each.kind in _OPENINGS and each.operation_id and each.order_id]
        if not openings:
            self._find(records[0], "names no order")
            return False
        opening = min(openings, key=lambda record: record.outcome.result is not Result.SUCCEEDED)
        operation = self._operation(opening, opening.operation_id or "")
        if adopted.insert(self._session, opening, operation, self._lease, authorization) is None:
            if store.lock(self._session, self._merchant, self._id) is not None:
                return True  # a concurrent request has just adopted it
            self._find(opening, "the order has another payment, which is live")
            return False
        self.done.payment = self._is_ahead = True
        self.done.operations += 1
        return True

    def take_over(self, record: Record) -> None:
        """Store and settle the operation of a record, unless this database has it with the same outcome."""
        operation_id = self._id_of(record)
        if operation_id is None:
            return
        known = operations.get(self._session, self._merchant, operation_id)
        wanted = self._operation(record, operation_id)
        if known is None:
            self._add(record, wanted)
            return
        stored, status = known
        if (stored.payment_id, stored.kind, stored.currency) != (self._id, record.kind, record.currency):
            self._find(record, f"here it is a {stored.kind} of payment {stored.payment_id} in {stored.currency}")
        elif status != "pending":
            self._compare(record, stored, status)
        elif record.outcome.result is not Result.UNKNOWN:
            self._be_ahead()
            adopted.take(self._session, wanted, self._lease)
            self._settle(record, replace(wanted, note=stored.note, captured=stored.captured))

    def _id_of(self, record: Record) -> str | None:
        """Return the id of a record's operation; None if there is nothing to adopt."""
        if record.operation_id is not None:
            return record.operation_id
        if record.kind is not Kind.VOID:
            self._find(record, "was made by hand at the provider")
            return None
        # The provider does not say which operation a void was: the one under way, or one that this database has lost.
        row = store.get(self._session, self._merchant, self._id)
        if row is None or row["status"] in _GONE:
            return None
        for operation, status in operations.find_of_payment(self._session, self._merchant, self._id):
            if operation.kind is Kind.VOID and status != Result.DECLINED:
                return operation.id if status == "pending" else None
        return ids.derive(self._merchant, self._id, What.RELEASE)

    def _add(self, record: Record, wanted: Operation) -> None:
        """Store an operation that this database does not have, and settle it if its outcome is known."""
        if record.kind in _OPENINGS:
            if record.outcome.result is not Result.DECLINED:
                self._find(record, "is another charge of the same payment")
            return
        self._be_ahead()
        row = store.get(self._session, self._merchant, self._id)
        wanted = replace(wanted, captured=row["captured_amount"] if row else 0)
        if operations.reserve(self._session, wanted, self._lease, None, None) is None:
            if record.outcome.result is not Result.DECLINED:  # a decline changed nothing
                self._find(record, "the payment does not allow it here")
            return
        self.done.operations += 1
        if record.outcome.result is not Result.UNKNOWN:  # otherwise the executor asks for the outcome
            self._settle(record, wanted)

    def _settle(self, record: Record, operation: Operation) -> None:
        settlement = model.settle(operation, record.outcome)
        settled = Settled(operation, record.outcome, settlement)
        if settlements.settle(self._session, [settled]):
            self.done.settled += 1
            count_settled([settled])

    def _compare(self, record: Record, stored: Operation, status: str) -> None:
        if record.outcome.result is not Result.UNKNOWN and record.outcome.result != status:
            self._find(record, f"here it is {status}, at the provider {record.outcome.result}")
        elif record.amount != stored.amount:
            self._find(record, f"here it is {stored.amount}, at the provider {record.amount} {record.currency}")

    def _be_ahead(self) -> None:
        if not self._is_ahead:
            adopted.advance_version(self._session, self._merchant, self._id)
            self._is_ahead = True

    def _operation(self, record: Record, operation_id: str) -> Operation:
        expires = operation_id == ids.derive(self._merchant, self._id, What.EXPIRY)
        return Operation(
            self._merchant,
            operation_id,
            self._id,
            record.kind,
            record.amount,
            record.currency,
            record.payment_method or "unknown",
            1,
            self._owner,
            record.charge,
            EXPIRED_NOTE if expires else None,
            provider=self._provider,
            order_id=record.order_id,
            final=record.final,
        )

    def _find(self, record: Record, text: str) -> None:
        self.done.findings.append(Finding.of(record, text))


def _one_each(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Return one record of each operation, in their order, and those that show that the provider acted again.

    Of several records of an operation, the first that succeeded counts. An attempt that was declined moved no money.
    """
    chosen: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (_RANK[record.outcome.result], record.at)):
        if record.operation_id is not None:
            chosen.setdefault(record.operation_id, record)
    kept = [each for each in records if each.operation_id is None or chosen[each.operation_id] is each]
    others = [each for each in records if each not in kept and each.outcome.result is not Result.DECLINED]
    return sorted(kept, key=lambda record: record.order), others
