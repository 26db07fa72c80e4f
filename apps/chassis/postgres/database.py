"""PostgreSQL, with one connection per thread.

gunicorn's workers and the relays have a fixed number of threads, so one connection per thread replaces a pool: there is
no queue and nothing to tune. psycopg_pool is not used because it reconnects in the background with a growing delay
after a failure, so the first requests after the database is back still fail. Here the next request connects.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from chassis.postgres.prepared import Parameters, Prepared, command

UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InsufficientPrivilege,
)
"""Errors that may go away: the database is down, restarts, fails over, is out of space, or is not migrated yet.

A new table is granted to the service's role right after the migration that creates it.
"""

Row = DictRow

# Seconds for which plans are kept: those of a new connection at first, and at most. Planning ten statements takes 1 ms.
_FIRST_PLAN_AGE = 0.5
_MAX_PLAN_AGE = 10.0


def to_json(value: Any) -> str:
    """Return a value as JSON text, for a parameter that the statement casts to jsonb."""
    return orjson.dumps(value).decode()


class Session(Connection[DictRow]):
    """A connection, in autocommit mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._poller: select.poll | None = None
        self._opened = self._planned = time.monotonic()
        self._statements: dict[str, Prepared] = {}

    def one(self, query: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Execute a statement and return its first row, or None. It is prepared on its first use."""
        return self._statement(query).first(self.pgconn, parameters)

    def all(self, query: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Execute a statement and return all of its rows. It is prepared on its first use."""
        return self._statement(query).all(self.pgconn, parameters)

    def _statement(self, query: LiteralString) -> Prepared:
        statement = self._statements.get(query)
        if statement is None:
            statement = self._statements[query] = Prepared(self.pgconn, f"tandem_{len(self._statements)}", query)
        return statement

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Run the block in a transaction. An exception rolls back and is raised again.

        Unlike psycopg's `transaction`, it does not nest: raises psycopg.ProgrammingError within a transaction.
        """
        if self.pgconn.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
            raise psycopg.ProgrammingError("this connection is already in a transaction")
        command(self.pgconn, b"BEGIN")
        try:
            yield
        except BaseException:
            if not self.closed:
                command(self.pgconn, b"ROLLBACK")
            raise
        if command(self.pgconn, b"COMMIT").command_status != b"COMMIT":
            raise psycopg.InternalError("the transaction was rolled back because one of its statements had failed")

    def discard_old_plans(self) -> None:
        """Make PostgreSQL plan the prepared statements again, if their plans are old.

        PostgreSQL keeps a plan until the tables are analyzed. A plan from when they were empty uses any index, or none,
        and gets slower with each row. Therefore a plan is kept for about as long as the connection was old when it was
        made, and for ten seconds at most: in that time a table does not grow by much.
        """
        now = time.monotonic()
        if now - self._planned < min(_FIRST_PLAN_AGE + self._planned - self._opened, _MAX_PLAN_AGE):
            return
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            command(self.pgconn, b"DISCARD PLANS")
            self._planned = now

    def is_closed_by_server(self) -> bool:
        """Return whether the server has closed this connection, which is idle.

        The server sends nothing on an idle connection, so one that is readable has been closed. To ask the kernel takes
        microseconds; a `SELECT 1` before each request would take a round trip.
        """
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(self._poller.poll(0))


class Database:
    """A database with one connection per thread of this process, opened on first use."""

    session_class = Session  # with tracing, chassis.telemetry.http_spans replaces it

    def __init__(
        self,
        url: str,
        name: str,
        *,
        statement_timeout: float = 10.0,
        lock_timeout: float = 1.0,
        synchronous_commit: bool = True,
    ) -> None:
        """`url` is a libpq URL, `name` the application_name; the timeouts are in seconds.

        Without `synchronous_commit`, the last commits may be lost if the database server crashes.
        """
        self._url = url
        self._name = name
        self._options = (
            f"-c statement_timeout={int(statement_timeout * 1000)} -c lock_timeout={int(lock_timeout * 1000)}"
            " -c idle_in_transaction_session_timeout=30000 -c TimeZone=UTC"
            + ("" if synchronous_commit else " -c synchronous_commit=off")
        )
        self._local = threading.local()

    def connect(self) -> Session:
        """Return a new connection in autocommit mode.

        Raises psycopg.OperationalError if the database can't be reached within two seconds.
        """
        return self.session_class.connect(
            self._url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=2,
            options=self._options,
            application_name=self._name,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15000,
        )

    def session(self) -> Session:
        """Return this thread's connection. Open a new one if it is missing or closed."""
        held: Session | None = getattr(self._local, "session", None)
        if held is not None:
            if not held.closed and not held.is_closed_by_server():
                held.discard_old_plans()
                return held
            held.close()
            self._local.session = None
        fresh = self.connect()
        self._local.session = fresh
        return fresh

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run the block in a transaction on this thread's connection. An exception rolls back and is raised again."""
        session = self.session()
        with session.atomic():
            yield session

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        held: Session | None = getattr(self._local, "session", None)
        if held is not None:
            held.close()
            self._local.session = None


def json_time(expression: str) -> str:
    """Return SQL that formats a time as in responses: RFC 3339, UTC, with microseconds."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
