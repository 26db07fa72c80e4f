"""Orders that wait: the sweep that sends their commands again, and gauges."""

from __future__ import annotations

from chassis.postgres.database import Row, Session
from chassis.telemetry.metrics import COUNT_LIMIT

_SWEEP = """
WITH waiting AS MATERIALIZED (
    SELECT due.* FROM (
        VALUES ('pending_payment', %(seconds)s::float8), ('canceling', %(seconds)s::float8),
               ('authorized', %(authorized)s::float8)) AS wait(status, seconds)
    CROSS JOIN LATERAL (
        SELECT merchant, id, command_id FROM orders
        WHERE orders.status = wait.status AND orders.status IN ('pending_payment', 'authorized', 'canceling')
          AND GREATEST(updated_at, swept_at) < now() - make_interval(secs => wait.seconds)
        ORDER BY updated_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED) AS due),
marked AS (
    UPDATE orders o SET swept_at = now() FROM waiting w WHERE o.merchant = w.merchant AND o.id = w.id),
commands AS (
    SELECT command_id AS id FROM waiting
    UNION SELECT id FROM refunds
    WHERE status = 'pending' AND created_at < now() - make_interval(secs => %(seconds)s::float8))
UPDATE outbox SET delivered_at = NULL, available_at = now()
FROM commands WHERE outbox.id = commands.id AND delivered_at < now() - make_interval(secs => %(seconds)s::float8)
"""


def sweep(session: Session, seconds: float, authorized: float) -> int:
    """Send the commands of orders and refunds again that have waited for too long; return the number of commands.

    `seconds` is the limit for pending and canceling orders and for refunds, `authorized` that for authorized orders.
    A delivered message becomes due again under its own idempotency key, so payment replies with the current state.
    """
    return session.execute(_SWEEP, {"seconds": seconds, "authorized": authorized}).rowcount


def by_status(session: Session) -> list[Row]:
    """Return, per waiting status, the number of orders and the seconds since the oldest one changed."""
    return session.execute(
        """SELECT status, count(updated_at)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(updated_at)), 0)::float8 AS oldest
           FROM unnest('{pending_payment,authorized,canceling}'::text[]) AS status LEFT JOIN (
               SELECT status, updated_at FROM orders WHERE status IN ('pending_payment', 'authorized', 'canceling')
               ORDER BY updated_at LIMIT %s) AS those USING (status)
           GROUP BY status""",
        (COUNT_LIMIT,),
    ).fetchall()


def refunds(session: Session) -> Row | None:
    """Return the number of refunds without a known outcome, and the age of the oldest in seconds."""
    return session.one(
        """SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM refunds WHERE status = 'pending'"""
    )
