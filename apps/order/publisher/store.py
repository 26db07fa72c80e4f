"""The SQL of the publisher: its lease, the position of each merchant, and the events behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis import cards
from chassis.messaging import leases
from chassis.postgres.database import Row, Session, to_json
from order.feed import store as feed
from order.feed.store import BELOW, NO_ORDER, Place
from order.publisher.broker import Consumer

MERCHANTS = 16
"""How many merchants one round publishes events of."""

EVENTS = 50
"""How many events of one merchant a round publishes."""

CONSUMERS = 100
"""How many consumers of the broker are stored, those that are furthest behind."""

ENOUGH = 4 * 1024 * 1024
"""A round reads no further merchant when its events have this many bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """The next events of a merchant, oldest first, and the place before them."""

    merchant: str
    place: Place
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Move:
    """A merchant's position moves from one place to a later one."""

    merchant: str
    seen: Place
    to: Place


# The merchants that have events, and the position of each.
_BEHIND = f"""
    WITH RECURSIVE {leases.merchants("order_events", "order_events.position IS NOT NULL")},
    places AS (
        SELECT f.merchant, COALESCE(p.position, 0) AS position, p.order_id, COALESCE(p.version, 0) AS version,
               COALESCE(p.order_id, '{NO_ORDER}') AS seen_order
        FROM found f LEFT JOIN event_positions p ON p.merchant = f.merchant)"""

# Condition: the event `n` is behind the position of a row `k` of `places`.
_AFTER = """n.merchant = k.merchant AND n.position >= k.position
    AND (n.position, n.order_id, n.version) > (k.position, k.seen_order, k.version)"""

_WAITING = f"""{_BEHIND}
SELECT k.merchant, k.position, k.seen_order, k.version FROM places k
WHERE (SELECT true FROM order_events n WHERE {_AFTER} AND n.position < (SELECT {BELOW}) ORDER BY n.position LIMIT 1)
ORDER BY random() LIMIT {MERCHANTS}"""

_OLDEST = f"""{_BEHIND}
SELECT GREATEST(0, extract(epoch FROM now() - min(first.at)))::float8 AS age
FROM places k CROSS JOIN LATERAL (
    SELECT n.at FROM order_events n WHERE {_AFTER} ORDER BY n.position LIMIT 1) first"""


def claim(session: Session, lease: float) -> str | None:
    """Lease the right to publish for `lease` seconds. Returns the lease owner, or None if another publisher has it."""
    owner = leases.new_owner()
    row = session.one(
        f"""WITH claimed AS (
                UPDATE event_publisher SET lease_owner = %(owner)s, leased_until = {leases.UNTIL}
                WHERE {leases.FREE} RETURNING lease_owner),
            first AS (
                INSERT INTO event_publisher (lease_owner, leased_until) SELECT %(owner)s, {leases.UNTIL}
                WHERE NOT EXISTS (SELECT FROM event_publisher)
                ON CONFLICT DO NOTHING RETURNING lease_owner)
            SELECT lease_owner FROM claimed UNION ALL SELECT lease_owner FROM first""",
        {"owner": owner, "lease": lease},
    )
    return owner if row else None


def renew(session: Session, owner: str, lease: float) -> bool:
    """Extend the lease to `lease` seconds from now. Returns False if it was lost."""
    done = session.execute(
        f"UPDATE event_publisher SET leased_until = {leases.UNTIL} WHERE lease_owner = %(owner)s",
        {"owner": owner, "lease": lease},
    )
    return done.rowcount == 1


def release(session: Session, owner: str) -> None:
    """End the lease, if it was not lost."""
    session.execute(
        f"UPDATE event_publisher SET {leases.RELEASED} WHERE lease_owner = %(owner)s",
        {"owner": owner},
    )


def read(session: Session) -> list[Page]:
    """Return the next events of up to `MERCHANTS` merchants that have any, in random order of the merchants."""
    pages: list[Page] = []
    size = 0
    # Planned each time: a plan that was made while there were few events takes seconds when there are many.
    for row in session.execute(_WAITING, prepare=False).fetchall():
        place = Place(row["position"], str(row["seen_order"]), row["version"])
        rows, _, _ = feed.find(session, row["merchant"], {}, place, EVENTS)
        if rows:
            pages.append(Page(row["merchant"], place, rows))
            size += sum(len(event["body"]) for event in rows)
        if size > ENOUGH:
            break
    return pages


def move(session: Session, owner: str, lease: float, moves: Sequence[Move], error: str | None) -> bool:
    """Move positions, note the error of this round, and extend the lease. Returns False if the lease was lost.

    Then nothing is written. A position that was changed since it was read (`rewind`) stays as it is.
    """
    rows = [
        {
            "merchant": each.merchant,
            "seen": each.seen.position,
            "seen_order": each.seen.order_id,
            "seen_version": each.seen.version,
            "position": each.to.position,
            "order_id": each.to.order_id,
            "version": each.to.version,
        }
        for each in moves
    ]
    row = session.one(
        f"""WITH held AS (
                UPDATE event_publisher SET leased_until = {leases.UNTIL}, last_error = %(error)s,
                       published_at = CASE WHEN %(moved)s THEN now() ELSE published_at END
                WHERE lease_owner = %(owner)s RETURNING lease_owner),
            moves AS (
                SELECT m.* FROM held, jsonb_to_recordset(%(moves)s::jsonb) AS m(
                    merchant text, seen bigint, seen_order uuid, seen_version bigint,
                    position bigint, order_id uuid, version bigint)),
            moved AS (
                UPDATE event_positions p SET position = m.position, order_id = m.order_id, version = m.version
                FROM moves m WHERE p.merchant = m.merchant
                  AND (p.position, p.order_id, p.version) = (m.seen, m.seen_order, m.seen_version)),
            begun AS (
                INSERT INTO event_positions (merchant, position, order_id, version)
                SELECT merchant, position, order_id, version FROM moves WHERE seen = 0 ON CONFLICT DO NOTHING)
            SELECT lease_owner FROM held""",
        {
            "owner": owner,
            "lease": lease,
            "moved": bool(moves),
            "moves": to_json(rows),
            "error": error and cards.shown(error, leases.MAX_ERROR),
        },
    )
    return row is not None


def rewind(session: Session, place: Place) -> None:
    """Set the position of every merchant to a place. The events behind it are published, again if they were before.

    The publisher may be running.
    """
    session.execute(
        f"""WITH RECURSIVE {leases.merchants("order_events", "order_events.position IS NOT NULL")}
            INSERT INTO event_positions (merchant, position, order_id, version)
            SELECT merchant, %(position)s::bigint, %(order_id)s::uuid, %(version)s::bigint FROM found
            ON CONFLICT (merchant) DO UPDATE
            SET position = EXCLUDED.position, order_id = EXCLUDED.order_id, version = EXCLUDED.version""",
        {"position": place.position, "order_id": place.order_id, "version": place.version},
    )


def forget(session: Session) -> None:
    """Remove the publisher's row and the consumers. The positions stay, so that a later publisher continues."""
    session.execute("WITH gone AS (DELETE FROM event_consumers) DELETE FROM event_publisher")


def set_consumers(session: Session, found: Sequence[Consumer]) -> None:
    """Store the consumers of the broker instead of those that are stored."""
    furthest = sorted(found, key=lambda consumer: consumer.pending, reverse=True)[:CONSUMERS]
    session.execute(
        """WITH found AS (
               SELECT left(f.name, 200) AS name, max(f.pending) AS pending
               FROM jsonb_to_recordset(%(found)s::jsonb) AS f(name text, pending bigint) GROUP BY 1),
           gone AS (DELETE FROM event_consumers WHERE name NOT IN (SELECT name FROM found))
           INSERT INTO event_consumers (name, pending) SELECT name, pending FROM found ORDER BY name
           ON CONFLICT (name) DO UPDATE SET pending = EXCLUDED.pending, at = EXCLUDED.at""",
        {"found": to_json([{"name": consumer.name, "pending": consumer.pending} for consumer in furthest])},
    )


def consumers(session: Session) -> list[Row]:
    """Return `name`, `pending` and `age` (seconds since the broker said so) of each consumer, the furthest first."""
    return session.execute(
        """SELECT name, pending, extract(epoch FROM now() - at)::float8 AS age
           FROM event_consumers ORDER BY pending DESC, name"""
    ).fetchall()


def status(session: Session) -> Row | None:
    """Return what the publisher does, or None if events are not published; ages in seconds.

    `publisher` is the host, process and claim that publish, or None; `published` the age of the last acknowledgement;
    `oldest` the age of the oldest event that is not published; `last_error` the reason of the last round that failed;
    `consumers` those of the broker.
    """
    row = session.one(
        """SELECT CASE WHEN leased_until > now() THEN lease_owner END AS publisher, last_error,
                  extract(epoch FROM now() - published_at)::float8 AS published
           FROM event_publisher"""
    )
    return row and {**row, "oldest": oldest_seconds(session), "consumers": consumers(session)}


def oldest_seconds(session: Session) -> float | None:
    """Return the age of the oldest event that is not published, 0 if all are, None if events are not published."""
    if session.one("SELECT one FROM event_publisher") is None:
        return None
    row = session.execute(_OLDEST, prepare=False).fetchone()
    return row["age"] or 0.0 if row else 0.0
