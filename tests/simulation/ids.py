"""The new ids of a run. Payment derives its ids from these, see payment.ids."""

from __future__ import annotations

import itertools

from tests.simulation.provider import check

MERCHANT = "demo"
LIMIT = 3000


class Ids:
    """New ids and lease tokens. They are the same in every run of a schedule, and are never given twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """Return the next number. Raises Broken if a run needs so many that something must repeat without end."""
        number = next(self._numbers)
        check(number < LIMIT, "something repeats without end")
        return number

    def new(self) -> str:
        """Return a new id, in the form of a UUIDv7."""
        return f"00000000-0000-7000-8000-{self.number():012x}"
