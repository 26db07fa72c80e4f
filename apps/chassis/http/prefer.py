"""The Prefer header's `wait` (RFC 7240, section 4.3): how long a caller would like to wait for an outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.request import parse_http_list

from chassis.postgres.database import Row

MAX_WAIT = 10


def wait(header: str | None) -> int | None:
    """The seconds that `Prefer: wait=N` asks for, at most 10; None when it does not ask, or asks nonsense.

    Preferences are separated by commas, each may carry parameters after a semicolon, and of two with one
    name the first counts.
    """
    for preference in parse_http_list(header or ""):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return min(int(seconds[:9]), MAX_WAIT) if seconds.isascii() and seconds.isdigit() else None
    return None


def until(look: Callable[[], Row], is_done: Callable[[Row], bool], wait: float) -> Row:
    """What is seen once it is done, or at the end of so many seconds."""
    deadline = time.monotonic() + wait
    while True:
        row = look()
        left = deadline - time.monotonic()
        if is_done(row) or left <= 0:
            return row
        time.sleep(min(0.05, left))
