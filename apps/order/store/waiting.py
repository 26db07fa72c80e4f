"""Orders that wait: the sweep that sends their commands again, and gauges."""

from __future__ import annotations

from chassis.messaging import leases
from chassis.postgres.database import Row, Session
from chassis.telemetry.metrics import COUNT_LIMIT
from order.store.resending import IS_LIVE

WAITS = "orders.status IN ('pending_payment', 'authorized', 'canceling')"
"""SQL condition: an order waits. It is that of the index orders_waiting_turns."""

MERCHANTS = leases.merchants("orders", WAITS)
"""SQL, for WITH RECURSIVE: `found` are the merchants that have orders that wait."""

_PENDING = "refunds.status = 'pending'"

# The first condition on updated_at follows from the second one, and lets the index end the search.
_DUE = f"""{WAITS} AND updated_at < now() - make_interval(secs => wait.seconds)
          AND GREATEST(updated_at, swept_at) < now() - make_interval(secs => wait.seconds)"""

_SWEEP = f"""
WITH RECURSIVE {MERCHANTS},
{leases.merchants("refunds", _PENDING, "refunding")},
turns AS MATERIALIZED (
    SELECT found.merchant, wait.status, wait.seconds,
           GREATEST(100 / count(*) OVER (PARTITION BY wait.status), 1) AS share
    FROM found CROSS JOIN (
        VALUES ('pending_payment', %(seconds)s::float8), ('canceling', %(seconds)s::float8),
               ('authorized', %(authorized)s::float8)) AS wait(status, seconds)
    WHERE (SELECT true FROM orders WHERE orders.merchant = found.merchant AND orders.status = wait.status AND {_DUE}
           ORDER BY updated_at LIMIT 1)),
waiting AS MATERIALIZED (
    SELECT due.* FROM turns AS wait CROSS JOIN LATERAL (
        SELECT merchant, id, command_id FROM orders
        WHERE orders.merchant = wait.merchant AND orders.status = wait.status AND {_DUE}
        ORDER BY updated_at LIMIT wait.share FOR NO KEY UPDATE SKIP LOCKED) AS due),
marked AS (
    UPDATE orders o SET swept_at = now() FROM waiting w WHERE o.merchant = w.merchant AND o.id = w.id),
commands AS (
    SELECT merchant, command_id AS id FROM waiting
    UNION SELECT those.merchant, those.id FROM refunding CROSS JOIN LATERAL (
        SELECT sent.merchant, sent.id FROM refunds JOIN outbox AS sent USING (merchant, id)
        WHERE refunds.merchant = refunding.merchant AND {_PENDING}
          AND refunds.created_at < now() - make_interval(secs => %(seconds)s::float8)
          AND sent.delivered_at < now() - make_interval(secs => %(seconds)s::float8)
        ORDER BY refunds.created_at LIMIT GREATEST(1000 / (SELECT count(*) FROM refunding), 1)) AS those)
UPDATE outbox SET delivered_at = NULL, available_at = now()
FROM commands WHERE outbox.merchant = commands.merchant AND outbox.id = commands.id
  AND delivered_at < now() - make_interval(secs => %(seconds)s::float8)
  AND {IS_LIVE}
"""

_BY_STATUS = f"""
WITH RECURSIVE {MERCHANTS}
SELECT wait.status, (
           SELECT count(*) FROM (
               SELECT FROM found CROSS JOIN LATERAL (
                   SELECT FROM orders WHERE orders.merchant = found.merchant AND orders.status = wait.status AND {WAITS}
                   LIMIT %(most)s) AS these
               LIMIT %(most)s) AS counted)::float8 AS count,
       COALESCE(extract(epoch FROM now() - (
           SELECT min(updated_at) FROM found CROSS JOIN LATERAL (
               SELECT updated_at FROM orders
               WHERE orders.merchant = found.merchant AND orders.status = wait.status AND {WAITS}
               ORDER BY updated_at LIMIT 1) AS first)), 0)::float8 AS oldest
FROM unnest('{{pending_payment,authorized,canceling}}'::text[]) AS wait(status)
"""


def sweep(session: Session, seconds: float, authorized: float) -> int:
    """Send the commands of orders and refunds again that have waited for too long; return the number of commands.

    Merchants take turns: a hundred orders of each status and a thousand refunds are taken at a time, an equal part of
    each merchant that has such orders or refunds, and at least one. `seconds` is the limit for pending and canceling
    orders and for refunds, `authorized` that for authorized orders.
    A delivered message becomes due again under its own idempotency key, so payment replies with the current state.
    """
    return session.execute(_SWEEP, {"seconds": seconds, "authorized": authorized}, prepare=False).rowcount


def by_status(session: Session) -> list[Row]:
    """Return, per waiting status, the number of orders and the seconds since the oldest one changed.

    Orders are counted up to metrics.COUNT_LIMIT in each status.
    """
    return session.execute(_BY_STATUS, {"most": COUNT_LIMIT}, prepare=False).fetchall()


def refunds(session: Session) -> Row | None:
    """Return the number of refunds without a known outcome, and the age of the oldest in seconds."""
    return session.one(
        """SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM refunds WHERE status = 'pending'"""
    )
