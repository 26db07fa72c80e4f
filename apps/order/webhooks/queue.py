"""The SQL of the loop that delivers: claiming deliveries, and storing the results of attempts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from chassis.messaging import leases
from chassis.messaging.leases import DUE, FREE, RELEASED, Queue
from chassis.postgres.database import Session
from order.webhooks.bodies import BODY, EVENT_OF_DELIVERY
from order.webhooks.model import ENDED_BY_DISABLING, Attempt, Status, Verdict

CHANNEL = "webhooks"
"""The NOTIFY channel of the loops."""

PENDING_AGAIN = "status = 'pending', settled_at = NULL, tries = 0, trying_since = now()"
"""SQL: the SET list that makes a delivery pending again, to be tried for as long and as often as a new one."""

LOOKED_AT = 1000
"""The most due deliveries to an endpoint that a claim reads to find those that it can lease.

An order can have any number of events, and all but the oldest may have to wait.
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery leased to `owner`, with what an attempt needs to know of its endpoint.

    `attempts` counts all attempts; `tries` counts those since the delivery was created or last redelivered. `remaining`
    is the number of seconds until the delivery is given up. `failures` counts the endpoint's failures in a row.
    """

    merchant: str
    endpoint_id: str
    id: str
    type: str
    headers: dict[str, str] | None
    attempts: int
    tries: int
    remaining: float
    url: str
    secrets: list[dict[str, Any]]
    failures: int
    owner: str


# Endpoints are found one after the other in the index of pending deliveries (a loose index scan), so a backlog of one
# endpoint is not read to find the next. The first endpoints of all merchants come before their second ones, in random
# order. A merchant gets at most its room: as many endpoints (`turn`) and, of each, as many deliveries (`most`) as fit.
# A paused endpoint gets only deliveries that its merchant has requested, and they do not wait for older ones.
_DUE = f"""
    WITH RECURSIVE busy AS (
        (SELECT merchant, endpoint_id FROM webhook_deliveries WHERE status = 'pending'
         ORDER BY merchant, endpoint_id LIMIT 1)
        UNION ALL
        SELECT next.* FROM busy CROSS JOIN LATERAL (
            SELECT merchant, endpoint_id FROM webhook_deliveries
            WHERE status = 'pending' AND (merchant, endpoint_id) > (busy.merchant, busy.endpoint_id)
            ORDER BY merchant, endpoint_id LIMIT 1) next),
    able AS (
        SELECT e.merchant, e.id, e.url, e.secrets, e.failures, e.paused_until > now() AS paused
        FROM busy JOIN webhook_endpoints e ON e.merchant = busy.merchant AND e.id = busy.endpoint_id
        WHERE e.status = 'enabled' AND CASE WHEN e.paused_until > now()
            -- Ordered as the index is, so that the planner looks up one row. EXISTS might read all of them.
            THEN (SELECT true FROM webhook_deliveries due WHERE due.merchant = e.merchant AND due.endpoint_id = e.id
                  AND due.status = 'pending' AND due.at_once AND {DUE} ORDER BY available_at LIMIT 1)
            ELSE (SELECT true FROM webhook_deliveries due WHERE due.merchant = e.merchant AND due.endpoint_id = e.id
                  AND due.status = 'pending' AND {DUE} ORDER BY available_at LIMIT 1) END),
    rooms AS (
        SELECT merchant, count(*) AS endpoints, %(merchant_share)s::bigint - (
                   SELECT count(*) FROM webhook_deliveries leased
                   WHERE leased.merchant = able.merchant AND leased.leased_until > now()) AS room
        FROM able GROUP BY merchant),
    ready AS MATERIALIZED (
        SELECT able.*, row_number() OVER (PARTITION BY merchant ORDER BY random()) AS turn, rooms.room AS merchant_room,
               GREATEST(rooms.room / endpoints, 1) AS most, %(share)s::bigint - (
                   SELECT count(*) FROM webhook_deliveries leased WHERE leased.merchant = able.merchant
                   AND leased.endpoint_id = able.id AND leased.leased_until > now()) AS room
        FROM able JOIN rooms USING (merchant)
        ORDER BY turn, random())
    SELECT d.merchant, d.endpoint_id, d.id, ready.url, ready.secrets, ready.failures
    FROM ready CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT taken.* FROM (
                SELECT merchant, endpoint_id, id, order_id, at_once FROM webhook_deliveries
                WHERE NOT ready.paused AND merchant = ready.merchant AND endpoint_id = ready.id
                  AND status = 'pending' AND {DUE}
                ORDER BY available_at LIMIT {LOOKED_AT}) candidate
            CROSS JOIN LATERAL (
                SELECT merchant, endpoint_id, id FROM webhook_deliveries
                WHERE merchant = candidate.merchant AND endpoint_id = candidate.endpoint_id AND id = candidate.id
                  AND status = 'pending' AND {DUE}
                FOR UPDATE SKIP LOCKED) taken
            -- The events of one order are first tried in order. One that has failed does not hold up the next.
            WHERE candidate.at_once OR NOT EXISTS (
                SELECT FROM webhook_deliveries older
                WHERE older.merchant = candidate.merchant AND older.endpoint_id = candidate.endpoint_id
                  AND older.order_id = candidate.order_id AND older.id < candidate.id AND older.status = 'pending'
                  AND (older.attempts = 0 OR older.leased_until > now()))
            LIMIT GREATEST(LEAST(ready.room, ready.most), 0)) candidates
        UNION ALL
        SELECT * FROM (
            SELECT merchant, endpoint_id, id FROM webhook_deliveries
            WHERE ready.paused AND merchant = ready.merchant AND endpoint_id = ready.id
              AND status = 'pending' AND at_once AND {DUE}
            ORDER BY available_at LIMIT GREATEST(LEAST(ready.room, ready.most), 0)
            FOR UPDATE SKIP LOCKED) requested) d
    WHERE ready.turn <= ready.merchant_room
    LIMIT %(limit)s::bigint"""

DELIVERIES = Queue(
    table="webhook_deliveries",
    key=("merchant", "endpoint_id", "id"),
    pending="webhook_deliveries.status = 'pending'",
    due=_DUE,
    returning="""webhook_deliveries.merchant, webhook_deliveries.endpoint_id, webhook_deliveries.id, type, headers,
        attempts, tries, due.url, due.secrets, due.failures,
        extract(epoch FROM trying_since - now())::float8 + %(give_up)s::float8 AS remaining""",
    counters=("attempts", "tries"),
)


def claim(
    session: Session, lease: float, limit: int, share: int, merchant_share: int, give_up: float
) -> list[Delivery]:
    """Lease up to `limit` due deliveries for `lease` seconds.

    One endpoint gets at most `share` of them, all endpoints of one merchant at most `merchant_share`; both less what is
    leased already. `give_up` is for how many seconds a delivery is tried.
    """
    rows = leases.claim(session, DELIVERIES, lease, limit, share=share, merchant_share=merchant_share, give_up=give_up)
    return [Delivery(**{**row, "endpoint_id": str(row["endpoint_id"]), "id": str(row["id"])}) for row in rows]


def to_send(session: Session, delivery: Delivery) -> tuple[Delivery, str] | None:
    """Return a delivery with the URL and the secrets that its endpoint has now, and the body to send.

    Returns None if its lease has expired or its endpoint is disabled.
    """
    row = session.execute(
        f"""SELECT {BODY}::text AS body, d.url, d.secrets FROM (
                SELECT webhook_deliveries.*, e.url, e.secrets FROM webhook_deliveries JOIN webhook_endpoints e
                    ON e.merchant = webhook_deliveries.merchant AND e.id = webhook_deliveries.endpoint_id
                WHERE {DELIVERIES.held} AND leased_until > now() AND e.status = 'enabled') d
            {EVENT_OF_DELIVERY}""",
        DELIVERIES.holding(delivery),
    ).fetchone()
    return (replace(delivery, url=row["url"], secrets=row["secrets"]), row["body"]) if row else None


# The endpoint is locked before the delivery, in the same order as by the requests of the API: no deadlock. What a URL
# answers that has been replaced meanwhile says nothing about the endpoint: the new one is tried at once. A claim counts
# `tries`, so 0 means that the delivery was requested again during the attempt: it stays due for one more.
_SETTLE = f"""
WITH locked AS MATERIALIZED (
    SELECT merchant, id, url <> %(url)s::text AS moved FROM webhook_endpoints
    WHERE merchant = %(merchant)s AND id = %(endpoint_id)s
    FOR NO KEY UPDATE),
result AS (
    SELECT locked.*, CASE WHEN moved AND %(gone)s::boolean THEN 'pending' ELSE %(status)s::text END AS status
    FROM locked),
settled AS (
    UPDATE webhook_deliveries
    SET status = CASE WHEN tries = 0 THEN 'pending' ELSE result.status END,
        settled_at = CASE WHEN tries <> 0 AND result.status <> 'pending' THEN clock_timestamp() END,
        available_at = CASE WHEN tries = 0 THEN available_at WHEN moved THEN now()
                            ELSE now() + make_interval(secs => %(delay)s::float8) END,
        at_once = at_once AND tries = 0,
        last_status_code = %(code)s::integer, last_error = %(error)s::text, {RELEASED}
    FROM result
    WHERE {DELIVERIES.held}
      AND result.merchant = webhook_deliveries.merchant AND result.id = webhook_deliveries.endpoint_id
    RETURNING webhook_deliveries.merchant, endpoint_id, webhook_deliveries.id, attempts, webhook_deliveries.status,
              moved),
attempt AS (
    INSERT INTO webhook_attempts (merchant, endpoint_id, delivery_id, number, status_code, error, seconds, at)
    SELECT merchant, endpoint_id, id, attempts, %(code)s::integer, %(error)s::text, %(seconds)s::float8,
           clock_timestamp() - make_interval(secs => %(seconds)s::float8)
    FROM settled),
endpoint AS (
    UPDATE webhook_endpoints e
    SET failures = CASE WHEN %(ok)s::boolean THEN 0 ELSE failures + 1 END,
        paused_until = CASE WHEN %(ok)s::boolean THEN now()
                            ELSE GREATEST(paused_until, now() + make_interval(secs => %(pause)s::float8)) END,
        status = CASE WHEN %(gone)s::boolean THEN 'disabled' ELSE e.status END,
        disabled_reason = CASE WHEN %(gone)s::boolean THEN 'gone' ELSE disabled_reason END
    FROM settled
    WHERE e.merchant = settled.merchant AND e.id = settled.endpoint_id AND NOT moved
      AND (NOT %(ok)s::boolean OR failures <> 0))
SELECT status, moved FROM settled
"""

_MARK_PENDING_DEAD = f"""
UPDATE webhook_deliveries SET status = 'dead', settled_at = now(), last_error = %(error)s, {RELEASED}
WHERE merchant = %(merchant)s AND endpoint_id = %(endpoint_id)s AND status = 'pending'
"""


def settle(session: Session, delivery: Delivery, attempt: Attempt, verdict: Verdict) -> Status | None:
    """Store an attempt and what follows from it for its delivery and its endpoint. Returns the delivery's status.

    Returns None if the lease was lost, or the endpoint was deleted or disabled meanwhile; then nothing is written. If
    the endpoint has another URL now, it neither pauses nor is disabled, and a failed delivery is due at once. A
    delivery that was requested again since it was claimed is due at once, whatever the result.
    """
    done = session.execute(
        _SETTLE,
        {
            **DELIVERIES.holding(delivery),
            "url": delivery.url,
            "status": verdict.status,
            "ok": verdict.status is Status.DELIVERED,
            "delay": verdict.delay,
            "pause": verdict.pause,
            "gone": verdict.gone,
            "code": attempt.status_code,
            "error": attempt.error,
            "seconds": attempt.seconds,
        },
    ).fetchone()
    if done is None:
        return None
    if verdict.gone and not done["moved"]:
        named = {"merchant": delivery.merchant, "endpoint_id": delivery.endpoint_id}
        session.execute(_MARK_PENDING_DEAD, {**named, "error": ENDED_BY_DISABLING})
    return Status(done["status"])


def give_up(session: Session, seconds: float) -> int:
    """Mark up to a thousand pending deliveries dead that have been tried for longer than this. Returns how many.

    These were not attempted again in time, for example because their endpoint was paused.
    """
    return session.execute(
        f"""UPDATE webhook_deliveries d SET status = 'dead', settled_at = now(), {RELEASED},
                  last_error = COALESCE(last_error, 'never tried: the endpoint did not accept earlier deliveries')
           FROM (SELECT merchant, endpoint_id, id FROM webhook_deliveries
                 WHERE status = 'pending' AND trying_since < now() - make_interval(secs => %(seconds)s) AND {FREE}
                 ORDER BY trying_since LIMIT 1000 FOR UPDATE SKIP LOCKED) old
           WHERE d.merchant = old.merchant AND d.endpoint_id = old.endpoint_id AND d.id = old.id""",
        {"seconds": seconds},
    ).rowcount


def advance(session: Session, merchant: str, endpoint_id: str) -> int:
    """Make up to a thousand deliveries to an endpoint due that wait for their next attempt. Returns how many."""
    return session.execute(
        f"""UPDATE webhook_deliveries d SET available_at = now() FROM (
                SELECT merchant, endpoint_id, id FROM webhook_deliveries
                WHERE merchant = %s AND endpoint_id = %s AND status = 'pending' AND available_at > now() AND {FREE}
                ORDER BY available_at LIMIT {LOOKED_AT} FOR UPDATE SKIP LOCKED) waiting
           WHERE d.merchant = waiting.merchant AND d.endpoint_id = waiting.endpoint_id AND d.id = waiting.id""",
        (merchant, endpoint_id),
    ).rowcount


# Merchants take turns: one endpoint of each gets an equal part of the step. The endpoints are locked before their
# deliveries, as everywhere. Rows that are pending are sent anyway.
_REDELIVER = f"""
WITH turns AS MATERIALIZED (
    SELECT DISTINCT ON (merchant) merchant, id FROM webhook_endpoints WHERE redeliver_since IS NOT NULL
    ORDER BY merchant, random()),
endpoint AS MATERIALIZED (
    SELECT e.*, (SELECT GREATEST(1000 / count(*), 1) FROM turns) AS share
    FROM turns JOIN webhook_endpoints e ON e.merchant = turns.merchant AND e.id = turns.id
    WHERE e.redeliver_since IS NOT NULL ORDER BY random() LIMIT 1000 FOR NO KEY UPDATE OF e SKIP LOCKED),
part AS MATERIALIZED (
    SELECT those.*, e.share, row_number() OVER (PARTITION BY those.merchant ORDER BY those.id) AS turn
    FROM endpoint e CROSS JOIN LATERAL (
        SELECT d.merchant, d.endpoint_id, d.id FROM webhook_deliveries d
        WHERE d.merchant = e.merchant AND d.endpoint_id = e.id
          AND (e.redeliver_after IS NULL OR d.id > e.redeliver_after) AND d.status IN ('delivered', 'dead')
          AND d.created_at >= e.redeliver_since AND d.created_at < e.redeliver_until
        ORDER BY d.id LIMIT e.share) AS those
    LIMIT 1000),
again AS (
    -- Due in the order of the events.
    UPDATE webhook_deliveries d SET {PENDING_AGAIN},
           available_at = now() + part.turn * interval '1 microsecond', {RELEASED}
    FROM part WHERE d.merchant = part.merchant AND d.endpoint_id = part.endpoint_id AND d.id = part.id)
UPDATE webhook_endpoints e SET
    redeliver_since = CASE WHEN last.id IS NOT NULL THEN e.redeliver_since END,
    redeliver_after = last.id
FROM endpoint LEFT JOIN part AS last ON last.merchant = endpoint.merchant AND last.turn = endpoint.share
WHERE e.merchant = endpoint.merchant AND e.id = endpoint.id
"""


def redeliver_some(session: Session) -> None:
    """Make about a thousand deliveries due of endpoints whose merchants have asked for all since a time.

    Merchants take turns, so a large redelivery delays none of another merchant.
    """
    session.execute(_REDELIVER)
