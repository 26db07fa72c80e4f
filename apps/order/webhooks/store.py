"""The SQL of webhooks. Answers are made into JSON by PostgreSQL, which has the row at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from chassis.postgres.database import Row, Session, json_time
from chassis.telemetry.metrics import COUNT_LIMIT
from order.webhooks.model import Attempt, Status, Verdict

CHANNEL = "webhooks"


_ENDPOINT = f"""json_build_object(
    'id', e.id, 'url', e.url, 'description', e.description, 'events', e.events, 'status', e.status,
    'disabled_reason', e.disabled_reason,
    'signed_until', (SELECT {json_time("max((s->>'until')::timestamptz)")} FROM jsonb_array_elements(e.secrets) s),
    'created_at', {json_time("e.created_at")})::text AS body, e.id, e.url, e.secrets, e.status"""

_DELIVERY = f"""'id', d.id, 'endpoint_id', d.endpoint_id, 'order_id', d.order_id, 'type', d.type, 'status', d.status,
    'attempt_count', d.attempts, 'last_status_code', d.last_status_code, 'last_error', d.last_error,
    'next_attempt_at', CASE WHEN d.status = 'pending' THEN {json_time("d.available_at")} END,
    'created_at', {json_time("d.created_at")}, 'settled_at', {json_time("d.settled_at")}"""


def lock_merchant(session: Session, merchant: str) -> None:
    """Let nobody else register an endpoint for this merchant before the transaction ends."""
    session.execute("SELECT pg_advisory_xact_lock(hashtext('webhook_endpoints'), hashtext(%s))", (merchant,))


def count(session: Session, merchant: str) -> int:
    """How many endpoints a merchant has."""
    row = session.execute("SELECT count(*) AS n FROM webhook_endpoints WHERE merchant = %s", (merchant,)).fetchone()
    return int(row["n"]) if row else 0


def add(session: Session, endpoint: dict[str, Any]) -> None:
    """Store an endpoint."""
    session.execute(
        """INSERT INTO webhook_endpoints (merchant, id, url, description, events, secrets)
           VALUES (%(merchant)s, %(id)s, %(url)s, %(description)s, %(events)s, %(secrets)s)""",
        {**endpoint, "secrets": Jsonb(endpoint["secrets"])},
    )


def get(session: Session, merchant: str, endpoint_id: str, *, lock: bool = False) -> Row | None:
    """An endpoint's view: body (JSON text), id, url, secrets, status."""
    return session.execute(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints e WHERE merchant = %s AND id = %s"
        + (" FOR NO KEY UPDATE" if lock else ""),
        (merchant, endpoint_id),
    ).fetchone()


def find(session: Session, merchant: str) -> list[Row]:
    """Views of a merchant's endpoints, newest first."""
    return session.execute(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints e WHERE merchant = %s ORDER BY id DESC", (merchant,)
    ).fetchall()


def delete(session: Session, merchant: str, endpoint_id: str) -> bool:
    """Delete an endpoint and what it has not taken; False if there is none. What it has taken goes with the purge."""
    done = session.execute("DELETE FROM webhook_endpoints WHERE merchant = %s AND id = %s", (merchant, endpoint_id))
    session.execute(
        "DELETE FROM webhook_deliveries WHERE merchant = %s AND endpoint_id = %s AND status IN ('pending', 'dead')",
        (merchant, endpoint_id),
    )
    return done.rowcount == 1


def set_secrets(session: Session, merchant: str, endpoint_id: str, secrets: list[dict[str, Any]]) -> None:
    """Let an endpoint's messages be signed by these secrets."""
    session.execute(
        "UPDATE webhook_endpoints SET secrets = %s WHERE merchant = %s AND id = %s",
        (Jsonb(secrets), merchant, endpoint_id),
    )


def enable(session: Session, merchant: str, endpoint_id: str) -> None:
    """Let an endpoint be told of events, again."""
    session.execute(
        """UPDATE webhook_endpoints SET status = 'enabled', disabled_reason = NULL, failures = 0, paused_until = now()
           WHERE merchant = %s AND id = %s""",
        (merchant, endpoint_id),
    )


def end_pause(session: Session, merchant: str, endpoint_id: str) -> None:
    """Let an endpoint that rests be tried at once."""
    session.execute(
        "UPDATE webhook_endpoints SET paused_until = now() WHERE merchant = %s AND id = %s AND paused_until > now()",
        (merchant, endpoint_id),
    )


def add_delivery(session: Session, merchant: str, endpoint_id: str, delivery_id: str, kind: str, payload: str) -> None:
    """Store a delivery that is of no order."""
    session.execute(
        "INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload) VALUES (%s, %s, %s, %s, %s)",
        (merchant, endpoint_id, delivery_id, kind, payload),
    )


def get_delivery(session: Session, merchant: str, endpoint_id: str, delivery_id: str) -> Row | None:
    """A delivery's view with its payload and its attempts, oldest first: body (JSON text), id, status."""
    return session.execute(
        f"""SELECT json_build_object({_DELIVERY}, 'payload', d.payload::json, 'attempts', COALESCE((
                SELECT json_agg(json_build_object(
                    'number', a.number, 'at', {json_time("a.at")}, 'status_code', a.status_code, 'error', a.error,
                    'duration', round(a.seconds::numeric, 3)) ORDER BY a.number)
                FROM webhook_attempts a
                WHERE (a.merchant, a.endpoint_id, a.delivery_id) = (d.merchant, d.endpoint_id, d.id)), '[]'))::text
                AS body, d.id, d.status
            FROM webhook_deliveries d WHERE merchant = %s AND endpoint_id = %s AND id = %s""",
        (merchant, endpoint_id, delivery_id),
    ).fetchone()


# The status is written out, so that the partial indexes of what is pending and what is dead can be used.
_IN_STATUS: dict[str | None, LiteralString] = {
    None: "",
    "pending": "AND d.status = 'pending'",
    "delivered": "AND d.status = 'delivered'",
    "dead": "AND d.status = 'dead'",
}


def find_deliveries(
    session: Session, merchant: str, endpoint_id: str, status: str | None, after: str | None, limit: int
) -> list[Row]:
    """Views of an endpoint's deliveries, newest event first: after an id, in a state; `limit` + 1 at most."""
    return session.execute(
        f"""SELECT json_build_object({_DELIVERY})::text AS body, d.id FROM webhook_deliveries d
            WHERE merchant = %(merchant)s AND endpoint_id = %(endpoint)s {_IN_STATUS[status]}
              AND (%(after)s::uuid IS NULL OR id < %(after)s::uuid)
            ORDER BY id DESC LIMIT %(limit)s + 1""",
        {"merchant": merchant, "endpoint": endpoint_id, "after": after, "limit": limit},
    ).fetchall()


def redeliver(session: Session, merchant: str, endpoint_id: str, delivery_id: str) -> None:
    """Let a delivery be tried at once, and as long and as often as a new one."""
    session.execute(
        """UPDATE webhook_deliveries SET status = 'pending', settled_at = NULL, tries = 0, available_at = now(),
                  trying_since = now()
           WHERE merchant = %s AND endpoint_id = %s AND id = %s""",
        (merchant, endpoint_id, delivery_id),
    )


def redeliver_dead(
    session: Session, merchant: str | None, delivery_id: str | None, before: str, endpoint_id: str | None = None
) -> int:
    """The same for up to a thousand that died before a time, at endpoints that are enabled; how many.

    Of a merchant or all, with this id or any, at this endpoint or any.
    """
    return session.execute(
        """WITH again AS (
               UPDATE webhook_deliveries d SET status = 'pending', settled_at = NULL, tries = 0, available_at = now(),
                      trying_since = now()
               FROM (SELECT d.merchant, d.endpoint_id, d.id FROM webhook_deliveries d
                     JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
                     WHERE d.status = 'dead' AND e.status = 'enabled' AND d.settled_at < %(before)s::timestamptz
                       AND (%(merchant)s::text IS NULL OR d.merchant = %(merchant)s::text)
                       AND (%(id)s::uuid IS NULL OR d.id = %(id)s::uuid)
                       AND (%(endpoint)s::uuid IS NULL OR d.endpoint_id = %(endpoint)s::uuid)
                     LIMIT 1000 FOR NO KEY UPDATE OF e) dead
               WHERE d.merchant = dead.merchant AND d.endpoint_id = dead.endpoint_id AND d.id = dead.id
                 AND d.status = 'dead'
               RETURNING d.merchant, d.endpoint_id),
           rested AS (
               UPDATE webhook_endpoints e SET paused_until = now()
               WHERE (merchant, id) IN (SELECT merchant, endpoint_id FROM again) AND paused_until > now())
           SELECT FROM again""",
        {"merchant": merchant, "id": delivery_id, "endpoint": endpoint_id, "before": before},
    ).rowcount


def find_dead(session: Session, merchant: str | None, limit: int | None = None) -> list[Row]:
    """Dead letters of endpoints that still exist, oldest first: of a merchant or all, so many at most."""
    return session.execute(
        f"""SELECT d.merchant, d.endpoint_id, d.id, d.type, d.order_id, d.last_error, e.status,
                   {json_time("d.created_at")} AS created_at
            FROM webhook_deliveries d JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
            WHERE d.status = 'dead' AND (%(merchant)s::text IS NULL OR d.merchant = %(merchant)s::text)
            ORDER BY d.id LIMIT %(limit)s""",
        {"merchant": merchant, "limit": limit},
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery leased to `owner`, with what is to be known of its endpoint. `left` is in seconds."""

    merchant: str
    endpoint_id: str
    id: str
    type: str
    payload: str
    headers: dict[str, str] | None
    attempts: int
    tries: int
    left: float
    url: str
    secrets: list[dict[str, Any]]
    failures: int
    owner: str


# Endpoints are found one after the other in the index of what is pending (a loose index scan), so that a backlog of
# one is not gone through to find the next; they come in any order, and each gets a few at a time.
_CLAIM = """
WITH RECURSIVE busy AS (
    (SELECT merchant, endpoint_id FROM webhook_deliveries WHERE status = 'pending'
     ORDER BY merchant, endpoint_id LIMIT 1)
    UNION ALL
    SELECT next.* FROM busy CROSS JOIN LATERAL (
        SELECT merchant, endpoint_id FROM webhook_deliveries
        WHERE status = 'pending' AND (merchant, endpoint_id) > (busy.merchant, busy.endpoint_id)
        ORDER BY merchant, endpoint_id LIMIT 1) next),
ready AS MATERIALIZED (
    SELECT e.merchant, e.id, e.url, e.secrets, e.failures, %(share)s::bigint - (
               SELECT count(*) FROM webhook_deliveries leased WHERE leased.merchant = e.merchant
               AND leased.endpoint_id = e.id AND leased.leased_until > now()) AS room
    FROM busy JOIN webhook_endpoints e ON e.merchant = busy.merchant AND e.id = busy.endpoint_id
    WHERE e.status = 'enabled' AND e.paused_until <= now()
    ORDER BY random()),
due AS MATERIALIZED (
    SELECT d.merchant, d.endpoint_id, d.id, ready.url, ready.secrets, ready.failures
    FROM ready CROSS JOIN LATERAL (
        SELECT merchant, endpoint_id, id FROM webhook_deliveries candidate
        WHERE candidate.merchant = ready.merchant AND candidate.endpoint_id = ready.id
          AND status = 'pending' AND available_at <= now() AND (leased_until IS NULL OR leased_until <= now())
          -- What is told of one order is first tried in order. One that has failed holds up none that follow.
          AND NOT EXISTS (
              SELECT FROM webhook_deliveries older
              WHERE older.merchant = candidate.merchant AND older.endpoint_id = candidate.endpoint_id
                AND older.order_id = candidate.order_id AND older.id < candidate.id AND older.status = 'pending'
                AND (older.attempts = 0 OR older.leased_until > now()))
        ORDER BY available_at LIMIT GREATEST(ready.room, 0)
        FOR UPDATE SKIP LOCKED) d
    LIMIT %(limit)s::bigint)
UPDATE webhook_deliveries d SET attempts = attempts + 1, tries = tries + 1, lease_owner = %(owner)s,
       leased_until = now() + make_interval(secs => %(lease)s::float8)
FROM due WHERE d.merchant = due.merchant AND d.endpoint_id = due.endpoint_id AND d.id = due.id
RETURNING d.merchant, d.endpoint_id, d.id, d.type, d.payload, d.headers, d.attempts, d.tries,
    due.url, due.secrets, due.failures,
    extract(epoch FROM d.trying_since - now())::float8 + %(give_up)s::float8 AS left
"""


def claim(session: Session, owner: str, lease: float, limit: int, share: int, give_up: float) -> list[Delivery]:
    """Lease up to `limit` deliveries that are due to `owner`, for `lease` seconds; of one endpoint up to `share`."""
    wanted = {"owner": owner, "lease": lease, "limit": limit, "share": share, "give_up": give_up}
    rows = session.execute(_CLAIM, wanted, prepare=False).fetchall()  # planned each time, as in chassis.outbox
    named = ("endpoint_id", "id")
    return [Delivery(**{**row, **{name: str(row[name]) for name in named}}, owner=owner) for row in rows]


def is_ours(session: Session, delivery: Delivery) -> bool:
    """Whether a delivery is still leased to its owner, and its endpoint still wants it."""
    row = session.execute(
        """SELECT FROM webhook_deliveries d JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
           WHERE d.merchant = %s AND d.endpoint_id = %s AND d.id = %s AND d.lease_owner = %s AND d.status = 'pending'
             AND d.leased_until > now() AND e.status = 'enabled'""",
        (delivery.merchant, delivery.endpoint_id, delivery.id, delivery.owner),
    ).fetchone()
    return row is not None


# Whoever locks both has the endpoint first, as those do who ask for something by the API.
_SETTLE = """
WITH held AS MATERIALIZED (
    SELECT merchant, id FROM webhook_endpoints WHERE merchant = %(merchant)s AND id = %(endpoint)s
    FOR NO KEY UPDATE),
settled AS (
    UPDATE webhook_deliveries d
    SET status = %(status)s::text,
        settled_at = CASE WHEN %(status)s::text <> 'pending' THEN clock_timestamp() END,
        available_at = now() + make_interval(secs => %(delay)s::float8),
        last_status_code = %(code)s::integer, last_error = %(error)s::text, leased_until = NULL, lease_owner = NULL
    FROM held
    WHERE d.merchant = %(merchant)s AND d.endpoint_id = %(endpoint)s AND d.id = %(id)s
      AND d.lease_owner = %(owner)s AND d.status = 'pending'
      AND held.merchant = d.merchant AND held.id = d.endpoint_id
    RETURNING d.merchant, d.endpoint_id, d.id, d.attempts),
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
        status = CASE WHEN %(gone)s::boolean THEN 'disabled' ELSE status END,
        disabled_reason = CASE WHEN %(gone)s::boolean THEN 'gone' ELSE disabled_reason END
    FROM settled
    WHERE e.merchant = settled.merchant AND e.id = settled.endpoint_id AND (NOT %(ok)s::boolean OR failures <> 0))
SELECT id FROM settled
"""

_LEAVE = """
UPDATE webhook_deliveries d SET status = 'dead', settled_at = now(), last_error = %(error)s, leased_until = NULL,
       lease_owner = NULL
WHERE d.merchant = %(merchant)s AND d.endpoint_id = %(endpoint)s AND d.status = 'pending'
"""


def settle(session: Session, delivery: Delivery, attempt: Attempt, verdict: Verdict) -> bool:
    """Write an attempt down and what follows from it, for its delivery and its endpoint.

    False when the lease was lost, or the endpoint was deleted or disabled meanwhile: nothing is written then.
    """
    named = {"merchant": delivery.merchant, "endpoint": delivery.endpoint_id}
    done = session.execute(
        _SETTLE,
        {
            **named,
            "id": delivery.id,
            "owner": delivery.owner,
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
    if done is not None and verdict.gone:
        session.execute(_LEAVE, {**named, "error": "the endpoint is disabled"})
    return done is not None


def bury(session: Session, give_up: float) -> int:
    """Take up to a thousand deliveries for dead that were never due again before their time was over; how many."""
    return session.execute(
        """UPDATE webhook_deliveries d SET status = 'dead', settled_at = now(),
                  last_error = COALESCE(last_error, 'never tried: the endpoint did not answer what came before'),
                  leased_until = NULL, lease_owner = NULL
           FROM (SELECT merchant, endpoint_id, id FROM webhook_deliveries
                 WHERE status = 'pending' AND trying_since < now() - make_interval(secs => %(over)s)
                   AND (leased_until IS NULL OR leased_until <= now())
                 ORDER BY trying_since LIMIT 1000 FOR UPDATE SKIP LOCKED) old
           WHERE d.merchant = old.merchant AND d.endpoint_id = old.endpoint_id AND d.id = old.id""",
        {"over": give_up},
    ).rowcount


def backlog(session: Session) -> dict[str, float]:
    """How many deliveries are `pending` and `dead`, as far as gauges count."""
    row = session.one(
        """SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries
                                         WHERE status = 'pending' LIMIT %(most)s) AS these)::float8 AS pending,
                  (SELECT count(*) FROM (SELECT FROM webhook_deliveries
                                         WHERE status = 'dead' LIMIT %(most)s) AS these)::float8 AS dead""",
        {"most": COUNT_LIMIT},
    )
    return dict(row or {})


def oldest_seconds(session: Session) -> float:
    """For how long the oldest pending delivery has been tried, in seconds; 0 when none is pending."""
    row = session.one(
        """SELECT COALESCE(extract(epoch FROM now() - min(trying_since)), 0)::float8 AS oldest
           FROM webhook_deliveries WHERE status = 'pending'"""
    )
    return row["oldest"] if row else 0.0
