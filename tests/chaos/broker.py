"""Invariant 18 for a broker: NATS gets every committed event, although it and the publisher are killed."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.consumer import Event
from tests.chaos.workload import MERCHANTS
from tests.support import publishing
from tests.support.databases import Databases
from tests.support.nats_server import NatsServer, received
from tests.support.stack import Stack

SETTLING = 60.0
"""Seconds at the end in which what is left must be published."""


class Broker:
    """NATS and the publisher of a stack, while the `with` block runs.

    Both are killed at random and started again, except with `kills=False`.
    """

    def __init__(self, seed: int, stack: Stack, databases: Databases, folder: Path, *, kills: bool = True) -> None:
        self._random, self._databases = random.Random(f"{seed}/broker"), databases
        self._nats = NatsServer(folder)
        self._publisher = publishing.process(stack, self._nats, folder)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run if kills else self._ending.wait, name="broker")
        self._events: list[tuple[str, Event]] | None = None

    def __enter__(self) -> Self:
        self._nats.__enter__()
        self._publisher.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._publisher.kill()
        self._nats.kill()

    def consumers(self) -> list[BrokerConsumer]:
        """Return a consumer for each merchant."""
        return [BrokerConsumer(self, merchant) for merchant in MERCHANTS]

    def events(self) -> list[tuple[str, Event]]:
        """End the faults, wait until all is published, and return the first arrival of each event with its merchant."""
        if self._events is None:
            self._ending.set()
            self._thread.join()
            # A process that a thread started is killed when that thread ends (PR_SET_PDEATHSIG).
            self._restart_broker()
            self._restart_publisher()
            self._await_published()
            arrivals = {event["id"]: event for _, _, event in reversed(received(self._nats.url))}
            self._events = [
                (event["merchant"], (event["id"], event["subject"], event["orderversion"]))
                for event in reversed(arrivals.values())
            ]
        return self._events

    def _await_published(self) -> None:
        """Wait until no event is left. If some still are after `SETTLING`, the check of the events finds them."""
        deadline = time.monotonic() + SETTLING
        while self._left() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _left(self) -> bool:
        rows = self._databases.query(
            "order",
            """SELECT 1 AS left FROM order_events e LEFT JOIN event_positions p ON p.merchant = e.merchant
               WHERE (e.position, e.order_id, e.version) > (COALESCE(p.position, 0), COALESCE(p.order_id,
                   '00000000-0000-0000-0000-000000000000'), COALESCE(p.version, 0)) LIMIT 1""",
        )
        return bool(rows)

    def _run(self) -> None:
        while not self._ending.wait(self._random.uniform(0.5, 3.0)):
            if self._random.random() < 0.5:
                self._restart_publisher()
            else:
                self._restart_broker(self._random.uniform(0.0, 2.0))

    def _restart_publisher(self) -> None:
        self._publisher.kill()
        assert self._publisher.running is not None
        self._publisher.running.wait()
        self._publisher.start()

    def _restart_broker(self, away: float = 0.0) -> None:
        self._nats.kill()
        self._ending.wait(away)
        self._nats.start()
        self._nats.await_ready()


class BrokerConsumer:
    """Reads the events of one merchant from the broker, at the end: a stream keeps the order of arrival."""

    def __init__(self, broker: Broker, merchant: str) -> None:
        self.merchant, self.received = merchant, list[Event]()
        self._broker = broker

    def start(self) -> None:
        """Do nothing: the broker keeps the events."""

    def finish(self) -> None:
        """Read the first arrival of each event."""
        self.received = [event for merchant, event in self._broker.events() if merchant == self.merchant]
