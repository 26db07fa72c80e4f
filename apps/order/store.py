"""The order service's SQL. Answers are made into JSON by PostgreSQL, which has the row at hand."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from chassis.database import Row, Session
from chassis.idempotency import Claim

_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

_VIEW = f"""json_build_object(
    'id', o.id, 'status', o.status, 'currency', o.currency, 'total_amount', o.total_amount,
    'paid_amount', o.paid_amount, 'refunded_amount', o.refunded_amount, 'items', o.items,
    'customer', o.customer, 'payment_method', o.payment_method, 'capture', o.capture, 'metadata', o.metadata,
    'payment', CASE WHEN o.payment_id IS NOT NULL THEN json_build_object(
        'id', o.payment_id, 'status', o.payment_status, 'failure_reason', o.failure_reason) END,
    'version', o.version, 'created_at', {_TIME.format("o.created_at")},
    'updated_at', {_TIME.format("o.updated_at")})::text AS body, o.version, o.status"""

_PLACED = f"""
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, payment_method, capture,
                        metadata)
    SELECT %(merchant)s::text, %(id)s::uuid, %(status)s::text, %(currency)s::text, %(total_amount)s::bigint,
           %(items)s::jsonb, %(customer)s::text, %(payment_method)s::text, %(capture)s::text, %(metadata)s::jsonb
    {{source}}
    RETURNING *),
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
    SELECT merchant, id, version, 'order.placed', status, 'merchant' FROM placed),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT %(command_id)s::uuid, merchant, id, %(topic)s::text, %(payload)s::jsonb, %(headers)s::jsonb,
           now() + make_interval(secs => %(lease)s::float8), %(owner)s::text, (%(owner)s::text IS NOT NULL)::int
    FROM placed WHERE %(topic)s::text IS NOT NULL)
SELECT {_VIEW} FROM placed o
"""

_PLACE = """
WITH claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    VALUES (%(merchant)s, %(key)s, %(fingerprint)s, 201, %(id)s::uuid)
    ON CONFLICT DO NOTHING RETURNING merchant),
""" + _PLACED.format(source="FROM claim")

_PLACE_BY_ID = "WITH " + _PLACED.format(source="ON CONFLICT DO NOTHING")

_NO_COMMAND = dict.fromkeys(("topic", "payload", "headers", "command_id", "owner", "lease"))


def place(session: Session, claim: Claim, order: dict[str, Any], command: dict[str, Any]) -> Row | None:
    """Commit an order, its first event, its command to payment and its idempotency key in one statement.

    The new order's view, or None when the key is taken already. Raises psycopg.errors.LockNotAvailable
    when another transaction holds the key for longer than the lock time-out.
    """
    return session.execute(
        _PLACE, {**_NO_COMMAND, **order, **command, "key": claim.key, "fingerprint": claim.fingerprint}
    ).fetchone()


def place_by_id(session: Session, order: dict[str, Any], command: dict[str, Any]) -> Row | None:
    """The same with the order's own id as the idempotency key; None when the order exists already."""
    return session.execute(_PLACE_BY_ID, {**_NO_COMMAND, **order, **command}).fetchone()


def get(session: Session, merchant: str, order_id: str) -> Row | None:
    """An order's view: body (JSON text), version, status."""
    return session.execute(
        f"SELECT {_VIEW} FROM orders o WHERE merchant = %s AND id = %s", (merchant, order_id)
    ).fetchone()


def sketch(session: Session, merchant: str, order_id: str) -> Row | None:
    """What the sketch's API shows of an order: items, total_amount, currency, status."""
    return session.execute(
        "SELECT items, total_amount, currency, status FROM orders WHERE merchant = %s AND id = %s",
        (merchant, order_id),
    ).fetchone()


def events(session: Session, merchant: str, order_id: str) -> str | None:
    """An order's history as JSON text, oldest first; None when there is no such order."""
    row = session.execute(
        f"""SELECT json_build_object('data', json_agg(json_build_object(
                'version', version, 'type', type, 'from', from_status, 'to', to_status, 'actor', actor,
                'data', data, 'at', {_TIME.format("at")}) ORDER BY version))::text AS body
            FROM order_events WHERE merchant = %s AND order_id = %s HAVING count(*) > 0""",
        (merchant, order_id),
    ).fetchone()
    return row["body"] if row else None


def lock(session: Session, merchant: str, order_id: str) -> Row | None:
    """The facts that a decision needs, with the order's row locked to the end of the transaction."""
    return session.execute(
        """SELECT status, total_amount, currency, paid_amount, payment_id, payment_version, version
           FROM orders WHERE merchant = %s AND id = %s FOR NO KEY UPDATE""",
        (merchant, order_id),
    ).fetchone()


_APPLY = """
WITH changed AS (
    UPDATE orders SET status = %(status)s, paid_amount = %(paid_amount)s, failure_reason = %(failure_reason)s,
           payment_id = %(payment_id)s, payment_status = %(payment_status)s,
           payment_version = %(payment_version)s, version = version + 1, updated_at = clock_timestamp()
    WHERE merchant = %(merchant)s AND id = %(id)s AND version = %(seen)s
    RETURNING merchant, id, version)
INSERT INTO order_events (merchant, order_id, version, type, from_status, to_status, actor, data)
SELECT merchant, id, version, %(type)s, %(before)s, %(status)s, 'payment', %(data)s FROM changed
"""


def apply(session: Session, change: dict[str, Any]) -> None:
    """Write an order's next state and the event that tells it, for the version that was locked."""
    session.execute(_APPLY, {**change, "data": Jsonb(change["data"])})
