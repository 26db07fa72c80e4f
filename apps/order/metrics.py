"""The order service's own metrics, in addition to those that every service has."""

from __future__ import annotations

from chassis.postgres.database import Session
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges, Samples
from order.store import orphans, waiting


def add_gauges(gauges: DatabaseGauges) -> None:
    """Add the gauges of orders and refunds that wait for an outcome, and of payments without an order."""

    def orders(session: Session) -> Samples:
        return [((row["status"],), (row["count"], row["oldest"])) for row in waiting.by_status(session)]

    def refunds(session: Session) -> Samples:
        row = waiting.refunds(session)
        return [((), (row["count"], row["oldest"]))] if row else []

    def orphan_payments(session: Session) -> Samples:
        row = orphans.count(session)
        return [((), (row["count"], row["oldest"]))] if row else []

    def orphans_held(session: Session) -> Samples:
        return [((row["currency"],), (row["held"],)) for row in orphans.held(session)]

    gauges.add(
        {
            "orders_waiting": f"Orders that wait for a payment, a capture or a cancel, counted up to {COUNT_LIMIT:,}.",
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
    gauges.add(
        {
            "orphan_payments": f"Payments that hold or may hold money, without an order; {COUNT_LIMIT:,} at most.",
            "orphan_payments_oldest_seconds": "Seconds since the oldest of them became known.",
        },
        (),
        orphan_payments,
    )
    gauges.add(
        {"orphan_payments_held_minor_units": "What they hold or may hold, in minor units."}, ("currency",), orphans_held
    )
