"""Orphans: payments that name an order which does not exist here, and that hold or may hold money.

The newest snapshot of each payment of a missing order is kept. A payment is listed while it holds or may hold money
and its order is missing, so a row that is no longer an orphan never shows, even before it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

from msgspec.structs import asdict

from chassis.messaging import leases
from chassis.postgres.database import Row, Session
from chassis.telemetry.metrics import COUNT_LIMIT
from order.model import Payment

# The condition of the index orphan_payments_holding.
_HOLDING = "(status IN ('processing', 'authorized') OR captured_amount > refunded_amount)"

_NO_ORDER = (
    "NOT EXISTS (SELECT FROM orders o WHERE o.merchant = orphan_payments.merchant AND o.id = orphan_payments.order_id)"
)

_HELD = "CASE WHEN status IN ('processing', 'authorized') THEN amount ELSE captured_amount - refunded_amount END"

OLD_ROWS = f"last_seen_at < now() - make_interval(days => %s) AND (NOT {_HOLDING} OR NOT {_NO_ORDER})"
"""SQL condition for the rows that the purge deletes: not an orphan any more. Takes the days."""

_KEEP = """
INSERT INTO orphan_payments AS known (merchant, payment_id, order_id, status, currency, amount, captured_amount,
                                      refunded_amount, refunding_amount, failure_reason, version)
VALUES (%(merchant)s, %(id)s, %(order_id)s, %(status)s, %(currency)s, %(amount)s, %(captured_amount)s,
        %(refunded_amount)s, %(refunding_amount)s, %(failure_reason)s, %(version)s)
ON CONFLICT (merchant, payment_id) DO UPDATE SET status = EXCLUDED.status, currency = EXCLUDED.currency,
    amount = EXCLUDED.amount, captured_amount = EXCLUDED.captured_amount, refunded_amount = EXCLUDED.refunded_amount,
    refunding_amount = EXCLUDED.refunding_amount, failure_reason = EXCLUDED.failure_reason, version = EXCLUDED.version,
    last_seen_at = clock_timestamp()
WHERE known.version < EXCLUDED.version
"""

_PAYMENT = """payment_id::text AS id, version, status, amount, currency, captured_amount, refunded_amount,
    refunding_amount, failure_reason"""


def keep(session: Session, merchant: str, order_id: str, payment: Payment) -> None:
    """Store a snapshot of a payment of a missing order. A duplicate or late snapshot changes nothing."""
    session.execute(_KEEP, {"merchant": merchant, "order_id": order_id, **asdict(payment)})


def find(session: Session, limit: int, after: Row | None = None, *, ended: bool = False) -> list[Row]:
    """Return up to `limit` orphans, longest known first.

    Each has merchant, payment_id, order_id, status, currency, amount, captured_amount, refunded_amount,
    refunding_amount, `declines` (of requests to return its money), `held` (what it holds or may hold, in minor units),
    first_seen_at, last_seen_at and age (seconds).
    The list continues after the row `after`. With `ended`, payments of missing orders are included that hold no money
    any more.
    """
    named: dict[str, Any] = {"limit": limit}
    conditions: LiteralString = _NO_ORDER if ended else f"{_NO_ORDER} AND {_HOLDING}"
    if after is not None:
        conditions += " AND (first_seen_at, merchant, payment_id) > (%(at)s, %(merchant)s, %(payment)s)"
        named |= {"at": after["first_seen_at"], "merchant": after["merchant"], "payment": after["payment_id"]}
    return session.execute(
        f"""SELECT merchant, payment_id, order_id, status, currency, amount, captured_amount, refunded_amount,
                   refunding_amount, declines, CASE WHEN {_HOLDING} THEN {_HELD} ELSE 0 END AS held,
                   first_seen_at, last_seen_at, extract(epoch FROM now() - first_seen_at)::float8 AS age
            FROM orphan_payments WHERE {conditions}
            ORDER BY first_seen_at, merchant, payment_id LIMIT %(limit)s""",
        named,
        prepare=False,
    ).fetchall()


def each(session: Session, *, ended: bool = False) -> Iterator[Row]:
    """Yield all orphans as `find` returns them, read in steps."""
    rows = find(session, 500, ended=ended)
    while rows:
        yield from rows
        rows = find(session, 500, rows[-1], ended=ended)


def line(row: Row) -> str:
    """Return an orphan as a line of text."""
    return (
        f"payment {row['payment_id']}  order {row['order_id']}  {row['merchant']}  {row['status']}"
        f"  holds {row['held']} {row['currency']}  since {row['first_seen_at']:%Y-%m-%d %H:%M:%S} UTC"
    )


def count(session: Session) -> Row | None:
    """Return `count`, the number of orphans (COUNT_LIMIT at most), and `oldest`, the age of the oldest in seconds."""
    return session.one(
        f"""SELECT count(*)::float8 AS count,
                   COALESCE(extract(epoch FROM now() - min(first_seen_at)), 0)::float8 AS oldest
            FROM (SELECT first_seen_at FROM orphan_payments WHERE {_HOLDING} AND {_NO_ORDER}
                  ORDER BY first_seen_at LIMIT {COUNT_LIMIT}) AS those"""
    )


def held(session: Session) -> list[Row]:
    """Return what orphans hold or may hold by currency: `currency`, `held` in minor units (oldest COUNT_LIMIT)."""
    return session.execute(
        f"""SELECT currency, sum(held)::float8 AS held
            FROM (SELECT currency, {_HELD} AS held FROM orphan_payments WHERE {_HOLDING} AND {_NO_ORDER}
                  ORDER BY first_seen_at LIMIT {COUNT_LIMIT}) AS those
            GROUP BY currency"""
    ).fetchall()


def of_order(session: Session, merchant: str, order_id: str) -> list[Payment]:
    """Return the kept snapshots of payments that name an order, those that ended without money first."""
    rows = session.execute(
        f"""SELECT {_PAYMENT} FROM orphan_payments WHERE merchant = %s AND order_id = %s
            ORDER BY {_HOLDING}, first_seen_at""",
        (merchant, order_id),
    )
    return [Payment(**row) for row in rows]


def count_decline(session: Session, merchant: str, payment_id: str, declines: int) -> None:
    """Count a declined request to return an orphan's money. `declines` is the count under which it was made."""
    session.execute(
        """UPDATE orphan_payments SET declines = declines + 1
           WHERE merchant = %s AND payment_id = %s AND declines = %s""",
        (merchant, payment_id, declines),
    )


def delete(session: Session, merchant: str, payment_id: str) -> None:
    """Delete the snapshot of a payment that does not exist any more."""
    session.execute("DELETE FROM orphan_payments WHERE merchant = %s AND payment_id = %s", (merchant, payment_id))


def delete_of_order(session: Session, merchant: str, order_id: str) -> None:
    """Delete the snapshots of payments that name an order."""
    session.execute("DELETE FROM orphan_payments WHERE merchant = %s AND order_id = %s", (merchant, order_id))


def with_order(session: Session, limit: int) -> list[Row]:
    """Return merchant and order_id of the newest `limit` payments that hold money, if their order exists now.

    Each merchant has an equal part of the limit, and at least 10 payments, so many orphans of one merchant do not hide
    those of another. A process that crashes between the commit of an order and the transfer of its payment leaves such
    a row.
    """
    return session.execute(
        f"""WITH RECURSIVE {leases.merchants("orphan_payments", _HOLDING)}
            SELECT DISTINCT orphan_payments.merchant, orphan_payments.order_id
            FROM found CROSS JOIN LATERAL (
                SELECT merchant, order_id FROM orphan_payments
                WHERE orphan_payments.merchant = found.merchant AND {_HOLDING}
                ORDER BY first_seen_at DESC LIMIT GREATEST(%s / (SELECT count(*) FROM found), 10)) AS orphan_payments
            WHERE NOT {_NO_ORDER}""",
        (limit,),
        prepare=False,
    ).fetchall()
