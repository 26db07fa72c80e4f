"""A bulkhead between reads and writes: while the database stalls, writes leave half of the threads to reads.

A commit that waits for a standby holds its thread until its deadline. Without a bulkhead, such commits would soon hold
all threads, and reads, which the database still answers, would wait for them.
"""

from __future__ import annotations

from threading import get_ident

from chassis.http.problems import unavailable
from chassis.postgres.watchdog import watchdog

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Bulkhead:
    """Counts the writes that the threads of this process work on."""

    def __init__(self, threads: int) -> None:
        """`threads` is the number of threads that handle requests."""
        self._writing: set[int] = set()
        self._most = max(1, threads // 2)
        watchdog.threads = threads

    def enter(self, method: str) -> None:
        """Note that this thread begins a request.

        Raises Problem `unavailable` for a write if half of the threads work on others, while the database stalls.
        """
        if method in _READS:
            return
        if len(self._writing) >= self._most and watchdog.is_careful():
            raise unavailable("The database of this service does not respond.")
        self._writing.add(get_ident())

    def leave(self) -> None:
        """Note that this thread has ended its request."""
        self._writing.discard(get_ident())
