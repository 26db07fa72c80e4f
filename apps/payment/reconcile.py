"""Comparing the payment database with the provider, operation by operation, in both directions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from chassis.cli.reconcile import Difference, Total
from chassis.postgres.database import Session
from payment import adopted, operations
from payment.adopted import Key, Known
from payment.model import Kind, Operation, Record, Result, Status
from payment.providers import Provider, ProviderFault, require_provider

_NO_ANSWER = "no answer"
_NOTHING = "nothing"
_STEP = 500
_NOT_VOIDED = (None, Status.AUTHORIZED, Status.CAPTURED)
_TOTALS = {Kind.SALE: "captured", Kind.CAPTURE: "captured", Kind.REFUND: "refunded"}


def differences(session: Session, provider: Provider, since: str, until: str) -> Iterator[Difference | Total]:
    """Yield the operations of a period that differ from the provider's records, then the sums per currency.

    The operations are those that were created or settled in the period (times in RFC 3339), and those that the provider
    has recorded in it. A difference is (operation id, kind, amount with currency, status here, status at the provider).
    """
    sums = _Sums()
    told, unnamed = _Told(), list[Record]()
    try:
        for record in provider.records(datetime.fromisoformat(since), datetime.fromisoformat(until)):
            if record.merchant is None or record.operation_id is None:
                unnamed.append(record)
            else:
                told.add(record)
    except ProviderFault as error:
        yield Difference(("provider", "records", "", "", f"{_NO_ANSWER}: {error}"), compared=False)
    yield from _made_elsewhere(session, unnamed, sums)
    for batch in adopted.in_steps(told.records(), _STEP):
        for record, known in zip(batch, adopted.find_known(session, batch), strict=True):
            yield from _compare(record, known, told.acts(record), sums)
    for operation, status in operations.find_between(session, since, until):
        if (operation.merchant, operation.id) not in told:
            yield from _look_up(provider, operation, status, sums)
    yield from sums.totals()


class _Sums:
    """The money moved in a period, by the records of payment and of the provider."""

    def __init__(self) -> None:
        self._here: Counter[tuple[str, str]] = Counter()
        self._there: Counter[tuple[str, str]] = Counter()

    def here(self, kind: Kind, amount: int, currency: str) -> None:
        """Add a succeeded operation of this database."""
        self._add(self._here, kind, amount, currency)

    def there(self, kind: Kind, amount: int, currency: str) -> None:
        """Add a succeeded operation of the provider."""
        self._add(self._there, kind, amount, currency)

    def totals(self) -> Iterator[Total]:
        """Yield the sums of each currency."""
        for name, currency in sorted(self._here.keys() | self._there.keys()):
            yield Total(name, currency, (self._here[name, currency], self._there[name, currency]))

    @staticmethod
    def _add(sums: Counter[tuple[str, str]], kind: Kind, amount: int, currency: str) -> None:
        if kind in _TOTALS:
            sums[_TOTALS[kind], currency] += amount


@dataclass(slots=True)
class _Entry:
    """The record of an operation that counts, and how often the provider has acted on it."""

    record: Record
    acts: int


class _Told:
    """What the provider has recorded in a period, by operation. It takes about 1 kB of memory per operation."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def add(self, record: Record) -> None:
        """Add a record. Of several of one operation, one that succeeded counts rather than one that was declined."""
        acts = int(record.outcome.result is not Result.DECLINED)
        entry = self._entries.setdefault(_key(record), _Entry(record, 0))
        if entry.record.outcome.result is Result.DECLINED:
            entry.record = record
        entry.acts += acts

    def records(self) -> Iterable[Record]:
        """Return one record of each operation."""
        return (entry.record for entry in self._entries.values())

    def acts(self, record: Record) -> int:
        """Return how often the provider has acted on the operation of a record."""
        return self._entries[_key(record)].acts


def _key(record: Record) -> Key:
    return record.merchant or "", record.operation_id or ""


def _compare(record: Record, known: Known, acts: int, sums: _Sums) -> Iterator[Difference]:
    status, theirs = known.status or _NOTHING, _status(record.outcome.result)
    if theirs == Result.SUCCEEDED:
        sums.there(record.kind, record.amount * acts, record.currency)
    amount, ours = f"{record.amount} {record.currency}", ""
    if known.content is not None:
        _, kind, stored, currency = known.content
        ours = f"{stored} {currency}"
        if status == Result.SUCCEEDED:
            sums.here(Kind(kind), stored, currency)
    if acts > 1:
        yield Difference((record.operation_id or "", record.kind, amount, status, f"{theirs} {acts} times"))
    elif ours and ours != amount:
        yield Difference((record.operation_id or "", record.kind, ours, f"{status} {ours}", f"{theirs} {amount}"))
    elif status != theirs:
        yield Difference((record.operation_id or "", record.kind, amount, status, theirs))


def _made_elsewhere(session: Session, records: list[Record], sums: _Sums) -> Iterator[Difference]:
    """Yield what no operation of this database stands for: it was made by hand, or its payment was lost."""
    known = adopted.find_known(session, [replace(record, operation_id=None) for record in records])
    for record, here in zip(records, known, strict=True):
        if record.kind is Kind.VOID and here.payment_status not in _NOT_VOIDED:
            continue  # the provider does not say which operation a void was; that operation is looked up
        if record.kind is Kind.CAPTURE and here.payment_status == Status.CAPTURED:
            continue  # it was made by hand, and then met by a capture of the same amount; that operation is looked up
        theirs = _status(record.outcome.result)
        if theirs == Result.SUCCEEDED:
            sums.there(record.kind, record.amount, record.currency)
        amount = f"{record.amount} {record.currency}"
        yield Difference((record.operation_id or record.charge or "", record.kind, amount, _NOTHING, theirs))


def _look_up(provider: Provider, operation: Operation, status: str, sums: _Sums) -> Iterator[Difference]:
    theirs = provider_status(provider, operation)
    if status == Result.SUCCEEDED:
        sums.here(operation.kind, operation.amount, operation.currency)
    if theirs == Result.SUCCEEDED:
        sums.there(operation.kind, operation.amount, operation.currency)
    # A provider need not have a record of an operation that it declined.
    if theirs != status and not (status == Result.DECLINED and theirs == _NOTHING):
        amount = f"{operation.amount} {operation.currency}"
        cells = (operation.id, str(operation.kind), amount, status, theirs)
        yield Difference(cells, compared=not theirs.startswith(_NO_ANSWER))


def provider_status(provider: Provider, operation: Operation) -> str:
    """Return the provider's status of an operation: "succeeded", "declined", "pending" if it is unknown, or "nothing".

    If the provider does not respond, the text begins with "no answer".
    """
    try:
        require_provider(operation, provider)
        outcome = provider.lookup(operation)
    except ProviderFault as error:
        return f"{_NO_ANSWER}: {error}"
    return _NOTHING if outcome is None else _status(outcome.result)


def _status(result: Result) -> str:
    return "pending" if result is Result.UNKNOWN else str(result)


def provider_account(session: Session, provider: Provider, merchant: str, payment_id: str) -> dict[str, int]:
    """Return the captured and refunded amounts of a payment by the provider's records.

    `missing` is the number of succeeded operations that the provider has no record of. `untold` is the number of others
    whose outcome the provider did not report: it did not respond, or the operation is pending.
    """
    sums = {"captured_amount": 0, "refunded_amount": 0, "untold": 0, "missing": 0}
    for operation, ours in operations.find_of_payment(session, merchant, payment_id):
        status = provider_status(provider, operation)
        if status == Result.SUCCEEDED and operation.kind in _TOTALS:
            sums[f"{_TOTALS[operation.kind]}_amount"] += operation.amount
        elif status == _NOTHING and ours == Result.SUCCEEDED:
            sums["missing"] += 1
        elif status not in (Result.SUCCEEDED, Result.DECLINED) and not (status == _NOTHING and ours == Result.DECLINED):
            sums["untold"] += 1
    return sums
