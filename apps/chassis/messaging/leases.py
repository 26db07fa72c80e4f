"""The one loop that carries on whatever was cut in the middle.

Work is rows. A loop leases rows that are due, does the work of each in a thread of its pool, and asks
again. It is woken by NOTIFY and polls as a fallback. A database that is away is waited for.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from chassis.postgres.database import UNAVAILABLE, Database, Session
from chassis.telemetry import logs, metrics

log = logs.get_logger()

MAX_BACKOFF = 300.0

QUEUED = 2
"""How many rows are leased for each thread: the one that it works on, and what it goes on with."""


def backoff(attempts: int, base: float = 0.5, cap: float = MAX_BACKOFF) -> float:
    """Seconds to wait after so many attempts: exponential with full jitter, capped.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(cap, base * 2 ** min(attempts, 20)))


def owner() -> str:
    """The name under which this process holds leases: its host and its process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


class LeaseLoop:
    """Leases rows and works on them until told to stop.

    `claim(session, limit)` leases up to `limit` rows; `work(row)` does one of them and must itself settle
    or release it: what it raises is logged, and the row comes back when its lease runs out.
    `gate(wanted)` may lower the number of rows to claim at the moment (0: none), for a destination that is down.
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
        """`poll` is in seconds; `channel` is what NOTIFY wakes the loop on, if anything does."""
        self.name = name
        self._database, self._claim, self._work = database, claim, work
        self._channel, self._concurrency, self._poll = channel, concurrency, poll
        self._capacity = concurrency * QUEUED
        self._gate = gate or (lambda wanted: wanted)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._in_flight: set[Future[object]] = set()
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._beat = time.monotonic()
        self._tell_beat = metrics.loop_beat.labels(name).set

    def run(self) -> None:
        """Work until `stop`, then wait for what is in flight."""
        if self._channel is not None:
            threading.Thread(target=self._listen, name=f"{self.name}-listen", daemon=True).start()
        failures = 0
        while not self._stopping.is_set():
            self._beat = time.monotonic()
            self._tell_beat(time.time())
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
        """Claim nothing more; `run` returns when what is in flight has ended."""
        self._stopping.set()
        self._awake.set()

    def is_alive(self, patience: float = 60.0) -> bool:
        """Whether the loop has come round within so many seconds, besides those that it rests for."""
        return time.monotonic() - self._beat < patience + self._poll

    def _fill(self) -> bool:
        """Claim as much as there is room for; True if there may be more to claim at once."""
        room = self._capacity - len(self._in_flight)
        # A claim is a commit, whether of one row or many: while there is work, wait until it is worth one.
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
