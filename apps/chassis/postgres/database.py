"""PostgreSQL, with one connection per thread.

gunicorn's workers and the relays have a fixed number of threads, so one connection per thread replaces a pool: there is
no queue and nothing to tune. psycopg_pool is not used because it reconnects in the background with a growing delay
after a failure, so the first requests after the database is back still fail. Here the next request connects.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from msgspec.structs import asdict
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from chassis.postgres.session import Row as Row
from chassis.postgres.session import Session as Session

UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InsufficientPrivilege,
)
"""Errors that may go away: the database is down, restarts, fails over, is out of space, or is not migrated yet.

With the two timeouts of transactions the server has ended the connection, and the transaction is rolled back.

A new table is granted to the service's role right after the migration that creates it.
"""

# Seconds that an answer may take longer than statement_timeout. After that, the server is taken for frozen.
_GRACE = 2.0
# Seconds for a new connection. PostgreSQL starts a process for each connection, which takes seconds on a busy machine.
_CONNECT_SECONDS = 5
_CONNECT_SECONDS_OF_EACH = 2  # when there is another server: a further one in the URL, or the primary of a standby


def to_json(value: Any) -> str:
    """Return a value as JSON text, for a parameter that the statement casts to jsonb. It may hold msgspec's structs."""
    return orjson.dumps(value, default=asdict).decode()


def servers(url: str, *, standby: bool = False) -> dict[str, Any]:
    """Return the parameters with which libpq finds the server of a URL that accepts writes, and how long it tries.

    With `standby`, it prefers a standby. A URL that names `target_session_attrs` decides itself.
    """
    given = conninfo_to_dict(url)
    several = "," in str(given.get("host") or given.get("hostaddr") or "")
    settings: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS_OF_EACH if several or standby else _CONNECT_SECONDS}
    if "target_session_attrs" not in given and (standby or several):
        settings["target_session_attrs"] = "prefer-standby" if standby else "read-write"
    return settings


class _Held(threading.local):
    """What a thread holds: its connection, and when the calls of its current request must have ended."""

    session: Session | None = None
    latest: float = math.inf


class Database:
    """A database with one connection per thread of this process, opened on first use."""

    session_class = Session  # with tracing, chassis.telemetry.http_spans replaces it
    pooled = False  # whether a pooler in transaction mode is in between; chassis.service sets it for the process

    def __init__(
        self,
        url: str,
        name: str,
        *,
        statement_timeout: float = 10.0,
        lock_timeout: float = 1.0,
        synchronous_commit: bool = True,
        standby: bool = False,
    ) -> None:
        """`url` is a libpq URL, `name` the application_name of new connections; the timeouts are in seconds.

        `options` in the URL is kept; where it sets the same as these, the URL decides. Without `synchronous_commit`,
        the last commits may be lost if the database server crashes. For reads only, `standby` prefers a standby.
        """
        self._url = url
        self._standby = standby
        self.name = name
        self._limit = statement_timeout + _GRACE
        self._options = (
            f"-c statement_timeout={int(statement_timeout * 1000)} -c lock_timeout={int(lock_timeout * 1000)}"
            # Not those of the role or the database: psycopg reads times as ISO only, and a guarded UPDATE that was
            # overtaken must see the newer row.
            " -c idle_in_transaction_session_timeout=30000 -c TimeZone=UTC -c DateStyle=ISO"
            r" -c default_transaction_isolation=read\ committed"
            + ("" if synchronous_commit else " -c synchronous_commit=off")
        )
        self._held = _Held()

    def connect(self) -> Session:
        """Return a new connection in autocommit mode.

        Raises psycopg.OperationalError if the database can't be reached within five seconds. The limit is two seconds
        for a standby. If the URL names several servers, the one that accepts writes is found, within two seconds for
        each.
        """
        session = self.session_class.connect(
            self._url,
            autocommit=True,
            row_factory=dict_row,
            **self._settings(),
            application_name=self.name,
            client_encoding="utf8",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15000,
        )
        session.limit = self._limit
        session.may_be_standby = self._standby
        return session

    def _settings(self) -> dict[str, Any]:
        settings = servers(self._url, standby=self._standby)
        if not self.pooled:  # a pooler shares its connections: what is set for one of them would hold for others
            given = conninfo_to_dict(self._url).get("options") or ""
            settings["options"] = f"{self._options} {given}".strip()
        return settings

    def limit(self, seconds: float) -> None:
        """Give all calls of this thread together so many seconds from now on, until `limit` is called again.

        A call that has not ended by then raises psycopg.OperationalError.
        """
        self._held.latest = time.monotonic() + seconds

    def session(self) -> Session:
        """Return this thread's connection. Open a new one if it is missing or closed."""
        local = self._held
        held = local.session
        if held is not None:
            held.latest = local.latest
            if not held.closed and not held.is_obsolete():
                held.discard_old_plans()
                return held
            held.close()
            local.session = None
        fresh = self.connect()
        fresh.latest = local.latest
        local.session = fresh
        return fresh

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run the block in a transaction on this thread's connection. An exception rolls back and is raised again."""
        session = self.session()
        with session.atomic():
            yield session

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        held = self._held.session
        if held is not None:
            held.close()
            self._held.session = None


def json_time(expression: str) -> str:
    """Return SQL that formats a time as in responses: RFC 3339, UTC, with microseconds."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
