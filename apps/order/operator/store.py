"""SQL queries of the operator's page. They cover all merchants and limit their number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

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
            SELECT {_ORDER} FROM page JOIN orders o ON o.merchant = page.merchant AND o.id = page.id
            ORDER BY page.created_at DESC, page.id DESC""",
        {"merchant": merchant, "statuses": list(statuses), "at": at, "id": last_id, "limit": limit},
        prepare=False,
    ).fetchall()


_ORDER: LiteralString = """o.merchant, o.id, o.status, o.currency, o.total_amount, o.paid_amount, o.refunded_amount,
    o.customer, o.payment_method, COALESCE(o.failure_reason, o.payment->>'failure_reason') AS failure_reason,
    o.created_at, o.updated_at, extract(epoch FROM now() - o.created_at)::float8 AS age,
    extract(epoch FROM now() - o.updated_at)::float8 AS unchanged"""


def by_id(session: Session, order_id: str) -> list[Row]:
    """Return the orders with this id: at most one per merchant, so normally only one."""
    return session.execute(
        f"""WITH RECURSIVE {_MERCHANTS} SELECT {_ORDER} FROM merchants
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
            SELECT {_ORDER} FROM found CROSS JOIN unnest('{{pending_payment,canceling}}'::text[]) AS wait(status)
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


def order(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return an order with its lines and its payment as the order service knows it, or None."""
    return session.one(
        f"""SELECT {_ORDER}, o.refunding_amount, o.capture, o.items, o.metadata, o.payment, o.version,
                   o.last_error->>'detail' AS last_error, (o.last_error->>'at')::timestamptz AS last_error_at
            FROM orders o WHERE merchant = %s AND id = %s""",
        (merchant, order_id),
    )


def events(session: Session, merchant: str, order_id: str, limit: int) -> list[Row]:
    """Return an order's events, oldest first."""
    return session.execute(
        """SELECT version, type, from_status, to_status, actor, data, at FROM order_events
           WHERE merchant = %s AND order_id = %s ORDER BY version LIMIT %s""",
        (merchant, order_id, limit),
    ).fetchall()


def refunds(session: Session, merchant: str, order_id: str) -> list[Row]:
    """Return an order's refunds, oldest first."""
    return session.execute(
        """SELECT id, status, amount, currency, reason, failure_reason, created_at FROM refunds
           WHERE merchant = %s AND order_id = %s ORDER BY created_at""",
        (merchant, order_id),
    ).fetchall()


_MARGIN = timedelta(seconds=2)


def time_windows(times: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Return sorted windows of 2 seconds before and after each time. Overlapping windows are merged."""
    windows: list[tuple[datetime, datetime]] = []
    for time in sorted(times):
        begin, end = time - _MARGIN, time + _MARGIN
        if windows and begin <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((begin, end))
    return windows


def commands(session: Session, merchant: str, order_id: str, windows: Sequence[tuple[datetime, datetime]]) -> list[Row]:
    """Return the outbox rows of an order created within `windows`, as far as they have not been purged.

    Delivered rows have no index by order, because every order would pay for it. A row is committed together with an
    event of the order, so it is found near the event's time, with the BRIN index on `created_at`.
    """
    return _created_within(
        session,
        """SELECT id, topic, attempts, last_error, created_at, delivered_at FROM outbox
           WHERE merchant = %(merchant)s AND aggregate_id = %(order)s""",
        merchant,
        order_id,
        windows,
    )


def deliveries(
    session: Session, merchant: str, order_id: str, windows: Sequence[tuple[datetime, datetime]]
) -> list[Row]:
    """Return the webhook deliveries of an order created within `windows`. See `commands`."""
    return _created_within(
        session,
        """SELECT id, endpoint_id, type, status, attempts, last_status_code, last_error, created_at, settled_at,
                  COALESCE((SELECT url FROM webhook_endpoints e
                            WHERE e.merchant = d.merchant AND e.id = d.endpoint_id), 'endpoint deleted') AS url
           FROM webhook_deliveries d WHERE merchant = %(merchant)s AND order_id = %(order)s""",
        merchant,
        order_id,
        windows,
    )


def _created_within(
    session: Session,
    select: LiteralString,
    merchant: str,
    order_id: str,
    windows: Sequence[tuple[datetime, datetime]],
) -> list[Row]:
    parameters: dict[str, Any] = {"merchant": merchant, "order": order_id}
    bounds: list[str] = []
    for number, (begin, end) in enumerate(windows):
        parameters |= {f"begin{number}": begin, f"end{number}": end}
        bounds.append(f"created_at BETWEEN %(begin{number})s AND %(end{number})s")
    if not bounds:
        return []
    query = f"{select} AND ({' OR '.join(bounds)}) ORDER BY created_at LIMIT 200"
    return session.execute(query.encode(), parameters, prepare=False).fetchall()
