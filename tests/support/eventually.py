"""Waits for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Call `look` until it returns a true value, and return that. Fails with `what` after the given seconds."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} (last seen: {seen!r})"
        time.sleep(0.02)
