"""Long polls: requests that wait for events. One thread of the process looks for all of them."""

from __future__ import annotations

import threading
import time
from collections import Counter

from chassis import counts
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.telemetry import logs
from order.feed import store

log = logs.get_logger()

PAUSE = 0.1
"""Seconds between two looks at the database, while any request waits."""


class Arrivals:
    """Wakes the requests of this process that wait for an event of their merchant.

    NOTIFY would cost every step of every order a notification, also while nobody listens, and would come too early: an
    event is shown when no older transaction runs. So while requests wait, and only then, one thread reads the position
    of the newest event of each merchant that waits.
    """

    def __init__(self, database: Database) -> None:
        """The thread starts with the first request that waits."""
        self._database = database
        self._changed = threading.Condition()
        self._waiting: Counter[str] = Counter()
        self._newest: dict[str, int] = {}
        self._thread: threading.Thread | None = None

    def wait(self, merchant: str, seen: int, deadline: float) -> int | None:
        """Wait until the merchant has an event with a position above `seen`. Returns the position of its newest one.

        Returns None if the merchant has no such event until `deadline` on the monotonic clock.
        """
        with self._changed:
            self._waiting[merchant] += 1
            self._start()
            self._changed.notify_all()
            try:
                while (position := self._newest.get(merchant, 0)) <= seen:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0:
                        return None
                    self._changed.wait(remaining)
                return position
            finally:
                counts.subtract(self._waiting, merchant)
                if merchant not in self._waiting:
                    self._newest.pop(merchant, None)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="feed-arrivals", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                merchants = list(self._waiting)
            try:
                found = store.newest(self._database.session(), merchants)
            except UNAVAILABLE as error:
                log.warning("feed_waits_for_database", error=error)
                time.sleep(1.0)
                continue
            with self._changed:
                self._newest.update((name, at) for name, at in found.items() if name in self._waiting)
                self._changed.notify_all()
            time.sleep(PAUSE)
