"""Spreads connections evenly over gunicorn's workers.

All workers accept connections from the same listener, and the first to wake up gets one. A kept-alive connection stays
with its worker: by chance, one worker may hold all connections of a proxy while other cores are idle. Therefore a
worker stops accepting while another one has fewer connections. The workers see each other's counts in shared memory.
"""

from __future__ import annotations

import mmap
import time

from gunicorn.workers.gthread import ThreadWorker

_FREE = -1  # the count of a slot that no worker has
_STOPPING = 2**31 - 1  # the count of a worker that accepts no more
_SLOTS = 128
# Seconds without an update after which a worker is taken to be stuck. Others then accept although it has fewer.
_STALE_AFTER = 3.0
# Seconds after which a worker that does not accept compares the counts again.
_RECHECK = 0.02

# Mapped before the first fork: the master imports this module, and all workers inherit the mapping.
_updated_at = memoryview(mmap.mmap(-1, 8 * _SLOTS)).cast("d")
_connections = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")
_connections[:] = memoryview(b"\xff" * 4 * _SLOTS).cast("i")


class BalancedWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, which accepts connections only while no other worker has fewer.

    What it overrides in gunicorn is listed in `chassis.server`.
    """

    slot = 0

    def claim_slot(self) -> None:
        """Take a slot in the shared memory. The master calls this before the fork."""
        self.slot = next((slot for slot in range(_SLOTS) if _connections[slot] == _FREE), _SLOTS - 1)
        _connections[self.slot] = 0
        _updated_at[self.slot] = 0.0  # stale until the worker has started, so that others do not leave it connections

    def release_slot(self) -> None:
        """Give the slot back. The master calls this when the worker has exited or was killed."""
        _connections[self.slot] = _FREE

    def _has_fewest(self) -> bool:
        self._publish()
        stale = time.monotonic() - _STALE_AFTER
        return all(
            number == _FREE or number >= self.nr_conns or _updated_at[slot] < stale
            for slot, number in enumerate(_connections)
        )

    def _publish(self) -> None:
        _connections[self.slot] = self.nr_conns if self.alive else _STOPPING
        _updated_at[self.slot] = time.monotonic()

    def pause_if_ahead(self) -> None:
        """Stop accepting if another worker has fewer connections. Call this after accepting one."""
        if not self._has_fewest():
            self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting. A worker with more connections than another one does not start."""
        super().set_accept_enabled(enabled and self._has_fewest())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Dispatch events, then publish the number of connections. Returns early while this worker does not accept."""
        super().wait_for_and_dispatch_events(timeout if self._accepting else min(timeout, _RECHECK))
        self._publish()
