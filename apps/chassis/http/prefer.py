"""The preference `wait` of the Prefer header (RFC 7240, section 4.3): how long to wait for an outcome."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import parse_http_list

from chassis import counts
from chassis.postgres.database import Row

MAX_WAIT = 10
_MAX_HEADER = 500  # characters


def wait(header: str | None) -> int | None:
    """Return the seconds in `Prefer: wait=N`, at most 10, or None if the header has no valid `wait`.

    Preferences are separated by commas, and each may have parameters after a semicolon. The first of two with the
    same name counts. A longer header than any client needs is ignored, which RFC 7240 allows.
    """
    if header is not None and len(header) > _MAX_HEADER:
        return None
    for preference in parse_http_list(header or ""):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return min(int(seconds[:9]), MAX_WAIT) if seconds.isascii() and seconds.isdigit() else None
    return None


class WaitingRoom:
    """Limits how many requests of this process wait for an outcome at the same time.

    The other threads stay free for requests that do not wait, and for the events that end the waiting. One place
    is left to other merchants, so one merchant that waits for long keeps no other from waiting.
    """

    def __init__(self, places: int) -> None:
        self._places, self._most = places, max(1, places - 1)
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, wait: float, merchant: str) -> Iterator[float]:
        """Yield how many seconds this request may wait: `wait`, or 0 if no place is free for its merchant."""
        if wait <= 0 or not self._take(merchant):
            yield 0
            return
        try:
            yield wait
        finally:
            self._leave(merchant)

    def _take(self, merchant: str) -> bool:
        with self._lock:
            if self._taken.total() >= self._places or self._taken[merchant] >= self._most:
                return False
            self._taken[merchant] += 1
            return True

    def _leave(self, merchant: str) -> None:
        with self._lock:
            counts.subtract(self._taken, merchant)


def until(look: Callable[[], Row], is_done: Callable[[Row], bool], wait: float) -> Row:
    """Poll `look` until its row is done or `wait` seconds have passed; return the last row."""
    deadline = time.monotonic() + wait
    while True:
        row = look()
        remaining = deadline - time.monotonic()
        if is_done(row) or remaining <= 0:
            return row
        time.sleep(min(0.05, remaining))
