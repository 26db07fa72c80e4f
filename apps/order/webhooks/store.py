"""The SQL of webhook endpoints and their deliveries. PostgreSQL builds the JSON of responses."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from chassis.postgres.database import Row, Session, json_time
from chassis.telemetry.metrics import COUNT_LIMIT
from order.webhooks.bodies import BODY, EVENT_OF_DELIVERY
from order.webhooks.model import ENDED_BY_DISABLING
from order.webhooks.queue import PENDING_AGAIN

_ENDPOINT = f"""json_build_object(
    'id', e.id, 'url', e.url, 'description', e.description, 'events', e.events, 'status', e.status,
    'disabled_reason', e.disabled_reason, 'redelivering_since', {json_time("e.redeliver_since")},
    'signed_until', (SELECT {json_time("max((s->>'until')::timestamptz)")} FROM jsonb_array_elements(e.secrets) s),
    'created_at', {json_time("e.created_at")})::text AS body, e.id, e.url, e.secrets, e.status"""

_DELIVERY = f"""'id', d.id, 'endpoint_id', d.endpoint_id, 'order_id', d.order_id, 'type', d.type, 'status', d.status,
    'attempt_count', d.attempts, 'last_status_code', d.last_status_code, 'last_error', d.last_error,
    'next_attempt_at', CASE WHEN d.status = 'pending' THEN {json_time("d.available_at")} END,
    'created_at', {json_time("d.created_at")}, 'settled_at', {json_time("d.settled_at")}"""


SHOWN_ATTEMPTS = 100
"""How many attempts at a delivery are shown: a delivery can be redelivered any number of times."""


def lock_merchant(session: Session, merchant: str) -> None:
    """Serialize the registration of a merchant's endpoints: others wait until this transaction ends."""
    session.execute("SELECT pg_advisory_xact_lock(hashtext('webhook_endpoints'), hashtext(%s))", (merchant,))


def count(session: Session, merchant: str) -> int:
    """Return the number of a merchant's endpoints."""
    row = session.execute("SELECT count(*) AS n FROM webhook_endpoints WHERE merchant = %s", (merchant,)).fetchone()
    return int(row["n"]) if row else 0


def insert(session: Session, endpoint: dict[str, Any]) -> None:
    """Store an endpoint: merchant, id, url, description, events, secrets."""
    session.execute(
        """INSERT INTO webhook_endpoints (merchant, id, url, description, events, secrets)
           VALUES (%(merchant)s, %(id)s, %(url)s, %(description)s, %(events)s, %(secrets)s)""",
        {**endpoint, "secrets": Jsonb(endpoint["secrets"])},
    )


def get(session: Session, merchant: str, endpoint_id: str, *, lock: bool = False) -> Row | None:
    """Return an endpoint's view: body (JSON text), id, url, secrets, status. With `lock`, its row is locked."""
    return session.execute(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints e WHERE merchant = %s AND id = %s"
        + (" FOR NO KEY UPDATE" if lock else ""),
        (merchant, endpoint_id),
    ).fetchone()


def find(session: Session, merchant: str) -> list[Row]:
    """Return views of a merchant's endpoints, newest first."""
    return session.execute(
        f"SELECT {_ENDPOINT} FROM webhook_endpoints e WHERE merchant = %s ORDER BY id DESC", (merchant,)
    ).fetchall()


def delete(session: Session, merchant: str, endpoint_id: str) -> bool:
    """Delete an endpoint and its undelivered deliveries. Returns False if there is none.

    Delivered ones are deleted by the purge.
    """
    done = session.execute("DELETE FROM webhook_endpoints WHERE merchant = %s AND id = %s", (merchant, endpoint_id))
    session.execute(
        "DELETE FROM webhook_deliveries WHERE merchant = %s AND endpoint_id = %s AND status IN ('pending', 'dead')",
        (merchant, endpoint_id),
    )
    return done.rowcount == 1


def set_secrets(session: Session, merchant: str, endpoint_id: str, secrets: list[dict[str, Any]]) -> None:
    """Replace an endpoint's stored secrets (see keys.py)."""
    session.execute(
        "UPDATE webhook_endpoints SET secrets = %s WHERE merchant = %s AND id = %s",
        (Jsonb(secrets), merchant, endpoint_id),
    )


def enable(session: Session, merchant: str, endpoint_id: str) -> None:
    """Enable an endpoint and end its pause."""
    session.execute(
        """UPDATE webhook_endpoints SET status = 'enabled', disabled_reason = NULL, failures = 0, paused_until = now()
           WHERE merchant = %s AND id = %s""",
        (merchant, endpoint_id),
    )


def change(session: Session, merchant: str, endpoint_id: str, wanted: dict[str, Any]) -> None:
    """Replace those of `url`, `events` and `description` that are given. Another URL ends the endpoint's pause."""
    named = {"merchant": merchant, "id": endpoint_id, "url": None, "events": None, "description": None, **wanted}
    session.execute(
        """UPDATE webhook_endpoints SET url = COALESCE(%(url)s, url), events = COALESCE(%(events)s::text[], events),
                  description = CASE WHEN %(has_description)s THEN %(description)s ELSE description END,
                  failures = CASE WHEN url <> %(url)s THEN 0 ELSE failures END,
                  paused_until = CASE WHEN url <> %(url)s THEN now() ELSE paused_until END
           WHERE merchant = %(merchant)s AND id = %(id)s""",
        {**named, "has_description": "description" in wanted},
    )


def disable(session: Session, merchant: str, endpoint_id: str) -> None:
    """Disable an endpoint on its merchant's request. Its deliveries wait."""
    session.execute(
        """UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = 'requested'
           WHERE merchant = %s AND id = %s""",
        (merchant, endpoint_id),
    )


def revive(session: Session, merchant: str, endpoint_id: str) -> int:
    """Make up to a thousand deliveries pending that became dead when their endpoint answered 410. Returns how many."""
    # An array, because the planner could join the thousand with all dead deliveries, of which its statistics of a
    # moment ago know nothing.
    return session.execute(
        f"""UPDATE webhook_deliveries d SET {PENDING_AGAIN}, available_at = now()
            WHERE d.merchant = %(merchant)s AND d.endpoint_id = %(endpoint)s AND d.status = 'dead'
              AND d.id = ANY (ARRAY(SELECT dead.id FROM webhook_deliveries dead
                JOIN webhook_endpoints e ON e.merchant = dead.merchant AND e.id = dead.endpoint_id
                WHERE dead.merchant = %(merchant)s AND dead.endpoint_id = %(endpoint)s AND dead.status = 'dead'
                  AND (dead.last_error = %(error)s OR dead.last_status_code = 410) AND e.status = 'enabled'
                LIMIT 1000 FOR NO KEY UPDATE OF e))""",
        {"merchant": merchant, "endpoint": endpoint_id, "error": ENDED_BY_DISABLING},
    ).rowcount


def redeliver_since(session: Session, merchant: str, endpoint_id: str, since: datetime) -> None:
    """Note that all deliveries of events since a time are to be made again; see queue.redeliver_some.

    A redelivery that is under way starts over, at the earlier of both times.
    """
    session.execute(
        """UPDATE webhook_endpoints SET redeliver_since = LEAST(redeliver_since, %s), redeliver_until = now(),
                  redeliver_after = NULL
           WHERE merchant = %s AND id = %s""",
        (since, merchant, endpoint_id),
    )


def insert_delivery(
    session: Session, merchant: str, endpoint_id: str, delivery_id: str, kind: str, payload: str
) -> None:
    """Store a delivery that belongs to no order and was requested; `payload` is its JSON text.

    Its first attempt is made even while the endpoint is paused.
    """
    session.execute(
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, at_once)
           VALUES (%s, %s, %s, %s, %s, true)""",
        (merchant, endpoint_id, delivery_id, kind, payload),
    )


def get_delivery(session: Session, merchant: str, endpoint_id: str, delivery_id: str) -> Row | None:
    """Return a delivery's view with its payload and its newest attempts, oldest first: body (JSON text), id, status."""
    return session.execute(
        f"""SELECT json_build_object({_DELIVERY}, 'payload', {BODY}, 'attempts', COALESCE((
                SELECT json_agg(json_build_object(
                    'number', a.number, 'at', {json_time("a.at")}, 'status_code', a.status_code, 'error', a.error,
                    'duration', round(a.seconds::numeric, 3)) ORDER BY a.number)
                FROM (SELECT * FROM webhook_attempts a
                      WHERE (a.merchant, a.endpoint_id, a.delivery_id) = (d.merchant, d.endpoint_id, d.id)
                      ORDER BY a.number DESC LIMIT {SHOWN_ATTEMPTS}) a), '[]'))::text
                AS body, d.id, d.status
            FROM webhook_deliveries d {EVENT_OF_DELIVERY}
            WHERE d.merchant = %s AND d.endpoint_id = %s AND d.id = %s""",
        (merchant, endpoint_id, delivery_id),
    ).fetchone()


# The status is a literal, so that the partial indexes of pending and of dead deliveries can be used.
_IN_STATUS: dict[str | None, LiteralString] = {
    None: "",
    "pending": "AND d.status = 'pending'",
    "delivered": "AND d.status = 'delivered'",
    "dead": "AND d.status = 'dead'",
}


def find_deliveries(
    session: Session, merchant: str, endpoint_id: str, query: dict[str, Any], after: str | None, limit: int
) -> list[Row]:
    """Return views of an endpoint's deliveries, newest event first; at most `limit` + 1.

    `query` has the optional filters `status`, `type`, `created_after` and `created_before`. `after` is the id of the
    last delivery of the previous page, if there is one.
    """
    status = query.get("status")
    return session.execute(
        f"""SELECT json_build_object({_DELIVERY})::text AS body, d.id FROM webhook_deliveries d
            WHERE merchant = %(merchant)s AND endpoint_id = %(endpoint)s {_IN_STATUS[status]}
              AND (%(after)s::uuid IS NULL OR id < %(after)s::uuid)
              AND (%(type)s::text IS NULL OR type = %(type)s::text)
              AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s::timestamptz)
              AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s::timestamptz)
            ORDER BY id DESC LIMIT %(limit)s + 1""",
        {
            **dict.fromkeys(("type", "created_after", "created_before")),
            **query,
            "merchant": merchant,
            "endpoint": endpoint_id,
            "after": after,
            "limit": limit,
        },
    ).fetchall()


def redeliver(session: Session, merchant: str, endpoint_id: str, delivery_id: str) -> None:
    """Make a delivery pending and due now, to be tried for as long and as often as a new one.

    The next attempt is made even while the endpoint is paused. The pause does not end for other deliveries.
    """
    session.execute(
        f"""UPDATE webhook_deliveries SET {PENDING_AGAIN}, available_at = now(), at_once = true
           WHERE merchant = %s AND endpoint_id = %s AND id = %s""",
        (merchant, endpoint_id, delivery_id),
    )


def redeliver_dead(
    session: Session, merchant: str | None, delivery_id: str | None, before: str, endpoint_id: str | None = None
) -> int:
    """Redeliver up to a thousand dead deliveries of enabled endpoints that died before a time. Returns how many.

    `merchant`, `delivery_id` and `endpoint_id` are optional filters. No pause ends. One delivery of each endpoint is
    attempted even while the endpoint is paused; if it succeeds, the pause ends and the others follow.
    """
    return session.execute(
        f"""WITH dead AS MATERIALIZED (
               SELECT d.merchant, d.endpoint_id, d.id FROM webhook_deliveries d
               JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
               WHERE d.status = 'dead' AND e.status = 'enabled' AND d.settled_at < %(before)s::timestamptz
                 AND (%(merchant)s::text IS NULL OR d.merchant = %(merchant)s::text)
                 AND (%(id)s::uuid IS NULL OR d.id = %(id)s::uuid)
                 AND (%(endpoint)s::uuid IS NULL OR d.endpoint_id = %(endpoint)s::uuid)
               LIMIT 1000 FOR NO KEY UPDATE OF e)
           UPDATE webhook_deliveries d SET {PENDING_AGAIN}, available_at = now(), at_once = dead.turn = 1
           FROM (SELECT dead.*, row_number() OVER (PARTITION BY merchant, endpoint_id ORDER BY id) AS turn
                 FROM dead) dead
           WHERE d.merchant = dead.merchant AND d.endpoint_id = dead.endpoint_id AND d.id = dead.id
             -- Not `status = 'dead'`: the index of dead rows would be read once for each of the thousand.
             AND d.status || '' = 'dead'""",
        {"merchant": merchant, "id": delivery_id, "endpoint": endpoint_id, "before": before},
    ).rowcount


def find_dead(session: Session, merchant: str | None, limit: int | None = None) -> list[Row]:
    """Return dead deliveries of existing endpoints, of a merchant or of all (None), oldest first; at most `limit`."""
    return session.execute(
        f"""SELECT d.merchant, d.endpoint_id, d.id, d.type, d.order_id, d.last_error, e.status,
                   {json_time("d.created_at")} AS created_at
            FROM webhook_deliveries d JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
            WHERE d.status = 'dead' AND (%(merchant)s::text IS NULL OR d.merchant = %(merchant)s::text)
            ORDER BY d.id LIMIT %(limit)s""",
        {"merchant": merchant, "limit": limit},
    ).fetchall()


def backlog(session: Session) -> dict[str, float]:
    """Return the number of deliveries that are `pending` and `dead`, each counted up to COUNT_LIMIT."""
    row = session.one(
        """SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries
                                         WHERE status = 'pending' LIMIT %(most)s) AS these)::float8 AS pending,
                  (SELECT count(*) FROM (SELECT FROM webhook_deliveries
                                         WHERE status = 'dead' LIMIT %(most)s) AS these)::float8 AS dead""",
        {"most": COUNT_LIMIT},
    )
    return dict(row or {})


def oldest_seconds(session: Session) -> float:
    """Return the seconds for which the oldest pending delivery of an enabled endpoint has been tried; 0 if none is.

    The oldest COUNT_LIMIT deliveries are looked at.
    """
    row = session.one(
        """SELECT COALESCE(extract(epoch FROM now() - min(trying_since)), 0)::float8 AS oldest
           FROM (SELECT d.trying_since, e.status FROM webhook_deliveries d
                 JOIN webhook_endpoints e ON e.merchant = d.merchant AND e.id = d.endpoint_id
                 WHERE d.status = 'pending' ORDER BY d.trying_since LIMIT %s) those WHERE status = 'enabled'""",
        (COUNT_LIMIT,),
    )
    return row["oldest"] if row else 0.0
