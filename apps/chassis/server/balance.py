"""Connections spread evenly over gunicorn's workers.

Workers take connections from one listener, whoever wakes first. Kept alive, a connection stays where it was
taken: by chance all connections of a proxy may be one worker's, and the other cores idle. So a worker stops
listening while it has more connections than another. What each has stands in memory that all share.
"""

from __future__ import annotations

import mmap
import time

from gunicorn.workers.gthread import ThreadWorker

_FREE = -1
_LEAVING = 2**31 - 1
_SLOTS = 128
# Seconds without a word after which a worker is stuck, and nobody leaves connections to it any more.
_STUCK = 3.0
# Seconds after which a worker that does not listen looks again whether it should.
_LOOK_AGAIN = 0.02

# Made before the first fork: whoever imports this in the master shares it with all workers.
_heard = memoryview(mmap.mmap(-1, 8 * _SLOTS)).cast("d")
_connections = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")
_connections[:] = memoryview(b"\xff" * 4 * _SLOTS).cast("i")


class Balanced(ThreadWorker):  # type: ignore[misc]
    """gthread's worker, which listens while it has no more connections than any other."""

    slot = 0

    def take_slot(self) -> None:
        """In the master, before the fork: a place for what this worker has."""
        self.slot = next((slot for slot in range(_SLOTS) if _connections[slot] == _FREE), _SLOTS - 1)
        _connections[self.slot] = 0
        _heard[self.slot] = 0.0  # while it starts it takes none, so nobody leaves any to it

    def leave_slot(self) -> None:
        """In the master, after the worker's end, whatever of."""
        _connections[self.slot] = _FREE

    def _has_fewest(self) -> bool:
        self._tell()
        stuck = time.monotonic() - _STUCK
        return all(
            number == _FREE or number >= self.nr_conns or _heard[slot] < stuck
            for slot, number in enumerate(_connections)
        )

    def _tell(self) -> None:
        _connections[self.slot] = self.nr_conns if self.alive else _LEAVING
        _heard[self.slot] = time.monotonic()

    def leave_the_next(self) -> None:
        """Leave the next connection to others if they have fewer; to be called when one was taken."""
        if not self._has_fewest():
            self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen, unless others have fewer connections; the one with the fewest always listens."""
        super().set_accept_enabled(enabled and self._has_fewest())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait, and tell the others what came of it."""
        super().wait_for_and_dispatch_events(timeout if self._accepting else min(timeout, _LOOK_AGAIN))
        self._tell()
