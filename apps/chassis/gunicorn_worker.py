"""gunicorn's threaded worker, with its refusals as problem+json and its connections spread evenly.

Workers take connections from one listener, whoever wakes first. Kept alive, a connection stays where it was
taken: by chance all connections of a proxy may be one worker's, and the other cores idle. So a worker stops
listening while it has more connections than another. What each has stands in memory that all share.
"""

from __future__ import annotations

import json
import mmap
from typing import Any

import uuid_utils
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from chassis.problems import from_status

_FREE = -1
_SLOTS = 128
# Seconds after which a worker that does not listen looks again whether it should.
_LOOK_AGAIN = 0.02

# Made before the first fork: whoever imports this in the master shares it with all workers.
_connections = memoryview(mmap.mmap(-1, 4 * _SLOTS)).cast("i")
_connections[:] = memoryview(b"\xff" * 4 * _SLOTS).cast("i")


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker of either service."""

    slot = 0

    def take_slot(self) -> None:
        """In the master, before the fork: a place for what this worker has."""
        self.slot = next((slot for slot in range(_SLOTS) if _connections[slot] == _FREE), _SLOTS - 1)
        _connections[self.slot] = 0

    def leave_slot(self) -> None:
        """In the master, after the worker's end, whatever of."""
        _connections[self.slot] = _FREE

    def _has_fewest(self) -> bool:
        _connections[self.slot] = self.nr_conns
        return all(number == _FREE or number >= self.nr_conns for number in _connections)

    def accept(self, listener: Any) -> None:
        """Take a connection, and leave the next to others if they have fewer."""
        super().accept(listener)
        if not self._has_fewest():
            self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen, unless others have fewer connections; the one with the fewest always listens."""
        super().set_accept_enabled(enabled and self._has_fewest())

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait, and tell the others what came of it."""
        super().wait_for_and_dispatch_events(timeout if self._accepting else min(timeout, _LOOK_AGAIN))
        _connections[self.slot] = self.nr_conns

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, and close."""
        status = _status(exc)
        if status == 500:
            self.log.exception("error handling a request")
        problem = from_status(status, None if status == 500 else str(exc)[:200])
        body = json.dumps(problem.body(getattr(req, "path", None) or "", str(uuid_utils.uuid7()), status)).encode()
        head = (
            f"HTTP/1.1 {status} {problem.name}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError as error:
            self.log.debug("could not answer: %s", error)


def _status(exc: BaseException) -> int:
    if isinstance(exc, errors.LimitRequestLine):
        return 414
    if isinstance(exc, errors.LimitRequestHeaders):
        return 431
    if isinstance(exc, errors.UnsupportedTransferCoding):
        return 501
    if isinstance(exc, errors.ExpectationFailed):
        return 417
    return 400 if isinstance(exc, errors.ParseException | OSError) else 500
