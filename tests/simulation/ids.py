"""The ids of a run: a counter for those that are new, and the ids that payment derives from an idempotency key."""

from __future__ import annotations

import hashlib
import itertools

MERCHANT = "demo"


class Ids:
    """New ids and lease tokens. They are the same in every run of a schedule, and are never given twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """Return the next number."""
        return next(self._numbers)

    def new(self) -> str:
        """Return a new id, in the form of a UUIDv7."""
        return f"00000000-0000-7000-8000-{next(self._numbers):012x}"


def derived(key: str, what: str) -> str:
    """Return the id of the payment or operation that a request with this key creates."""
    digest = hashlib.sha256(f"{MERCHANT}\n{key}\n{what}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
