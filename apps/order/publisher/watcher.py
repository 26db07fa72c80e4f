"""The loop that asks the broker how far its consumers are behind, beside the one that publishes."""

from __future__ import annotations

import threading
import time

from chassis.messaging.work import Heartbeat
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.telemetry import logs
from order.publisher import store
from order.publisher.broker import ConsumersUnknown, WatchedBroker

log = logs.get_logger()

PAUSE = 15.0
"""Seconds between two questions."""

LONG_PAUSE = 300.0
"""Seconds until the next question after one without an answer: the user may not be permitted to ask."""


class Watcher:
    """Stores the consumers of a broker and how far they are behind, until it is stopped.

    It has a connection of its own, so that publishing does not wait for it. Each publisher process has a watcher, also
    while another process has the lease.
    """

    name = "consumers"

    def __init__(self, database: Database, broker: WatchedBroker, *, pause: float = PAUSE) -> None:
        """`pause` is in seconds."""
        self._database, self._broker, self._pause = database, broker, pause
        self._stopping = threading.Event()
        self._heartbeat = Heartbeat(self.name)

    def run(self) -> None:
        """Ask until `stop` is called."""
        ask_at = time.monotonic()
        while not self._stopping.is_set():
            self._heartbeat.beat()
            if time.monotonic() >= ask_at:
                try:
                    store.set_consumers(self._database.session(), self._broker.consumers())
                except ConsumersUnknown as error:
                    log.warning("consumers_unknown", error=error)
                    ask_at = time.monotonic() + LONG_PAUSE
                except UNAVAILABLE as error:
                    log.warning("consumers_wait_for_database", error=error)
            self._stopping.wait(self._pause)
        self._broker.close()
        self._database.close()

    def stop(self) -> None:
        """Ask no more; `run` returns when the question that is asked has ended."""
        self._stopping.set()

    def is_alive(self, patience: float = 120.0) -> bool:
        """Return whether the loop has begun a round within `patience` seconds."""
        return self._heartbeat.is_younger_than(patience)
