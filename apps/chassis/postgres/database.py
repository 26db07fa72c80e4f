"""PostgreSQL, reached with one connection a thread.

gunicorn's gthread workers and the relays have a fixed number of threads, so a connection each is the
pool: nothing to queue for, nothing to tune. psycopg_pool was looked at and left out: after a failure it
retries in the background with a growing delay, so that the first requests after a database has come
back still fail; here the next request simply connects.
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

# Errors that say "not now": the database is away, restarting, failing over, out of room, or not migrated yet.
DOWN = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)

Row = DictRow

_FIRST_PLANS = 0.5  # seconds for which the first plans of a connection are kept
_KEEP_PLANS = 10.0  # and the longest for any: to plan ten statements takes a millisecond


def to_json(value: Any) -> str:
    """A value as JSON text, for a parameter that the statement casts to jsonb."""
    return orjson.dumps(value).decode()


class Session(Connection[DictRow]):
    """A connection, in autocommit mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take psycopg's arguments."""
        super().__init__(*args, **kwargs)
        self._poller: select.poll | None = None
        self._opened = self._planned = time.monotonic()
        self._statements: dict[str, Prepared] = {}

    def one(self, query: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Execute a statement and return its first row, or None. It is prepared when it is first executed."""
        return self._statement(query).first(self.pgconn, parameters)

    def all(self, query: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Execute a statement and return all of its rows. It is prepared when it is first executed."""
        return self._statement(query).all(self.pgconn, parameters)

    def _statement(self, query: LiteralString) -> Prepared:
        statement = self._statements.get(query)
        if statement is None:
            statement = self._statements[query] = Prepared(self.pgconn, f"tandem_{len(self._statements)}", query)
        return statement

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Let what is done be one transaction; an exception rolls back and goes on.

        What psycopg's `transaction` does, without savepoints. Raises psycopg.ProgrammingError within another one.
        """
        if self.pgconn.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
            raise psycopg.ProgrammingError("a transaction is under way on this connection")
        command(self.pgconn, b"BEGIN")
        try:
            yield
        except BaseException:
            if not self.closed:
                command(self.pgconn, b"ROLLBACK")
            raise
        if command(self.pgconn, b"COMMIT").command_status != b"COMMIT":
            raise psycopg.InternalError("a transaction in which a statement had failed was to be committed")

    def plan_anew(self) -> None:
        """Have statements planned for the tables as they are now, where that was last done a while ago.

        PostgreSQL keeps a plan for as long as nobody analyses the tables. One that was made when they were empty takes
        whatever index comes first, or none, and reads one row more with each that comes. So a plan is kept for about
        as long as its connection was old when it was made, and ten seconds at most: no table has grown much since.
        """
        now = time.monotonic()
        if now - self._planned < min(_FIRST_PLANS + self._planned - self._opened, _KEEP_PLANS):
            return
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            command(self.pgconn, b"DISCARD PLANS")
            self._planned = now

    def has_hung_up(self) -> bool:
        """Whether the server has closed the connection.

        Idle, it has nothing to say: if it can be read, that was goodbye. Asking the kernel costs microseconds, where
        a `SELECT 1` before each request would cost a round trip.
        """
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(self._poller.poll(0))


class Database:
    """One database, as seen by the threads of this process. Nothing is opened before it is needed."""

    session_class = Session  # chassis.spans has one of its own

    def __init__(
        self,
        url: str,
        name: str,
        *,
        statement_timeout: float = 10.0,
        lock_timeout: float = 1.0,
        synchronous_commit: bool = True,
    ) -> None:
        """`url` is a libpq URL, `name` what PostgreSQL shows as application_name; time-outs in seconds.

        Without `synchronous_commit`, what was committed may be lost when the server crashes.
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
        """A new connection in autocommit mode.

        Raises psycopg.OperationalError when the database can't be reached within two seconds.
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
        """The connection of this thread, opened or opened anew where it is missing or broken."""
        held: Session | None = getattr(self._local, "session", None)
        if held is not None:
            if not held.closed and not held.has_hung_up():
                held.plan_anew()
                return held
            held.close()
            self._local.session = None
        fresh = self.connect()
        self._local.session = fresh
        return fresh

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The connection of this thread within BEGIN and COMMIT; an exception rolls back and goes on."""
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
    """SQL for a time as the wire has it: RFC 3339, UTC, microseconds."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
