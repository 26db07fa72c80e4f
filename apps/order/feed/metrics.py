"""The gauge of the feed: how long a running transaction has delayed it."""

from __future__ import annotations

import time

from chassis.postgres.database import Session
from chassis.telemetry.metrics import DatabaseGauges, Samples
from order.feed import store


class Delay:
    """Measures for how long the oldest running transaction has delayed the feed, from one call to the next.

    Only a superuser sees when the transactions of others began. But the id that is assigned next is known at each call:
    a transaction that runs now and has a smaller id ran then already.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, float]] = []

    def measure(self, oldest: int, following: int, now: float) -> float:
        """Return the seconds, at least; 0 if no transaction runs.

        `oldest` is the id of the oldest transaction that runs, `following` the next id, `now` the monotonic time.
        """
        self._seen = [(bound, at) for bound, at in self._seen if bound > oldest]
        if not self._seen or self._seen[-1][0] < following:
            self._seen.append((following, now))
        return now - self._seen[0][1] if oldest < following else 0.0


def add_gauges(gauges: DatabaseGauges) -> None:
    """Add the gauge of the feed."""
    delay = Delay()

    def read(session: Session) -> Samples:
        return [((), (delay.measure(*store.snapshot(session), time.monotonic()),))]

    gauges.add({"events_delay_seconds": "For how long a running transaction has delayed the feed of events."}, (), read)
