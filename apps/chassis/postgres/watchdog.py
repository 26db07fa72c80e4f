"""Deadlines for calls to the database, enforced in this process.

A server that is frozen (a stopped process, a stuck disk, a paused machine) answers nothing, but its kernel still
acknowledges what is sent to it: neither statement_timeout nor tcp_user_timeout ends such a call. The same is true of a
commit that waits for a synchronous standby that is away. A thread of this process therefore shuts down the socket of
each call that is past its deadline. libpq then reports a broken connection, and the next call opens a new one.

The server is not asked to cancel the statement: a commit that waits for a standby would become visible without being
replicated.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import Protocol

TICK = 0.5
"""How often the calls are checked, in seconds: a call ends that much after its deadline at most."""

SLOW = 2.0
"""A call that takes longer, in seconds, counts as stalled."""

CROWDED = 5.0
"""While half of the threads of this process are stalled, calls end after so many seconds, for the sake of others."""

REMEMBERED = 60.0
"""How long after the last time that half of the threads were stalled a process is careful, in seconds."""


class Watched(Protocol):
    """A connection: when its current call began and must end on the monotonic clock (`until` is inf: no call).

    Or, without a `line`, a thread that waits for the call of another one; it is counted and never cut.
    """

    began: float
    until: float
    line: Line | None


class Line:
    """The socket of a connection, under a file descriptor of our own: libpq can't close it while it is shut down."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self.was_cut = False

    def cut(self) -> None:
        """Shut down the connection in both directions: a thread that waits for the server gets an error."""
        self.was_cut = True
        shared = socket.socket(fileno=self._descriptor)
        with suppress(OSError):  # it is not connected any more, which is what is wanted
            shared.shutdown(socket.SHUT_RDWR)
        shared.detach()

    def __del__(self) -> None:
        os.close(self._descriptor)


class Watchdog:
    """Ends the calls of this process that are past their deadline.

    `threads` is how many threads of this process call the database for others; inf if nobody waits for a thread.
    """

    threads = math.inf

    def __init__(self) -> None:
        """The thread starts with the first connection, and again after a fork."""
        self._crowded_at = -math.inf
        self._connections: list[weakref.ref[Watched]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, connection: Watched) -> None:
        """Watch a connection for as long as it exists."""
        with self._lock:
            self._connections.append(weakref.ref(connection))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(TICK)
            self.check()

    def check(self) -> None:
        """Cut the connections whose call is past its deadline."""
        with self._lock:
            connections = [found for each in self._connections if (found := each()) is not None]
            self._connections = [weakref.ref(each) for each in connections]
        now = time.monotonic()
        busy = [connection for connection in connections if connection.until != math.inf]
        crowded = 2 * sum(now - connection.began > SLOW for connection in busy) >= self.threads
        if crowded:
            self._crowded_at = now
        for connection in busy:
            line = connection.line
            if line is not None and (now > connection.until or (crowded and now - connection.began > CROWDED)):
                line.cut()

    def is_careful(self) -> bool:
        """Return whether half of the threads have been stalled at the same time within the last minute."""
        return time.monotonic() - self._crowded_at < REMEMBERED


watchdog = Watchdog()
"""The watchdog of this process."""


os.register_at_fork(after_in_child=watchdog.__init__)  # type: ignore[misc]
