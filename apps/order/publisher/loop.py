"""The loop of the publisher: holds the lease, and publishes what is behind each merchant's position."""

from __future__ import annotations

import threading
import time

from chassis.messaging.leases import backoff
from chassis.messaging.work import Heartbeat
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.telemetry import logs, metrics
from order.feed.store import Place
from order.publisher import cloudevents, store
from order.publisher.broker import Broker
from order.publisher.cloudevents import Message
from order.publisher.store import Move, Page

log = logs.get_logger()

PAUSE = 0.2
"""Seconds between two looks for events, while there are none."""

SHARE = 10
"""A pause is at least so many times as long as the look before it, which takes longer with many merchants."""

LONGEST_PAUSE = 5.0
"""Seconds between two attempts at the events of a merchant that the broker does not acknowledge, at most."""

FAILED_PAUSE = 0.4
"""Seconds between a round in which the broker did not acknowledge an event and the next round."""

published = metrics.counter("events_published_total", "Events that the broker acknowledged, or did not.", ["outcome"])


class Publisher:
    """Publishes the events of all merchants while it holds the lease, until it is stopped."""

    name = "publisher"

    def __init__(self, database: Database, broker: Broker, *, source: str, lease: float, poll: float) -> None:
        """`lease` and `poll` are in seconds; `poll` is how often a publisher without the lease tries to get it."""
        self._database, self._broker, self._source = database, broker, source
        self._lease, self._poll = lease, poll
        self._stopping = threading.Event()
        # By merchant whose next event was not acknowledged: how many times, and when it is tried again (monotonic).
        self._failed: dict[str, tuple[int, float]] = {}
        self._has_failed = False  # the last round
        self._error: str | None = None  # of the last round that failed
        # By merchant: the position, and the events behind it that were acknowledged although an earlier one was not.
        self._ahead: dict[str, tuple[Place, set[str]]] = {}
        self._heartbeat = Heartbeat(self.name)

    def run(self) -> None:
        """Publish until `stop` is called."""
        failures = 0
        while not self._stopping.is_set():
            try:
                self._heartbeat.beat()
                owner = store.claim(self._database.session(), self._lease)
                if owner is not None:
                    log.info("publisher_leads")
                    self._lead(owner)
                failures = 0
            except UNAVAILABLE as error:
                failures += 1
                log.warning("publisher_waits_for_database", error=error)
                self._stopping.wait(min(2.0, 0.1 * 2**failures))
                continue
            self._stopping.wait(self._poll)
        self._broker.close()
        self._database.close()

    def stop(self) -> None:
        """Publish nothing more; `run` returns when the round that runs has ended."""
        self._stopping.set()

    def is_alive(self, patience: float = 60.0) -> bool:
        """Return whether the loop has begun a round within `patience` seconds."""
        return self._heartbeat.is_younger_than(patience)

    def _lead(self, owner: str) -> None:
        """Publish until stopped, or until the lease is lost."""
        self._ahead.clear()
        self._failed.clear()
        renewed = time.monotonic()
        while not self._stopping.is_set():
            self._heartbeat.beat()
            began = time.monotonic()
            # Events of one merchant that the broker refuses do not delay those of another one.
            pages = [page for page in store.read(self._database.session()) if self._is_due(page.merchant)]
            if pages:
                held = self._publish(owner, pages)
                renewed = time.monotonic()
                pause = FAILED_PAUSE if self._has_failed else 0.0
            else:
                pause = min(max(PAUSE, SHARE * (time.monotonic() - began)), self._lease / 3)
                held = True
            if held and time.monotonic() + pause > renewed + self._lease / 3:
                held = store.renew(self._database.session(), owner, self._lease)
                renewed = time.monotonic()
            if not held:
                log.warning("publisher_lost_lease")
                return
            self._stopping.wait(pause)
        store.release(self._database.session(), owner)

    def _publish(self, owner: str, pages: list[Page]) -> bool:
        """Publish these events and move the positions. Returns False if the lease was lost."""
        of_page = [self._messages(page) for page in pages]
        known = {page.merchant: self._known(page) for page in pages}
        messages = [
            message
            for page, its in zip(pages, of_page, strict=True)
            for message in its
            if message.id not in known[page.merchant]
        ]
        acknowledged, error = self._broker.publish(messages)
        published.labels("acknowledged").inc(len(acknowledged))
        published.labels("failed").inc(len(messages) - len(acknowledged))
        if error:
            log.warning("publish_failed", failed=len(messages) - len(acknowledged), error=error)
        moves = []
        for page, its in zip(pages, of_page, strict=True):
            done = [message.id in acknowledged or message.id in known[page.merchant] for message in its]
            count = done.index(False) if False in done else len(done)
            place = _place(page, count)
            if count:
                moves.append(Move(page.merchant, page.place, place))
            self._note(page.merchant, failed=not count)
            ahead = {message.id for message, is_done in zip(its[count:], done[count:], strict=True) if is_done}
            if ahead:
                self._ahead[page.merchant] = (place, ahead)
        self._has_failed = error is not None
        self._error = error or (self._error if self._failed else None)
        return store.move(self._database.session(), owner, self._lease, moves, self._error)

    def _is_due(self, merchant: str) -> bool:
        return merchant not in self._failed or time.monotonic() >= self._failed[merchant][1]

    def _note(self, merchant: str, *, failed: bool) -> None:
        """Note whether the next event of a merchant was not acknowledged."""
        if failed:
            failures = self._failed.get(merchant, (0, 0.0))[0] + 1
            self._failed[merchant] = (failures, time.monotonic() + backoff(failures, cap=LONGEST_PAUSE))
        else:
            self._failed.pop(merchant, None)

    def _known(self, page: Page) -> set[str]:
        """Return the ids of events of a page that were acknowledged; none after the position was set by `rewind`."""
        place, ids = self._ahead.pop(page.merchant, (page.place, set[str]()))
        return ids if place == page.place else set()

    def _messages(self, page: Page) -> list[Message]:
        return [cloudevents.message(page.merchant, row["body"], self._source) for row in page.rows]


def _place(page: Page, count: int) -> Place:
    """Return the place behind the first `count` events of a page."""
    if not count:
        return page.place
    last = page.rows[count - 1]
    return Place(last["position"], str(last["order_id"]), last["version"])
