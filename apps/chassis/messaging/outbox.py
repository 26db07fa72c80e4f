"""The transactional outbox: what must be told to others is a row that commits with what it is about.

Rows are claimed with SKIP LOCKED and leased to one relay at a time; only the holder of the lease can
mark a row delivered (fencing), so any number of relays can work without a leader. Of one aggregate only
the oldest undelivered row is ever claimed: what concerns one order arrives in order.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg
import uuid_utils

from chassis.postgres.database import Database, Session
from chassis.telemetry import logs
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges, Samples

log = logs.get_logger()

CHANNEL = "outbox"

_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT sequence FROM outbox candidate
    WHERE delivered_at IS NULL AND available_at <= now()
      AND (leased_until IS NULL OR leased_until <= now())
      AND sequence = (
          SELECT sequence FROM outbox oldest
          WHERE oldest.merchant = candidate.merchant AND oldest.aggregate_id = candidate.aggregate_id
            AND oldest.delivered_at IS NULL
          ORDER BY sequence LIMIT 1)
    ORDER BY sequence LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
UPDATE outbox SET attempts = attempts + 1, lease_owner = %(owner)s,
       leased_until = now() + make_interval(secs => %(lease)s)
FROM due WHERE outbox.sequence = due.sequence
RETURNING outbox.sequence, id, merchant, aggregate_id, topic, payload, headers, attempts
"""

DELIVERED = "delivered_at = now(), leased_until = NULL, lease_owner = NULL, last_error = NULL"
"""SQL: what a row is set to when it has been delivered, by `mark_delivered` or together with what follows from it."""


@dataclass(frozen=True, slots=True)
class Message:
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


def claim(session: Session, owner: str, lease: float, limit: int) -> list[Message]:
    """Lease up to `limit` rows that are due to `owner`, for `lease` seconds.

    Each claim is an owner of its own: who claims a row again after its lease ran out is fenced from itself too.
    """
    owner = f"{owner} {uuid_utils.uuid7()}"
    # Planned each time: a plan that was made, and kept, while nothing waited takes seconds when thousands do.
    rows = session.execute(_CLAIM, {"owner": owner, "lease": lease, "limit": limit}, prepare=False).fetchall()
    return sorted(
        (
            Message(**{**row, "id": str(row["id"]), "aggregate_id": str(row["aggregate_id"])}, owner=owner)
            for row in rows
        ),
        key=lambda message: message.sequence,
    )


def mark_delivered(session: Session, message: Message) -> bool:
    """Mark the row delivered, if the lease is still ours; False when it was lost to another relay."""
    done = session.one(
        f"UPDATE outbox SET {DELIVERED} WHERE id = %s AND lease_owner = %s AND delivered_at IS NULL RETURNING id",
        (message.id, message.owner),
    )
    return done is not None


def is_leased(session: Session, message: Message) -> bool:
    """Return whether the lease is still ours and the message undelivered."""
    there = session.one(
        "SELECT id FROM outbox WHERE id = %s AND lease_owner = %s AND delivered_at IS NULL", (message.id, message.owner)
    )
    return there is not None


def release(session: Session, message: Message, delay: float, error: str) -> bool:
    """Give the lease back; the row is due again after `delay` seconds. `error` says what went wrong."""
    done = session.execute(
        "UPDATE outbox SET available_at = now() + make_interval(secs => %s), leased_until = NULL,"
        " lease_owner = NULL, last_error = %s WHERE id = %s AND lease_owner = %s AND delivered_at IS NULL",
        (delay, error[:500], message.id, message.owner),
    )
    return done.rowcount == 1


def hurry(session: Session, message_id: str) -> bool:
    """Let a row that waits for its next attempt be due at once; False when it is delivered, or being delivered."""
    done = session.execute(
        "UPDATE outbox SET available_at = now() WHERE id = %s AND delivered_at IS NULL"
        " AND (leased_until IS NULL OR leased_until <= now())",
        (message_id,),
    )
    return done.rowcount == 1


def add_gauges(gauges: DatabaseGauges, *topics: str) -> None:
    """Measure how many rows wait, and how long the oldest has waited, by topic."""

    def read(session: Session) -> Samples:
        rows = session.execute(
            """SELECT topic, count(*)::float8 AS depth, extract(epoch FROM now() - min(created_at))::float8 AS oldest
               FROM (SELECT topic, created_at FROM outbox WHERE delivered_at IS NULL
                     ORDER BY sequence LIMIT %s) AS waiting
               GROUP BY topic""",
            (COUNT_LIMIT,),
        )
        found = dict.fromkeys(topics, (0.0, 0.0)) | {row["topic"]: (row["depth"], row["oldest"]) for row in rows}
        return [((topic,), numbers) for topic, numbers in found.items()]

    meanings = {
        "outbox_depth": f"Undelivered rows, of the oldest {COUNT_LIMIT:,}.",
        "outbox_oldest_seconds": "Age of the oldest undelivered row.",
    }
    gauges.add(meanings, ("topic",), read)


class Waker:
    """Tells the relays of this database that there is something to do, after the commit and off its path.

    NOTIFY inside the transaction would make all commits wait for one another: PostgreSQL holds one lock
    from the notification to the end of the commit, flush included. So a thread sends it afterwards, once
    for all that came meanwhile, and rests between two: a notification is a transaction of its own, whose flush
    the commits beside it would wait for. If the process dies in between, the relays' polling finds the row.
    """

    REST = 0.05  # seconds

    def __init__(self, database: Database, channel: str = CHANNEL) -> None:
        """The thread starts with the first `wake`, in the process that calls it."""
        self._database = database
        self._channel = channel
        self._due = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a notification; returns at once."""
        if not self._due.is_set():
            self._due.set()
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name=f"wake-{self._channel}", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            rested_at = time.monotonic() + self.REST
            try:
                self._database.session().execute(f"NOTIFY {self._channel}".encode())
            except psycopg.Error as error:
                # Nothing is lost: the row is committed, and polling finds it.
                log.warning("notify_failed", channel=self._channel, error=error)
            time.sleep(max(0.0, rested_at - time.monotonic()))
