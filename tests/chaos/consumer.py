"""Invariant 18: a consumer of the feed gets every committed event, each order's in the order of its versions."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import requests

from tests.chaos.facts import Facts
from tests.chaos.workload import MERCHANTS
from tests.support.pair import Client

Event = tuple[str, str, int]
"""The id of an event, its order and the version."""


class Consuming(Protocol):
    """A consumer of the events of one merchant, of the feed or of a broker."""

    merchant: str
    received: list[Event]

    def start(self) -> None:
        """Begin to read."""
        ...

    def finish(self) -> None:
        """Read to the end, and stop."""
        ...


class Consumer:
    """Reads the events of one merchant while faults happen, as docs/events.md says: position by position."""

    def __init__(self, url: str, merchant: str) -> None:
        self.merchant, self.received = merchant, list[Event]()
        self._client = Client(url, MERCHANTS[merchant])
        self._after: str | None = None
        self._ending = threading.Event()
        # A daemon, so that it ends with a run that has failed.
        self._thread = threading.Thread(target=self._run, name=f"consumer of {merchant}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finish(self) -> None:
        """Read to the end of the feed, and stop."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._read(wait=1) is None:
                self._ending.wait(0.1)
        failures = 0
        while failures < 100 and (more := self._read(wait=0)) is not False:
            failures += more is None
            self._ending.wait(0 if more else 0.05)

    def _read(self, wait: int) -> bool | None:
        """Read one page. Returns whether more may follow, or None if there was no response."""
        query: dict[str, Any] = {"limit": 100, "wait": wait, **({"after": self._after} if self._after else {})}
        try:
            answer = self._client.get("/v1/events", params=query)
            page = answer.json() if answer.status_code == 200 else None
        except (requests.RequestException, ValueError):
            return None
        if page is None:
            return None
        self.received += [(event["id"], event["order_id"], event["version"]) for event in page["data"]]
        self._after = page["next_cursor"]
        return bool(page["has_more"])


def completeness(facts: Facts, consumers: Sequence[Consuming]) -> Iterator[str | None]:
    """Check that each consumer got every event of its merchant once, under the id of its row, and in order."""
    for consumer in consumers:
        got: dict[str, list[int]] = defaultdict(list)
        ids = {}
        for event_id, order_id, version in consumer.received:
            got[order_id].append(version)
            ids[order_id, version] = event_id
        for (merchant, order_id), rows in facts.events.items():
            if merchant == consumer.merchant:
                wanted = [row["version"] for row in rows]
                yield _compare(order_id, wanted, got.pop(order_id, []))
                for row in rows:
                    told = ids.get((order_id, row["version"]), str(row["id"]))
                    yield None if told == str(row["id"]) else f"order {order_id}: event {row['id']} came as {told}"
        for order_id in got:
            yield f"order {order_id}: a consumer got events of an order without a history"


def _compare(order_id: str, wanted: list[int], got: list[int]) -> str | None:
    return None if got == wanted else f"order {order_id}: events {wanted} were committed, and a consumer got {got}"
