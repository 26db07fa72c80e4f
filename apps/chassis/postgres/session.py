"""A connection to PostgreSQL: statements that are prepared once, deadlines, and when it is of no further use."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import Connection
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import DictRow

from chassis.postgres.prepared import Parameters, Prepared, command
from chassis.postgres.watchdog import Line, watchdog

Row = DictRow

T = TypeVar("T")

# A server that answers with one of these is about to end, or is a standby now: its connection is of no further use.
_LEAVE = frozenset({"25006", "57P01", "57P02", "57P03", "57P04", "57P05"})

# PostgreSQL reports this, from this function of its source, when the type of a column has changed since the statement
# was prepared. The message is in the server's language (lc_messages).
_STALE_PLAN = ("0A000", "RevalidateCachedQuery")

# A connection to a standby is kept for so many seconds: its name may lead to another server afterwards.
_STANDBY_AGE = 2.0

# Seconds for which plans are kept: those of a new connection at first, and at most. Planning ten statements takes 1 ms.
_FIRST_PLAN_AGE = 0.5
_MAX_PLAN_AGE = 10.0


class Session(Connection[DictRow]):
    """A connection, in autocommit mode."""

    limit = math.inf
    """How long a call to the server may take, in seconds."""

    latest = math.inf
    """When the calls of the current request must have ended, on the monotonic clock."""

    may_be_standby = False
    """Whether the connection is for reads that a standby may serve. Otherwise one to a standby is soon replaced."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._poller: select.poll | None = None
        self._opened = self._planned = time.monotonic()
        self._statements: dict[str, Prepared] = {}
        self._is_outdated = False
        self._replicated, self._replication_known_until = False, 0.0
        self._of_standby = self.pgconn.parameter_status(b"in_hot_standby") == b"on"
        self.began, self.until = 0.0, math.inf
        self.line: Line | None = Line(self.pgconn.socket)
        watchdog.watch(self)

    def one(self, query: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Execute a statement and return its first row, or None. It is prepared on its first use."""
        return self._run(Prepared.first, query, parameters)

    def all(self, query: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Execute a statement and return all of its rows. It is prepared on its first use."""
        return self._run(Prepared.all, query, parameters)

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[DictRow]:
        """Execute a statement, as psycopg does."""
        try:
            return super().execute(query, params, **options)
        except psycopg.errors.FeatureNotSupported as error:
            return self._again(error, lambda: super(Session, self).execute(query, params, prepare=False))

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for one of psycopg's own calls, such as `execute`, with the same deadline as the others."""
        self._begin(timeout or 0.0)
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.Error as error:
            self._check(error)
            raise
        finally:
            self.until = math.inf

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self.line = None

    def is_obsolete(self) -> bool:
        """Return whether a new connection should replace this one, which is idle.

        The server has closed it; or a column has changed its type since psycopg prepared a statement; or the server was
        a standby two seconds ago: the name in the URL may lead to another server now.
        """
        if self._is_outdated or self.is_closed_by_server():
            return True
        return self._of_standby and not self.may_be_standby and time.monotonic() - self._opened > _STANDBY_AGE

    def _begin(self, longer: float = 0.0) -> None:
        """Note that a call begins, and when the watchdog ends it. `longer` are seconds that it may wait on purpose."""
        self.began = now = time.monotonic()
        until = now + self.limit + longer
        self.until = until if until < self.latest else self.latest

    def _again(self, error: psycopg.Error, call: Callable[[], T]) -> T:
        """Repeat a call if its prepared statement is of no use because a column has changed its type.

        Otherwise, the error is raised. Within a transaction nothing can be repeated: raises psycopg.OperationalError.
        """
        if (error.sqlstate, error.diag.source_function) != _STALE_PLAN:
            self._check(error)
            raise error
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.close()
            raise psycopg.OperationalError("a column changed its type: the transaction was rolled back") from error
        self._is_outdated = True
        self._statements.clear()
        command(self.pgconn, b"DEALLOCATE ALL")
        return call()

    def _check(self, error: psycopg.Error) -> None:
        """Close the connection if its server is ending or takes no writes. Say so if the watchdog has cut it."""
        if error.sqlstate in _LEAVE:
            self.close()
        if self.line is not None and self.line.was_cut:
            took = time.monotonic() - self.began
            raise psycopg.OperationalError(f"the database did not answer within {took:.1f} s") from error

    def _command(self, text: bytes) -> PGresult:
        """Execute SQL without parameters, with a deadline. Raises psycopg.Error."""
        self._begin()
        try:
            return command(self.pgconn, text)
        except psycopg.Error as error:
            self._check(error)
            raise
        finally:
            self.until = math.inf

    def _run(
        self, fetch: Callable[[Prepared, PGconn, Parameters], T], query: LiteralString, parameters: Parameters
    ) -> T:
        """Execute a prepared statement with a deadline, and fetch its rows. Raises psycopg.Error."""
        self._begin()
        try:
            return fetch(self._statement(query), self.pgconn, parameters)
        except psycopg.Error as error:
            return self._again(error, lambda: fetch(self._statement(query), self.pgconn, parameters))
        finally:
            self.until = math.inf

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
        self._command(b"BEGIN")
        try:
            yield
        except BaseException:
            if not self.closed:
                self._command(b"ROLLBACK")
            raise
        if self._command(b"COMMIT").command_status != b"COMMIT":
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
            self._command(b"DISCARD PLANS")
            self._planned = now

    def is_replicated(self) -> bool:
        """Return whether commits wait for a synchronous standby; the server is asked again after ten seconds."""
        now = time.monotonic()
        if now > self._replication_known_until:
            row = self.one("SELECT current_setting('synchronous_standby_names') <> '' AS replicated")
            self._replicated, self._replication_known_until = bool(row and row["replicated"]), now + _MAX_PLAN_AGE
        return self._replicated

    def is_closed_by_server(self) -> bool:
        """Return whether the server has closed this connection, which is idle.

        The server sends nothing on an idle connection, so one that is readable has been closed. To ask the kernel takes
        microseconds; a `SELECT 1` before each request would take a round trip.
        """
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(self._poller.poll(0))
