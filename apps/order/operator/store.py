"""SQL queries of the operator's page. They cover all merchants and limit their number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import LiteralString

from chassis.messaging import leases
from chassis.messaging.outbox import WAITING
from chassis.postgres.database import Row, Session
from chassis.telemetry.metrics import COUNT_LIMIT
from order.store.waiting import MERCHANTS, WAITS

# A loose index scan over the primary key: one index lookup per merchant, however many orders each has.
_MERCHANTS: LiteralString = """
found AS (
    (SELECT merchant FROM orders ORDER BY merchant LIMIT 1)
    UNION ALL
    SELECT (SELECT o.merchant FROM orders o WHERE o.merchant > f.merchant ORDER BY o.merchant LIMIT 1)
    FROM found f WHERE f.merchant IS NOT NULL),
merchants AS (SELECT merchant FROM found WHERE merchant IS NOT NULL)"""


def merchants(session: Session, after: str, limit: int) -> list[str]:
    """Return up to `limit` names of merchants that have orders, sorted, starting after the name `after`."""
    rows = session.execute(
        f"WITH RECURSIVE {_MERCHANTS} SELECT merchant FROM merchants WHERE merchant > %s ORDER BY merchant LIMIT %s",
        (after, limit),
    )
    return [row["merchant"] for row in rows]


def newest(
    session: Session, merchant: str | None, statuses: Sequence[str], after: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """Return up to `limit` + 1 orders, newest first, with one of `statuses`, of one merchant or of all (None).

    `after` is the creation time and id of the last order of the page before. The query reads the newest orders of each
    merchant and status from the index of the API's lists, and merges them.
    """
    chosen = "merchants AS (SELECT %(merchant)s::text AS merchant)" if merchant is not None else _MERCHANTS
    older = "AND (created_at, id) < (%(at)s, %(id)s)" if after else ""
    at, last_id = after or (None, None)
    return session.execute(
        f"""WITH RECURSIVE {chosen},
            page AS MATERIALIZED (
                SELECT merchants.merchant, these.* FROM merchants
                CROSS JOIN unnest(%(statuses)s::text[]) AS wanted(status)
                CROSS JOIN LATERAL (
                    SELECT id, created_at FROM orders
                    WHERE merchant = merchants.merchant AND status = wanted.status {older}
                    ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1) these
                ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1)
            SELECT {ORDER} FROM page JOIN orders o ON o.merchant = page.merchant AND o.id = page.id
            ORDER BY page.created_at DESC, page.id DESC""",
        {"merchant": merchant, "statuses": list(statuses), "at": at, "id": last_id, "limit": limit},
        prepare=False,
    ).fetchall()


def filtered(
    session: Session,
    wanted: Mapping[str, str],
    merchant: str | None,
    statuses: Sequence[str],
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Return orders like `newest`, but only those with the `customer` or the `reference` in `wanted`, or with both.

    At least one of them is not empty. They are found with the index of a customer's orders or of references.
    """
    chosen = "merchants AS (SELECT %(merchant)s::text AS merchant)" if merchant is not None else _MERCHANTS
    only = " AND ".join(condition for name, condition in _FILTERS.items() if wanted[name])
    older = "AND (created_at, id) < (%(at)s, %(id)s)" if after else ""
    at, last_id = after or (None, None)
    return session.execute(
        f"""WITH RECURSIVE {chosen}
            SELECT {ORDER} FROM merchants CROSS JOIN LATERAL (
                SELECT * FROM orders
                WHERE orders.merchant = merchants.merchant AND {only}
                AND status = ANY(%(statuses)s) {older}
                ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1) o
            ORDER BY o.created_at DESC, o.id DESC LIMIT %(limit)s + 1""",
        {
            "customer": wanted["customer"],
            "reference": wanted["reference"],
            "merchant": merchant,
            "statuses": list(statuses),
            "at": at,
            "id": last_id,
            "limit": limit,
        },
        prepare=False,
    ).fetchall()


_FILTERS: dict[str, LiteralString] = {
    "customer": "orders.customer = %(customer)s",
    "reference": "orders.reference = %(reference)s",
}

ORDER: LiteralString = """o.merchant, o.id, o.status, o.currency, o.total_amount, o.paid_amount, o.refunded_amount,
    o.customer, o.reference, o.payment_method,
    COALESCE(o.failure_reason, o.payment->>'failure_reason') AS failure_reason, o.created_at, o.updated_at,
    extract(epoch FROM now() - o.created_at)::float8 AS age,
    extract(epoch FROM now() - o.updated_at)::float8 AS unchanged"""
"""The columns of an order `o` that the pages show."""


def by_id(session: Session, order_id: str) -> list[Row]:
    """Return the orders with this id: at most one per merchant, so normally only one."""
    return session.execute(
        f"""WITH RECURSIVE {_MERCHANTS} SELECT {ORDER} FROM merchants
            JOIN orders o ON o.merchant = merchants.merchant AND o.id = %s ORDER BY o.created_at DESC LIMIT 100""",
        (order_id,),
    ).fetchall()


def placed_in_last_day(session: Session, statuses: Sequence[str]) -> list[Row]:
    """Count the orders of the last 24 hours by status: at most metrics.COUNT_LIMIT per merchant and status."""
    return session.execute(
        f"""WITH RECURSIVE {_MERCHANTS}
            SELECT wanted.status, (
                SELECT COALESCE(sum(counted.number), 0)::bigint FROM merchants CROSS JOIN LATERAL (
                    SELECT count(*) AS number FROM (
                        SELECT FROM orders WHERE merchant = merchants.merchant AND status = wanted.status
                        AND created_at > now() - interval '1 day' LIMIT %(most)s) these) counted) AS count
            FROM unnest(%(statuses)s::text[]) WITH ORDINALITY AS wanted(status, place) ORDER BY wanted.place""",
        {"most": COUNT_LIMIT, "statuses": list(statuses)},
        prepare=False,
    ).fetchall()


def waiting_longest(session: Session, limit: int) -> list[Row]:
    """Return orders whose payment or cancellation is in progress, longest unchanged first."""
    return session.execute(
        f"""WITH RECURSIVE {MERCHANTS}
            SELECT {ORDER} FROM found CROSS JOIN unnest('{{pending_payment,canceling}}'::text[]) AS wait(status)
            CROSS JOIN LATERAL (
                SELECT * FROM orders
                WHERE orders.merchant = found.merchant AND orders.status = wait.status AND {WAITS}
                ORDER BY updated_at LIMIT %(limit)s) o
            ORDER BY updated_at LIMIT %(limit)s""",
        {"limit": limit},
    ).fetchall()


def refunds_pending(session: Session, limit: int) -> list[Row]:
    """Return refunds without a known outcome, oldest first."""
    return session.execute(
        f"""WITH RECURSIVE {leases.merchants("refunds", "refunds.status = 'pending'")}
            SELECT r.merchant, r.id, r.order_id, r.amount, r.currency, r.created_at,
                   extract(epoch FROM now() - r.created_at)::float8 AS age
            FROM found CROSS JOIN LATERAL (
                SELECT * FROM refunds WHERE refunds.merchant = found.merchant AND refunds.status = 'pending'
                ORDER BY created_at LIMIT %(limit)s) r
            ORDER BY r.created_at LIMIT %(limit)s""",
        {"limit": limit},
    ).fetchall()


def topics(session: Session) -> list[Row]:
    """Return the undelivered outbox rows per topic: count, age of the oldest in seconds, most attempts, failed rows."""
    return session.execute(
        f"""WITH RECURSIVE {WAITING}
            SELECT topic, count(*) AS count, extract(epoch FROM now() - min(created_at))::float8 AS oldest,
                   max(attempts) AS attempts, count(last_error) AS failing
            FROM waiting GROUP BY topic ORDER BY topic""",
        {"most": COUNT_LIMIT},
    ).fetchall()


def undelivered(session: Session, limit: int, *, failing: bool = False) -> list[Row]:
    """Return undelivered outbox rows, oldest first. `failing`: only rows whose last attempt failed.

    They are chosen from the rows of each merchant that are due first, metrics.COUNT_LIMIT in all.
    """
    only: LiteralString = "WHERE last_error IS NOT NULL" if failing else ""
    return session.execute(
        f"""WITH RECURSIVE {WAITING}
            SELECT id, merchant, aggregate_id, topic, attempts, last_error, created_at, available_at,
                   extract(epoch FROM now() - created_at)::float8 AS age,
                   GREATEST(extract(epoch FROM available_at - now()), 0)::float8 AS again_in,
                   COALESCE(leased_until > now(), false) AS leased
            FROM waiting {only} ORDER BY created_at LIMIT %(limit)s""",
        {"most": COUNT_LIMIT, "limit": limit},
    ).fetchall()


def webhooks_pending(session: Session, limit: int) -> list[Row]:
    """Return the pending deliveries per endpoint: count, age of the oldest in seconds, most attempts, one error."""
    return session.execute(
        """SELECT merchant, endpoint_id, count(*) AS count, max(attempts) AS attempts, max(last_error) AS last_error,
                  extract(epoch FROM now() - min(trying_since))::float8 AS oldest
           FROM (SELECT merchant, endpoint_id, attempts, last_error, trying_since FROM webhook_deliveries
                 WHERE status = 'pending' ORDER BY trying_since LIMIT %s) AS waiting
           GROUP BY merchant, endpoint_id ORDER BY oldest DESC LIMIT %s""",
        (COUNT_LIMIT, limit),
    ).fetchall()


def newest_event(session: Session) -> Row | None:
    """Return the position of the newest event, its age in seconds, and whether the feed shows it; None without events.

    See feed.store for what a position is.
    """
    return session.one(
        f"""WITH RECURSIVE {_MERCHANTS}
            SELECT n.position, extract(epoch FROM now() - n.at)::float8 AS age,
                   n.position < order_events_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS shown
            FROM merchants CROSS JOIN LATERAL (
                SELECT position, at FROM order_events
                WHERE order_events.merchant = merchants.merchant AND position IS NOT NULL
                ORDER BY position DESC LIMIT 1) n
            ORDER BY n.position DESC LIMIT 1""",
    )
