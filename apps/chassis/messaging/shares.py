"""How much of a loop one merchant may occupy, so that slow work of one merchant delays no other merchant.

Merchants take turns when rows are claimed (`leases.by_turns`). That is not enough if the work on a merchant's rows is
slow: after a few claims all threads of a loop would work for that merchant. So a loop counts what it is working on, and
claims no more rows of a merchant that has its share already.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from chassis.messaging.leases import Share
from chassis.postgres.database import Session

Row = TypeVar("Row")

SHARE = 0.75
"""The share of a loop's threads that one merchant may occupy."""


def most(threads: int) -> int:
    """Return how many of a loop's threads one merchant may occupy: at least one, and never all of several."""
    return max(1, int(threads * SHARE))


class Shares:
    """Counts the units of work (rows, or batches of rows) that a loop has in flight, by merchant. Thread-safe."""

    def __init__(self, limit: int, patience: float = 0.0) -> None:
        """`limit` is how many units of one merchant may be in flight.

        With `patience`, a merchant gets its next unit only when the last one has ended or has taken so many seconds. A
        unit that takes longer waits for somebody else. A shorter one takes processor time, of which requests get more
        if one unit after the other is worked on.
        """
        self.limit, self.patience = limit, patience
        self._began: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def share(self, rows: int = 1) -> Share:
        """Return what a claim may lease now, if a unit has `rows` rows."""
        now = time.monotonic()
        with self._lock:
            if not self.patience:
                return Share(self.limit * rows, {merchant: len(each) * rows for merchant, each in self._began.items()})
            held = {merchant: rows * self._is_full(each, now) for merchant, each in self._began.items()}
            return Share(rows, held)

    def _is_full(self, began: Sequence[float], now: float) -> bool:
        return len(began) >= self.limit or now - began[-1] < self.patience

    def begin(self, merchants: Iterable[str]) -> None:
        """Count a unit for each of these merchants."""
        now = time.monotonic()
        with self._lock:
            for merchant in merchants:
                self._began.setdefault(merchant, []).append(now)

    def end(self, merchants: Iterable[str]) -> None:
        """Count a unit less for each of these merchants."""
        with self._lock:
            for merchant in merchants:
                began = self._began[merchant]
                began.pop(0)
                if not began:
                    del self._began[merchant]

    def claiming(
        self, claim: Callable[[Session, int, Share], Sequence[Any]]
    ) -> Callable[[Session, int], Sequence[Any]]:
        """Return a `claim` of WorkLoop that counts the claimed rows. Their merchant is the attribute `merchant`."""

        def counted(session: Session, limit: int) -> Sequence[Any]:
            rows = claim(session, limit, self.share())
            self.begin(row.merchant for row in rows)
            return rows

        return counted

    def working(self, work: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return a `work` of WorkLoop that no longer counts a row when the work on it has ended."""

        def counted(row: Any) -> object:
            try:
                return work(row)
            finally:
                self.end([row.merchant])

        return counted


def divide(messages: Sequence[Any], busy: Mapping[str, int], size: int) -> list[list[Any]]:
    """Divide messages into batches of up to `size`, so that few merchants wait for the slow messages of another one.

    A merchant with many messages gets batches of its own. Merchants with few messages share batches: those with nothing
    in flight (`busy` counts what is) never share one with those that have. Messages keep their sequence in a batch.
    """
    counts = Counter(message.merchant for message in messages)
    groups: dict[object, list[Any]] = {}
    for message in messages:
        own = counts[message.merchant] > size // 4
        groups.setdefault(message.merchant if own else message.merchant in busy, []).append(message)
    return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]
