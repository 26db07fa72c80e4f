"""The use case of the feed: reading it, and waiting for what comes next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from chassis.http.prefer import WaitingRoom
from chassis.http.problems import Problem
from chassis.postgres.database import Database, Row, Session
from order.feed import store
from order.feed.arrivals import Arrivals
from order.feed.store import START, Place

SETTLING = 0.25
"""For how many seconds a request waits for short transactions that run, although it has no `wait`."""

PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Page:
    """Events with `body` (JSON text), the place behind them, and whether more may follow at once."""

    rows: list[Row]
    end: Place
    has_more: bool


class Feed:
    """Reads the events of a merchant's orders."""

    def __init__(self, database: Database, everybody: WaitingRoom, waiting: int) -> None:
        """`waiting` requests for events may wait at the same time; they also take places of `everybody`."""
        self._database, self._everybody = database, everybody
        self._room = WaitingRoom(waiting)
        self._arrivals = Arrivals(database)

    def read(self, merchant: str, query: dict[str, Any], after: Place | None, limit: int, wait: float) -> Page:
        """Return events after a place; None is the start, or the first event at or after `since` of the query.

        If no event follows, wait up to `wait` seconds for the next one, unless too many requests wait already.

        Raises Problem `events-rewound` for a place that this database has not reached.
        """
        session = self._database.session()
        if after is not None:
            query = {name: value for name, value in query.items() if name != "since"}
        elif "since" in query:
            after = store.place_at(session, query["since"])
        place = after or START
        page = self._find_settled(session, merchant, query, place, limit)
        if page.rows or page.has_more:
            return page
        if store.is_ahead(session, place):
            raise Problem(
                "events-rewound",
                "The database was restored to a time before this position. Continue with `since` instead of `after`.",
            )
        with self._room.enter(wait, merchant) as mine, self._everybody.enter(mine, merchant) as seconds:
            deadline, seen = time.monotonic() + seconds, page.end.position
            while not page.rows and not page.has_more and seconds:
                newest = self._arrivals.wait(merchant, seen, deadline)
                if newest is None:
                    break
                seen = newest
                page = Page(*store.find(self._database.session(), merchant, query, page.end, limit))
        return page

    def _find_settled(self, session: Session, merchant: str, query: dict[str, Any], place: Place, limit: int) -> Page:
        """Return events after a place. If newer ones wait for transactions that run, wait a moment for those.

        So a caller whose order was just changed finds the event of it, unless a transaction takes long.
        """
        delayed = store.is_delayed(session, merchant)
        page = Page(*store.find(session, merchant, query, place, limit))
        if page.has_more or not delayed:
            return page
        with self._room.enter(SETTLING, merchant) as seconds:
            deadline = time.monotonic() + seconds
            while delayed and not page.has_more and time.monotonic() < deadline:
                time.sleep(PAUSE)
                delayed = store.is_delayed(session, merchant)
                page = Page(*store.find(session, merchant, query, place, limit))
        return page
