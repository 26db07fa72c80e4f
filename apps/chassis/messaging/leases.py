"""Rows that are work to do, each leased to one worker at a time.

A queue is a table of such rows. A worker claims due rows: they are leased to it for some seconds, and no other worker
claims them before the lease expires. Every claim has its own owner name, and each later statement about a claimed row
names that owner (fencing): if another claim took the row after the lease expired, the first worker changes nothing,
even if both claims came from the same process. SKIP LOCKED lets any number of workers claim without a leader.

A queue's table has the columns `attempts`, `available_at`, `leased_until`, `lease_owner` and `last_error`.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

import uuid_utils

from chassis import cards
from chassis.postgres.database import Row, Session, to_json

MAX_ERROR = 500
"""Characters of an error that a row keeps."""

MAX_BACKOFF = 300.0
"""The longest delay between two attempts, in seconds."""

FREE = "(leased_until IS NULL OR leased_until <= now())"
"""SQL condition: the row is not leased."""

DUE = f"available_at <= now() AND {FREE}"
"""SQL condition: the row can be claimed now, if it is pending."""

UNTIL = "now() + make_interval(secs => %(lease)s::float8)"
"""SQL: when a lease that starts now expires. The parameter `lease` is in seconds."""

RELEASED = "leased_until = NULL, lease_owner = NULL"
"""SQL: the assignments that end a lease."""


def merchants(table: LiteralString, condition: LiteralString, name: LiteralString = "found") -> LiteralString:
    """Return the CTE `name`, for WITH RECURSIVE: the merchants that have rows of a table for which a condition holds.

    They are found one after the other in an index on (merchant, ...) of these rows (a loose index scan), so the cost
    depends on the number of merchants, not on the number of rows.
    """
    return f"""{name} AS (
            (SELECT merchant FROM {table} WHERE {condition} ORDER BY merchant LIMIT 1)
            UNION ALL
            SELECT next.merchant FROM {name} CROSS JOIN LATERAL (
                SELECT merchant FROM {table} WHERE {condition} AND {table}.merchant > {name}.merchant
                ORDER BY merchant LIMIT 1) next)"""


def by_turns(
    table: LiteralString,
    pending: LiteralString,
    columns: LiteralString,
    only: LiteralString = "true",
    *,
    time: LiteralString = "available_at",
    due: LiteralString = DUE,
    lock: LiteralString = "FOR UPDATE SKIP LOCKED",
) -> LiteralString:
    """Return the `due` of a queue in which merchants take turns, so that a backlog of one does not delay the others.

    Each merchant with due rows gets an equal part of the limit, at least one row; merchants come in random order. The
    cost depends on the number of merchants with pending rows and on the limit, not on the number of rows: there is an
    index on (merchant, `time`) of the pending rows (see `merchants`), and rows that are not `due` yet are not read.
    `only` is a further condition for a row. `lock` is the locking clause; it is empty for rows that are not leased.

    The parameter `in_flight` says, as JSON, how many rows of each merchant the caller works on already. A merchant gets
    at most `merchant_limit` rows, less those. The parameters are those of `turns`.
    """
    return f"""
        WITH RECURSIVE {merchants(table, pending)},
        rooms AS (
            SELECT merchant,
                   %(merchant_limit)s::bigint - COALESCE((%(in_flight)s::jsonb ->> merchant)::bigint, 0) AS room
            FROM found),
        waiting AS MATERIALIZED (
            SELECT merchant, LEAST(room, ceil(%(limit)s::float8 / count(*) OVER ())::bigint) AS share FROM rooms
            -- Ordered as the index is, so that the planner looks up one row. EXISTS might read all of them.
            WHERE room > 0
              AND (SELECT true FROM {table} WHERE {table}.merchant = rooms.merchant AND {pending} AND {due}
                   ORDER BY {time} LIMIT 1)
            ORDER BY random())
        SELECT picked.* FROM waiting CROSS JOIN LATERAL (
            SELECT {columns} FROM {table}
            WHERE {table}.merchant = waiting.merchant AND {pending} AND {due} AND {only}
            ORDER BY {time} LIMIT waiting.share
            {lock}) picked
        LIMIT %(limit)s::bigint"""


def held(row: LiteralString, pending: LiteralString, owner: LiteralString) -> LiteralString:
    """Return an SQL condition for a row that is found by its key: it is `pending` and leased to `owner`.

    The CASE keeps the planner from indexes of pending rows. While the statistics say that few rows are pending, reading
    all of them would seem as cheap as the primary key.
    """
    return f"CASE WHEN {pending} THEN {row}.lease_owner = {owner} END"


class Leased(Protocol):
    """A claimed row: an object with the queue's key columns and the lease's owner as attributes."""

    @property
    def owner(self) -> str:
        """The name under which the row is leased."""
        ...


@dataclass(frozen=True, slots=True)
class Queue:
    """A table of work, as SQL. Columns that another table has too are qualified with the table's name.

    `key` identifies a row; `pending` is the condition for a row whose work is not done. `due` is a SELECT that locks
    up to `limit` due rows with FOR UPDATE SKIP LOCKED. It returns the columns of `key` and whatever else `returning`
    takes from it as `due`. `returning` are the columns that a claim returns. A claim adds one to each of `counters`.
    """

    table: LiteralString
    key: tuple[LiteralString, ...]
    pending: LiteralString
    due: LiteralString
    returning: LiteralString
    counters: tuple[LiteralString, ...] = ("attempts",)

    @property
    def claiming(self) -> LiteralString:
        """The statement that claims rows. Takes `owner`, `lease`, and the parameters of `due`."""
        table = self.table
        counts = ", ".join(f"{counter} = {counter} + 1" for counter in self.counters)
        matches = " AND ".join(f"{table}.{column} = due.{column}" for column in self.key)
        return f"""
            WITH due AS MATERIALIZED ({self.due})
            UPDATE {table} SET {counts}, lease_owner = %(owner)s, leased_until = {UNTIL}
            FROM due WHERE {matches}
            RETURNING {self.returning}, lease_owner AS owner"""

    @property
    def held(self) -> LiteralString:
        """SQL condition: this row is pending and leased to this owner. Takes what `holding` returns."""
        matches = " AND ".join(f"{self.table}.{column} = %({column})s" for column in self.key)
        return f"{matches} AND {held(self.table, self.pending, '%(owner)s')}"

    def holding(self, work: Leased) -> dict[str, Any]:
        """Return the parameters of `held` for a claimed row."""
        return {"owner": work.owner, **{column: getattr(work, column) for column in self.key}}


def claim(session: Session, queue: Queue, lease: float, limit: int, **parameters: Any) -> list[Row]:
    """Lease up to `limit` due rows for `lease` seconds; the rows have the queue's columns and `owner`.

    `parameters` are what the queue's `due` takes in addition to `limit`.
    """
    named = {**parameters, "owner": new_owner(), "lease": lease, "limit": limit}
    # Planned for each claim: a plan made while the queue was empty takes seconds when thousands of rows wait.
    return session.execute(queue.claiming, named, prepare=False).fetchall()


@dataclass(frozen=True, slots=True)
class Share:
    """How many rows of one merchant a claim may lease: `limit`, less those that are `in_flight`, by merchant."""

    limit: int
    in_flight: Mapping[str, int]


def claim_by_turns(session: Session, queue: Queue, lease: float, limit: int, share: Share | None = None) -> list[Row]:
    """Call `claim` for a queue whose `due` is `by_turns`. Without `share`, a merchant may get all of the rows."""
    return claim(session, queue, lease, **turns(limit, share))


def turns(limit: int, share: Share | None) -> dict[str, Any]:
    """Return the parameters of `by_turns`: up to `limit` rows, of each merchant as many as `share` allows."""
    share = share or Share(limit, {})
    return {"limit": limit, "merchant_limit": share.limit, "in_flight": to_json(dict(share.in_flight))}


def release(session: Session, queue: Queue, work: Leased, delay: float, error: str) -> bool:
    """End the lease of a row whose attempt failed; the row is due again after `delay` seconds.

    `error` is kept in the row: up to 500 characters, printable, without card numbers. Returns False if the lease was
    lost; then nothing is written.
    """
    done = session.execute(
        f"""UPDATE {queue.table} SET available_at = now() + make_interval(secs => %(delay)s::float8), {RELEASED},
                   last_error = %(error)s
            WHERE {queue.held}""",
        {**queue.holding(work), "delay": delay, "error": cards.shown(error, MAX_ERROR)},
    )
    return done.rowcount == 1


def retry_now(
    session: Session, queue: Queue, which: LiteralString, parameters: Mapping[str, Any], *, using: LiteralString = ""
) -> int:
    """Make the pending rows that match the condition `which` due now. Returns how many.

    `using` names another table that the condition is about, as in `UPDATE ... FROM`.
    """
    source = f"FROM {using}" if using else ""
    return session.execute(
        f"UPDATE {queue.table} SET available_at = now() {source} WHERE {queue.pending} AND {which}", parameters
    ).rowcount


def new_owner(holder: str = "") -> str:
    """Return a new, unique owner name for a lease. It starts with `holder`, by default this host and process."""
    return f"{holder or f'{socket.gethostname()}:{os.getpid()}'} {uuid_utils.uuid7()}"


def backoff(attempts: int, base: float = 0.5, cap: float = MAX_BACKOFF) -> float:
    """Seconds to wait after this many attempts: exponential with full jitter, at most `cap`.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(cap, base * 2 ** min(attempts, 20)))
