"""Commands that were delivered before and are to be sent to payment again, under the same ids.

A command whose outcome the order knows is not sent again. If it succeeded, nothing is left to do. If it was declined or
refused, payment may have no record of that, and would carry it out now, although its caller knows that it has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chassis.postgres.database import Row, Session, to_json

Key = tuple[str, str]
"""The merchant and the id of a message."""

WITHOUT_OUTCOME = """EXISTS (
    SELECT FROM orders sender WHERE sender.merchant = outbox.merchant AND sender.id = outbox.aggregate_id
      AND (sender.asked @> jsonb_build_array(jsonb_build_object('id', outbox.id))
           OR sender.asked_version IS DISTINCT FROM sender.version))
    AND NOT EXISTS (
    SELECT FROM refunds WHERE refunds.merchant = outbox.merchant AND refunds.id = outbox.id
      AND refunds.status = 'failed')"""
"""SQL condition for a delivered message: its order knows no outcome of it.

If the release before this one wrote the order last, only the failure of a refund is known. The next release can drop
that case.
"""

IS_LIVE = f"(outbox.topic = 'payment.create' OR ({WITHOUT_OUTCOME}))"
"""SQL condition for a delivered message of an order that waits: the answer to it can change the order.

The command that created the order's payment has no outcome of its own: it is answered with the payment as it stands.
"""

# Rows are read by their key, because delivered rows have no other index that finds them by their delivery.
_DELIVERED_SINCE = f"""
WITH page AS MATERIALIZED (
    SELECT merchant, id FROM outbox WHERE (id, merchant) > (%(id)s::uuid, %(merchant)s)
    ORDER BY id, merchant LIMIT %(limit)s),
again AS (
    UPDATE outbox SET delivered_at = NULL, available_at = now() FROM page
    WHERE outbox.merchant = page.merchant AND outbox.id = page.id
      AND outbox.delivered_at >= %(since)s AND outbox.delivered_at < %(began)s
      AND {WITHOUT_OUTCOME}
    RETURNING 1)
SELECT merchant, id, (SELECT count(*) FROM page) AS read, (SELECT count(*) FROM again) AS again
FROM page ORDER BY id DESC, merchant DESC LIMIT 1
"""

_WAITING = """
SELECT merchant, status, updated_at AS at, id, command_id, asked FROM orders
WHERE status IN ('pending_payment', 'authorized', 'canceling') AND updated_at < %(began)s
  AND (merchant, status, updated_at, id) > (%(merchant)s, %(status)s, %(at)s, %(id)s)
ORDER BY merchant, status, updated_at, id LIMIT %(limit)s
"""

_REFUNDING = """
SELECT r.merchant, r.status, r.created_at AS at, r.id, r.order_id, o.asked
FROM refunds r JOIN orders o ON o.merchant = r.merchant AND o.id = r.order_id
WHERE r.status = 'pending' AND r.created_at < %(began)s
  AND (r.merchant, r.created_at, r.id) > (%(merchant)s, %(at)s, %(id)s)
ORDER BY r.merchant, r.created_at, r.id LIMIT %(limit)s
"""

_UNDER_WAY = """
SELECT o.merchant, o.id, o.payment->>'id' AS payment_id, o.payment->>'status' = 'processing' AS is_processing,
       (o.payment->>'version')::bigint AS seen, (o.payment->>'refunding_amount')::bigint AS refunding, CASE
    WHEN command.topic = 'payment.create' OR (command.id IS NULL AND o.status = 'pending_payment')
    THEN o.command_id END AS command_id
FROM orders o LEFT JOIN outbox command ON command.merchant = o.merchant AND command.id = o.command_id
WHERE (o.merchant, o.id) > (%(merchant)s, %(id)s)
  AND (o.payment->>'status' = 'processing' OR (o.payment->>'refunding_amount')::bigint > 0)
  AND (o.merchant, o.id) IN (
      SELECT merchant, id FROM orders WHERE status IN ('pending_payment', 'authorized', 'canceling')
      UNION SELECT merchant, order_id FROM order_events WHERE at >= %(since)s)
ORDER BY o.merchant, o.id LIMIT %(limit)s
"""

FIRST: dict[str, Any] = {
    "at": datetime(1970, 1, 1, tzinfo=UTC),
    "merchant": "",
    "status": "",
    "id": "00000000-0000-0000-0000-000000000000",
}
"""The position before the first row of `delivered_since`, `waiting`, `refunding` and `under_way`."""


def now(session: Session) -> datetime:
    """Return the database's time."""
    row = session.one("SELECT now() AS now")
    assert row is not None
    found: datetime = row["now"]
    return found


def delivered_since(
    session: Session, since: datetime, began: datetime, after: dict[str, Any], limit: int
) -> Row | None:
    """Make commands without an outcome due again that were delivered from `since` until `began`.

    They are among the `limit` rows that follow `after`.

    `after` is FIRST, or has `merchant` and `id` of the last row before. Returns `merchant` and `id` of the last row
    that was read; `read`, how many rows that were; and `again`, how many of them were made due again. Returns None if
    no row follows.
    """
    return session.one(_DELIVERED_SINCE, {**after, "since": since, "began": began, "limit": limit})


def waiting(session: Session, began: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return orders that wait for payment and have not changed since `began`.

    A row has merchant, status, at, id, command_id, asked. `after` is FIRST, or has the first four of the last row
    before.
    """
    return session.execute(_WAITING, {**after, "began": began, "limit": limit}, prepare=False).fetchall()


def refunding(session: Session, began: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return refunds without a known outcome, made before `began`; see `waiting` for `after`.

    A row has merchant, status, at, id, order_id, and `asked` of the order.
    """
    return session.execute(_REFUNDING, {**after, "began": began, "limit": limit}, prepare=False).fetchall()


def under_way(session: Session, since: datetime, after: dict[str, Any], limit: int) -> list[Row]:
    """Return orders with a payment that is processing, or of which something is being refunded.

    A row has merchant, id, payment_id, is_processing, seen (the payment's version), refunding (the amount) and
    command_id. These are the orders that wait, whatever their age, and those that changed since a moment. `command_id`
    is the newest command if that created a payment, otherwise None. `after` is FIRST, or has `merchant` and `id` of the
    last row before.
    """
    return session.execute(_UNDER_WAY, {**after, "since": since, "limit": limit}, prepare=False).fetchall()


def send_again(session: Session, messages: Sequence[Key], began: datetime) -> int:
    """Make these messages due again, unless they are due or were delivered after `began`. Returns how many.

    Those that `IS_LIVE` excludes are left out.
    """
    return session.execute(
        f"""UPDATE outbox SET delivered_at = NULL, available_at = now()
           FROM unnest(%s::text[], %s::uuid[]) AS m(merchant, id)
           WHERE outbox.merchant = m.merchant AND outbox.id = m.id AND delivered_at < %s AND {IS_LIVE}""",
        (*_columns(messages), began),
    ).rowcount


def existing(session: Session, messages: Sequence[Key]) -> set[Key]:
    """Return which of these messages have a row in the outbox; the others were purged."""
    rows = session.execute(
        """SELECT outbox.merchant, outbox.id FROM unnest(%s::text[], %s::uuid[]) AS m(merchant, id)
           JOIN outbox ON outbox.merchant = m.merchant AND outbox.id = m.id""",
        _columns(messages),
    )
    return {(row["merchant"], str(row["id"])) for row in rows}


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [merchant for merchant, _ in keys], [id_ for _, id_ in keys]


def refund_reason(session: Session, merchant: str, refund_id: str) -> str | None:
    """Return the reason of a refund, or None."""
    row = session.one("SELECT reason FROM refunds WHERE merchant = %s AND id = %s", (merchant, refund_id))
    return row["reason"] if row else None


def insert(session: Session, merchant: str, order_id: str, message_id: str, topic: str, payload: dict[str, Any]) -> int:
    """Store a message that was purged, under its id. Returns 1, or 0 if it has a row."""
    return session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, %s, %s, %s, %s::jsonb)
           ON CONFLICT (merchant, id) DO NOTHING""",
        (message_id, merchant, order_id, topic, to_json(payload)),
    ).rowcount
