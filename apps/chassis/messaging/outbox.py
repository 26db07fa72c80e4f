"""The transactional outbox: a message to another service is a row that commits with the change it reports.

Relays lease rows as described in leases.py; merchants take turns. Only the oldest undelivered row of an aggregate is
ever claimed, so the messages of one aggregate are delivered in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from msgspec import Struct

from chassis.messaging import leases
from chassis.messaging.leases import FREE, RELEASED, Queue, Share
from chassis.postgres.database import Session, to_json
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges, Samples

CHANNEL = "outbox"
"""The NOTIFY channel of the relays."""

# `sequence > 0` is true for all rows. The index outbox_claims has this condition, so only statements that repeat it can
# use the index: claims and gauges. The search for the oldest row of an aggregate has an index of its own.
_PENDING: LiteralString = "outbox.delivered_at IS NULL AND outbox.sequence > 0"

OUTBOX = Queue(
    table="outbox",
    key=("merchant", "id"),
    pending="outbox.delivered_at IS NULL",
    due=leases.by_turns(
        "outbox",
        _PENDING,
        "merchant, id",
        # With `=`, the planner would expect one row, and sort all waiting rows instead of reading the first ones.
        """outbox.sequence <= (
                SELECT sequence FROM outbox oldest
                WHERE oldest.merchant = outbox.merchant AND oldest.aggregate_id = outbox.aggregate_id
                  AND oldest.delivered_at IS NULL
                ORDER BY sequence LIMIT 1)""",
    ),
    returning="sequence, outbox.id, outbox.merchant, aggregate_id, topic, payload, headers, attempts",
)

DELIVERED = f"delivered_at = now(), {RELEASED}, last_error = NULL"
"""SQL: the assignments that mark a row delivered, for `mark_delivered` and for statements that settle more with it."""

_MARK_DELIVERED = f"UPDATE outbox SET {DELIVERED} WHERE {OUTBOX.held} RETURNING id"

_MARK_MANY = f"""
UPDATE outbox o SET {DELIVERED} FROM jsonb_to_recordset(%(messages)s::jsonb) AS m(merchant text, id uuid, owner text)
WHERE o.merchant = m.merchant AND o.id = m.id AND {leases.held("o", "o.delivered_at IS NULL", "m.owner")}"""

_IS_LEASED = f"SELECT id FROM outbox WHERE {OUTBOX.held}"


class Message(Struct, frozen=True):
    """A row of the outbox, leased to `owner`."""

    sequence: int
    id: str
    merchant: str
    aggregate_id: str
    topic: str
    payload: dict[str, Any]
    headers: dict[str, str]
    attempts: int
    owner: str


def claim(session: Session, lease: float, limit: int, share: Share | None = None) -> list[Message]:
    """Lease up to `limit` due rows for `lease` seconds, oldest first; of each merchant as many as `share` allows."""
    rows = leases.claim_by_turns(session, OUTBOX, lease, limit, share)
    return sorted(
        (Message(**{**row, "id": str(row["id"]), "aggregate_id": str(row["aggregate_id"])}) for row in rows),
        key=lambda message: message.sequence,
    )


def mark_delivered(session: Session, message: Message) -> bool:
    """Mark the row delivered. Returns False if the lease was lost to another relay; then nothing is written."""
    return session.one(_MARK_DELIVERED, OUTBOX.holding(message)) is not None


def mark_many_delivered(session: Session, messages: Sequence[Message]) -> None:
    """Mark rows delivered, without those whose lease was lost to another relay."""
    if messages:
        held = [{"merchant": message.merchant, "id": message.id, "owner": message.owner} for message in messages]
        session.execute(_MARK_MANY, {"messages": to_json(held)})


def is_leased(session: Session, message: Message) -> bool:
    """Return whether the message is still leased to its owner and undelivered."""
    return session.one(_IS_LEASED, OUTBOX.holding(message)) is not None


def release(session: Session, message: Message, delay: float, error: str) -> bool:
    """End the lease of a row that was not delivered; see leases.release."""
    return leases.release(session, OUTBOX, message, delay, error)


def retry_now(session: Session, merchant: str, message_id: str) -> bool:
    """Make an undelivered row due now. Returns False if it is delivered, or leased to a relay at the moment."""
    named = {"merchant": merchant, "id": message_id}
    return leases.retry_now(session, OUTBOX, f"merchant = %(merchant)s AND id = %(id)s AND {FREE}", named) == 1


WAITING = f"""
{leases.merchants("outbox", _PENDING)},
waiting AS (
    SELECT those.* FROM found CROSS JOIN LATERAL (
        SELECT * FROM outbox WHERE outbox.merchant = found.merchant AND {_PENDING}
        ORDER BY available_at LIMIT GREATEST(%(most)s::bigint / (SELECT count(*) FROM found), 100)) AS those)"""
"""SQL, for WITH RECURSIVE: `waiting` are undelivered rows, of each merchant those that are due first.

Each merchant has an equal part of the parameter `most`, and at least 100 rows, so a backlog of one merchant does not
hide the oldest row of another.
"""

_GAUGES = f"""
WITH RECURSIVE {WAITING}
SELECT topic, sum(depth)::float8 AS depth, max(age)::float8 AS oldest FROM (
    SELECT topic, 0 AS depth, extract(epoch FROM now() - min(created_at)) AS age FROM waiting GROUP BY topic
    UNION ALL
    SELECT topic, count(*), 0
    FROM (SELECT topic FROM outbox WHERE delivered_at IS NULL LIMIT %(most)s::bigint) AS counted
    GROUP BY topic) AS measured
GROUP BY topic
"""


def add_gauges(gauges: DatabaseGauges, *topics: str) -> None:
    """Measure how many rows wait, and how long the oldest has waited, by topic."""

    def read(session: Session) -> Samples:
        rows = session.execute(_GAUGES, {"most": COUNT_LIMIT})
        found = dict.fromkeys(topics, (0.0, 0.0)) | {row["topic"]: (row["depth"], row["oldest"]) for row in rows}
        return [((topic,), numbers) for topic, numbers in found.items()]

    meanings = {
        "outbox_depth": f"Undelivered rows, counted up to {COUNT_LIMIT:,}.",
        "outbox_oldest_seconds": "Age of the oldest undelivered row.",
    }
    gauges.add(meanings, ("topic",), read)
