"""What `reconcile` reads: the orders that changed in a period, and the merchants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from chassis.messaging import leases
from chassis.postgres.database import Row, Session

STEP = timedelta(minutes=10)
"""The part of the period that one query reads. It doubles while nothing is found."""

_ORDER = (
    "o.merchant, o.id, o.status, o.currency, o.total_amount, o.paid_amount, o.refunded_amount, o.payment, o.version"
)

_MERCHANTS = f"""
WITH RECURSIVE {leases.merchants("orders", "true")}, {leases.merchants("orphan_payments", "true", "orphaned")}
SELECT merchant FROM found UNION SELECT merchant FROM orphaned ORDER BY merchant
"""

# An order is read with its last change in the period, so that it is read once.
_CHANGED = f"""
SELECT {_ORDER} FROM order_events e JOIN orders o ON o.merchant = e.merchant AND o.id = e.order_id
WHERE e.at >= %(begin)s AND e.at < %(end)s AND NOT EXISTS (
    SELECT FROM order_events later WHERE later.merchant = e.merchant AND later.order_id = e.order_id
    AND later.version > e.version AND later.at < %(until)s)
ORDER BY e.at
"""


def changed(session: Session, since: datetime, until: datetime) -> Iterator[Row]:
    """Yield the orders that changed in a period, as they are now: merchant, id, status, amounts, payment, version.

    No transaction stays open between two rows, because the caller waits for other systems then.
    """
    begin, step = since, STEP
    while begin < until:
        end = min(begin + step, until)
        rows = session.execute(_CHANGED, {"begin": begin, "end": end, "until": until}, prepare=False).fetchall()
        yield from rows
        begin, step = end, STEP if rows else step * 2


def get(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return one order with the columns of `changed`, or None."""
    return session.one(f"SELECT {_ORDER} FROM orders o WHERE merchant = %s AND id = %s", (merchant, order_id))


def merchants(session: Session) -> list[str]:
    """Return the names of all merchants that have orders, or payments without an order."""
    return [row["merchant"] for row in session.execute(_MERCHANTS).fetchall()]
