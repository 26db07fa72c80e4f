"""The order service's own metrics, in addition to those that every service has."""

from __future__ import annotations

from chassis.postgres.database import Session
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges, Samples
from order.store import waiting


def add_gauges(gauges: DatabaseGauges) -> None:
    """Add the gauges of orders and refunds that wait for an outcome."""

    def orders(session: Session) -> Samples:
        return [((row["status"],), (row["count"], row["oldest"])) for row in waiting.by_status(session)]

    def refunds(session: Session) -> Samples:
        row = waiting.refunds(session)
        return [((), (row["count"], row["oldest"]))] if row else []

    gauges.add(
        {
            "orders_waiting": f"Orders that wait for a payment, a capture or a cancel, of the oldest {COUNT_LIMIT:,}.",
            "orders_oldest_seconds": "Seconds since the last change of the order that waits longest.",
        },
        ("status",),
        orders,
    )
    gauges.add(
        {
            "refunds_pending": "Refunds without a known outcome.",
            "refunds_oldest_seconds": "Age of the oldest of them.",
        },
        (),
        refunds,
    )
