"""The payment service's own metrics, in addition to those that every service has."""

from __future__ import annotations

from chassis.postgres.database import Session
from chassis.telemetry import metrics
from payment import operations as queue
from payment.providers import ChangeKind

provider_seconds = metrics.latency("provider_call_seconds", "Time of one call to the provider.", ["kind", "outcome"])
operations = metrics.counter("operations_total", "Operations settled with the provider.", ["kind", "result"])
money = metrics.counter("money_minor_units_total", "Money moved, in minor units.", ["kind", "currency"])
ledger = metrics.counter(
    "ledger_minor_units_total", "Entries made, in minor units.", ["account", "direction", "currency"]
)
provider_changes = metrics.counter(
    "provider_changes_total", "Changes of settled money at the provider, by its events.", ["kind"]
)


def add_gauges(gauges: metrics.DatabaseGauges) -> None:
    """Add the gauges of operations without a known outcome, and begin the counters of rare changes at 0.

    An alert compares a counter with what it was: one that begins with its first change would show none.
    """
    for kind in ChangeKind:
        provider_changes.labels(kind)

    def operations(session: Session) -> metrics.Samples:
        row = queue.pending(session)
        return [((), (row["count"], row["oldest"]))] if row else []

    help_texts = {
        "operations_pending": "Operations without a known outcome.",
        "operations_oldest_seconds": "Age of the oldest of them.",
    }
    gauges.add(help_texts, (), operations)
