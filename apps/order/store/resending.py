"""Commands that were delivered before and are to be sent to payment again, under the same ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chassis.postgres.database import Row, Session, to_json

# Rows are read by their sequence, because delivered rows have no other index that finds them by their delivery.
_DELIVERED_SINCE = """
WITH page AS MATERIALIZED (
    SELECT sequence FROM outbox WHERE sequence > %(after)s ORDER BY sequence LIMIT %(limit)s),
again AS (
    UPDATE outbox SET delivered_at = NULL, available_at = now() FROM page
    WHERE outbox.sequence = page.sequence AND outbox.delivered_at >= %(since)s AND outbox.delivered_at < %(began)s
    RETURNING 1)
SELECT (SELECT max(sequence) FROM page) AS last, (SELECT count(*) FROM page) AS read,
       (SELECT count(*) FROM again) AS again
"""

_WAITING = """
SELECT merchant, id, updated_at AS at, command_id, asked FROM orders
WHERE status IN ('pending_payment', 'authorized', 'canceling') AND updated_at >= %(at)s AND updated_at < %(began)s
  AND (updated_at, merchant, id) > (%(at)s, %(merchant)s, %(id)s)
ORDER BY updated_at, merchant, id LIMIT %(limit)s
"""

_REFUNDING = """
SELECT r.merchant, r.id, r.created_at AS at, r.order_id, o.asked
FROM refunds r JOIN orders o ON o.merchant = r.merchant AND o.id = r.order_id
WHERE r.status = 'pending' AND r.created_at < %(began)s
  AND (r.created_at, r.merchant, r.id) > (%(at)s, %(merchant)s, %(id)s)
ORDER BY r.created_at, r.merchant, r.id LIMIT %(limit)s
"""

_PROCESSING = """
SELECT o.merchant, o.id, o.payment->>'id' AS payment_id, CASE
    WHEN command.topic = 'payment.create' OR (command.id IS NULL AND o.status = 'pending_payment')
    THEN o.command_id END AS command_id
FROM orders o LEFT JOIN outbox command ON command.id = o.command_id
WHERE (o.merchant, o.id) > (%(merchant)s, %(id)s) AND o.payment->>'status' = 'processing'
  AND (o.merchant, o.id) IN (
      SELECT merchant, id FROM orders WHERE status IN ('pending_payment', 'authorized', 'canceling')
      UNION SELECT merchant, order_id FROM order_events WHERE at >= %(since)s)
ORDER BY o.merchant, o.id LIMIT %(limit)s
"""

FIRST: dict[str, Any] = {
    "at": datetime(1970, 1, 1, tzinfo=UTC),
    "merchant": "",
    "id": "00000000-0000-0000-0000-000000000000",
}
"""The position before the first row of `waiting` and `refunding`."""


def now(session: Session) -> datetime:
    """Return the database's time."""
    row = session.one("SELECT now() AS now")
    assert row is not None
    found: datetime = row["now"]
    return found


def delivered_since(session: Session, since: datetime, began: datetime, after: int, limit: int) -> Row:
    """Make rows due again that were delivered from `since` until `began`, among the `limit` rows that follow `after`.

    `after` is a sequence number. Returns `read`, how many rows follow it within the limit; `last`, the sequence
    number of the last one (None if no row follows); and `again`, how many of them were made due again.
    """
    row = session.one(_DELIVERED_SINCE, {"since": since, "began": began, "after": after, "limit": limit})
    assert row is not None
    return row


def waiting(session: Session, began: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return orders that wait for payment and have not changed since `began`: merchant, id, at, command_id, asked.

    `after` is FIRST, or `at`, `merchant` and `id` of the last row before.
    """
    return session.execute(_WAITING, {**after, "began": began, "limit": limit}, prepare=False).fetchall()


def refunding(session: Session, began: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return refunds without a known outcome, made before `began`: merchant, id, at, order_id, asked of the order."""
    return session.execute(_REFUNDING, {**after, "began": began, "limit": limit}, prepare=False).fetchall()


def processing(session: Session, since: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return orders with a payment that is `processing`: merchant, id, payment_id and command_id.

    These are the orders that wait, whatever their age, and those that changed since a moment. `command_id` is the
    newest command if that created a payment, otherwise None. `after` is FIRST, or has `merchant` and `id` of the last
    row before.
    """
    return session.execute(_PROCESSING, {**after, "since": since, "limit": limit}, prepare=False).fetchall()


def send_again(session: Session, ids: Sequence[str], began: datetime) -> int:
    """Make these messages due again, unless they are due or were delivered after `began`. Returns how many."""
    return session.execute(
        """UPDATE outbox SET delivered_at = NULL, available_at = now()
           WHERE id = ANY(%s::uuid[]) AND delivered_at < %s""",
        (list(ids), began),
    ).rowcount


def existing(session: Session, ids: Sequence[str]) -> set[str]:
    """Return which of these messages have a row in the outbox; the others were purged."""
    rows = session.execute("SELECT id FROM outbox WHERE id = ANY(%s::uuid[])", (list(ids),))
    return {str(row["id"]) for row in rows}


def refund_reason(session: Session, merchant: str, refund_id: str) -> str | None:
    """Return the reason of a refund, or None."""
    row = session.one("SELECT reason FROM refunds WHERE merchant = %s AND id = %s", (merchant, refund_id))
    return row["reason"] if row else None


def insert(session: Session, merchant: str, order_id: str, message_id: str, topic: str, payload: dict[str, Any]) -> int:
    """Store a message that was purged, under its id. Returns 1, or 0 if it has a row."""
    return session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, %s, %s, %s, %s::jsonb)
           ON CONFLICT (id) DO NOTHING""",
        (message_id, merchant, order_id, topic, to_json(payload)),
    ).rowcount
