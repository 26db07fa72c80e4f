"""SQL queries of the operator's page about one order, command, webhook or endpoint. They limit their number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString

from chassis.postgres.database import Row, Session
from chassis.telemetry.metrics import COUNT_LIMIT
from order.operator.store import ORDER
from order.store.views import ITEMS


def order(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return an order with its lines and its payment as the order service knows it, or None."""
    return session.one(
        f"""SELECT {ORDER}, o.refunding_amount, o.capture, {ITEMS} AS items, o.metadata, o.payment, o.version,
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


def command(session: Session, merchant: str, message_id: str) -> Row | None:
    """Return an outbox row: aggregate_id, topic, attempts, last_error."""
    return session.one(
        "SELECT aggregate_id, topic, attempts, last_error FROM outbox WHERE merchant = %s AND id = %s",
        (merchant, message_id),
    )


def delivery(session: Session, merchant: str, endpoint_id: str, delivery_id: str) -> Row | None:
    """Return a webhook delivery: order_id, type, status, attempts, and the endpoint's url."""
    return session.one(
        """SELECT d.order_id, d.type, d.status, d.attempts, e.url FROM webhook_deliveries d
           JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
           WHERE d.merchant = %s AND d.endpoint_id = %s AND d.id = %s""",
        (merchant, endpoint_id, delivery_id),
    )


def endpoint_counts(session: Session, merchant: str, endpoint_id: str) -> Row:
    """Count the pending and the dead webhooks of an endpoint, each up to COUNT_LIMIT."""
    row = session.one(
        """SELECT (SELECT count(*) FROM (
                      SELECT FROM webhook_deliveries WHERE merchant = %(merchant)s AND endpoint_id = %(id)s
                      AND status = 'pending' LIMIT %(most)s) AS these) AS pending,
                  (SELECT count(*) FROM (
                      SELECT FROM webhook_deliveries WHERE merchant = %(merchant)s AND endpoint_id = %(id)s
                      AND status = 'dead' LIMIT %(most)s) AS these) AS dead""",
        {"merchant": merchant, "id": endpoint_id, "most": COUNT_LIMIT},
    )
    assert row is not None
    return row


def endpoint_deliveries(session: Session, merchant: str, endpoint_id: str, limit: int) -> list[Row]:
    """Return up to `limit` webhooks of an endpoint, newest first."""
    return session.execute(
        """SELECT id, order_id, type, status, attempts, last_status_code, last_error, created_at
           FROM webhook_deliveries WHERE merchant = %s AND endpoint_id = %s ORDER BY id DESC LIMIT %s""",
        (merchant, endpoint_id, limit),
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
                            WHERE e.merchant = d.merchant AND e.id = d.endpoint_id), 'endpoint deleted') AS url,
                  (SELECT e.status FROM webhook_endpoints e
                   WHERE e.merchant = d.merchant AND e.id = d.endpoint_id) AS endpoint_status
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
