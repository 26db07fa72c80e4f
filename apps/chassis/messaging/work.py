"""The loop that works on leased rows, and what wakes it.

Work that was interrupted is a row that says what is left to do. A loop claims the rows that are due and works on each
in a thread of its pool. NOTIFY wakes it; without a notification it polls. While the database is down, the loop waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import psycopg

from chassis.postgres.database import UNAVAILABLE, Database, Session
from chassis.telemetry import logs, metrics

log = logs.get_logger()

QUEUED = 2
"""How many rows are leased per thread: the one it works on and the next one."""


class Loop(Protocol):
    """Work that a thread does until it is stopped."""

    name: str

    def run(self) -> None:
        """Work until `stop` is called."""
        ...

    def stop(self) -> None:
        """Make `run` return soon."""
        ...

    def is_alive(self) -> bool:
        """Return whether the loop is not stuck."""
        ...


class Heartbeat:
    """When a loop last began a round: for `/livez`, and as the metric `loop_beat_timestamp_seconds`."""

    def __init__(self, loop: str) -> None:
        """`loop` is the name of the loop. A loop that has not begun yet counts as one that begins now."""
        self._last = time.monotonic()
        self._set_metric = metrics.loop_beat.labels(loop).set

    def beat(self) -> None:
        """Note that a round begins."""
        self._last = time.monotonic()
        self._set_metric(time.time())

    def is_younger_than(self, seconds: float) -> bool:
        """Return whether the last round began less than so many seconds ago."""
        return time.monotonic() - self._last < seconds


class WorkLoop:
    """Claims rows and works on them until it is stopped.

    `claim(session, limit)` leases up to `limit` rows. `work(row)` does the work of one row and settles or releases
    it. An exception from `work` is logged; the row is claimed again after its lease expires. `gate(wanted)` returns
    how many of the wanted rows to claim now: 0 while the destination is down.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        claim: Callable[[Session, int], Sequence[Any]],
        work: Callable[[Any], object],
        *,
        channel: str | None = None,
        concurrency: int,
        poll: float,
        gate: Callable[[int], int] | None = None,
    ) -> None:
        """`concurrency` is the number of threads, `poll` in seconds; `channel` is the NOTIFY channel, if any."""
        self.name = name
        self._database, self._claim, self._work = database, claim, work
        self._channel, self._concurrency, self._poll = channel, concurrency, poll
        self._capacity = concurrency * QUEUED
        self._gate = gate or (lambda wanted: wanted)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._in_flight: set[Future[object]] = set()
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._heartbeat = Heartbeat(name)

    def run(self) -> None:
        """Work until `stop` is called, then wait for the rows in flight."""
        if self._channel is not None and not self._database.pooled:  # a pooler in transaction mode has no LISTEN
            threading.Thread(target=self._listen, name=f"{self.name}-listen", daemon=True).start()
        failures = 0
        while not self._stopping.is_set():
            self._heartbeat.beat()
            self._awake.clear()
            try:
                more = self._fill()
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                log.warning("loop_waits_for_database", loop=self.name, error=error)
                self._stopping.wait(min(2.0, 0.1 * 2**failures))
                continue
            if not more:
                self._awake.wait(self._poll)
        self._pool.shutdown(wait=True)
        self._database.close()

    def stop(self) -> None:
        """Claim no more rows; `run` returns when the rows in flight are done."""
        self._stopping.set()
        self._awake.set()

    def is_alive(self, patience: float = 60.0) -> bool:
        """Return whether the loop has begun a round within `patience` seconds plus its polling interval."""
        return self._heartbeat.is_younger_than(patience + self._poll)

    def _fill(self) -> bool:
        """Claim as many rows as there is room for. Returns whether another claim at once may find more."""
        room = self._capacity - len(self._in_flight)
        # A claim costs a commit, for one row as for many: with rows in flight, wait until half of the room is free.
        if self._in_flight and room < self._capacity // 2:
            return False
        room = self._gate(room)
        if room <= 0:
            return False
        rows = self._claim(self._database.session(), room)
        for row in rows:
            future = self._pool.submit(self._work, row)
            self._in_flight.add(future)
            future.add_done_callback(self._done)
        return len(rows) == room and len(self._in_flight) < self._capacity // 2

    def _done(self, future: Future[object]) -> None:
        self._in_flight.discard(future)
        self._awake.set()
        error = future.exception()
        if isinstance(error, UNAVAILABLE):
            log.warning("work_lost_database", loop=self.name, error=error)
        elif error is not None:
            log.error("work_failed", loop=self.name, exc_info=error)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                session = self._database.session()
                session.execute(f"LISTEN {self._channel}".encode())
                while not self._stopping.is_set():
                    for _ in session.notifies(timeout=self._poll, stop_after=1):
                        self._awake.set()
            except UNAVAILABLE as error:
                log.warning("listener_waits_for_database", loop=self.name, error=error)
                self._stopping.wait(1.0)


class Waker:
    """Notifies the loops of a channel that a row has been committed, from a thread of its own.

    NOTIFY inside the transaction would serialize all commits: PostgreSQL holds one lock from the notification to the
    end of the commit, its flush to disk included. So a thread sends one notification after the commits that came
    since the last one, and pauses between two, because a notification is a transaction whose flush delays concurrent
    commits. If the process dies before it notifies, a loop finds the row when it polls.
    """

    PAUSE = 0.05  # seconds

    def __init__(self, database: Database, channel: str) -> None:
        """The thread starts with the first `wake`, in the process that calls it."""
        self._database = database
        self._channel = channel
        self._due = threading.Event()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a notification; returns at once. Nobody listens behind a pooler, where the loops only poll."""
        if self._database.pooled:
            return
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
            next_at = time.monotonic() + self.PAUSE
            try:
                self._database.session().execute(f"NOTIFY {self._channel}".encode())
            except psycopg.Error as error:
                # Nothing is lost: the row is committed, and polling finds it.
                log.warning("notify_failed", channel=self._channel, error=error)
            time.sleep(max(0.0, next_at - time.monotonic()))
