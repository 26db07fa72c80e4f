"""Catching up after payment's database was restored from an older copy, or when order missed events.

First, what only the provider knows is adopted. Then order is told again of every payment that changed. Both may be
stopped and repeated at any time: adoption finds nothing more to do, and order ignores what it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chassis.postgres.database import Database
from payment import adopted
from payment.adoption import Adoption, Finding
from payment.model import Record
from payment.providers import Provider, ProviderFault

MARGIN = timedelta(hours=1)
"""How far before `since` the provider's records are read: its clock may differ, and a settlement may come late."""

TELLING = timedelta(minutes=5)
"""How much earlier than `since` a payment may have changed or have been told: clocks differ, commits take time."""

STEP = 200
"""How many records are compared, and how many payments are told, in one statement."""


@dataclass(slots=True)
class Report:
    """What a run has done so far."""

    records: int = 0
    payments: int = 0
    operations: int = 0
    settled: int = 0
    told: int = 0
    findings: list[Finding] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Why the provider's records could not be read. The command has to be repeated."""


class Resync:
    """Catches up with one provider, and order with this database."""

    def __init__(
        self, database: Database, reading: Database, provider: Provider, adoption: Adoption, wake: Callable[[], None]
    ) -> None:
        """`reading` is the same database over another connection. `wake` notifies the relay of new events."""
        self._database, self._reading, self._provider = database, reading, provider
        self._adoption, self._wake = adoption, wake

    def run(self, since: datetime, until: datetime) -> Iterator[Report]:
        """Adopt what the provider has recorded from `since` to `until`, then tell order again what it may have lost.

        Yields the report after each step; it is the same object each time.
        """
        report = Report()
        adopted.raise_floor(self._database.session())
        for batch in adopted.in_steps(self._records(since - MARGIN, until, report), STEP):
            self._adopt(batch, report)
            yield report
        for keys in adopted.find_changed(self._reading.session(), since - TELLING, STEP):
            report.told += adopted.tell_again(self._database.session(), keys, since - TELLING)
            self._wake()
            yield report
        yield report

    def _records(self, since: datetime, until: datetime, report: Report) -> Iterator[Record]:
        try:
            yield from self._provider.records(since, until)
        except ProviderFault as error:
            report.faults.append(str(error))

    def _adopt(self, records: Sequence[Record], report: Report) -> None:
        report.records += len(records)
        missing: dict[tuple[str, str], list[Record]] = {}
        for record, known in zip(records, adopted.find_known(self._database.session(), records), strict=True):
            if adopted.is_known(record, known):
                continue
            if record.merchant is None or record.payment_id is None:
                report.findings.append(Finding.of(record, "names no payment of Tandem"))
                continue
            missing.setdefault((record.merchant, record.payment_id), []).append(record)
        for (merchant, payment_id), at_hand in missing.items():
            try:
                done = self._adoption.adopt(merchant, payment_id, at_hand)
            except ProviderFault as error:
                report.faults.append(f"payment {payment_id}: {error}")
                continue
            if done is not None:
                report.payments += done.payment
                report.operations += done.operations
                report.settled += done.settled
                report.findings += [each for each in done.findings if each not in report.findings]
