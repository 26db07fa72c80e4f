"""The SQL of the feed.

The position of an event is the id of the transaction that wrote it, plus `order_events_base()`; but it is never smaller
than that of the order's event before it (`events.POSITION`). Events of the same position follow in the order of
`order_id` and `version`. `pg_snapshot_xmin` is the id of the oldest transaction that runs: all events below it are
committed or will never be, because no event has a position below the id of its transaction. A long transaction, in any
database of the same server, delays the feed until it ends. It skips nothing, and transactions that only read have no
id and delay nothing.

A restored database assigns ids again that were used before. `advance` makes the base larger than all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from chassis.postgres import lists
from chassis.postgres.database import Row, Session
from order.store import events

SCANNED = 2000
"""How many events one request with a filter looks at."""

_FIRST_WINDOW = timedelta(minutes=1)  # longer than any transaction that writes an event takes

NO_ORDER = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the feed: behind the event of this version of this order, at this position."""

    position: int
    order_id: str = NO_ORDER
    version: int = 0


START = Place(0)
"""The place before the first event."""

BELOW = "order_events_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

_ONLY: dict[str, LiteralString] = {
    "order_id": "AND n.order_id = %(order_id)s::uuid",
    "since": "AND n.at >= %(since)s::timestamptz",
}

_PAGE = """
WITH scanned AS MATERIALIZED (
    SELECT n.* FROM order_events n
    WHERE n.merchant = %(merchant)s AND n.position >= %(position)s::bigint
      AND (n.position, n.order_id, n.version) > (%(position)s::bigint, %(seen_order)s::uuid, %(seen_version)s::bigint)
      AND n.position < (SELECT {below}) {only}
    ORDER BY n.position, n.order_id, n.version LIMIT %(scanned)s::bigint),
{shown},
-- The last of the events that were looked at: a filter may have left out all of them.
last AS (SELECT * FROM scanned ORDER BY position DESC, order_id DESC, version DESC LIMIT 1)
SELECT page.position, page.order_id, page.version, shown.body, true AS matches,
       (SELECT count(*) FROM scanned) AS scanned
FROM page LEFT JOIN shown USING (turn)
UNION ALL
SELECT position, order_id, version, NULL, false, (SELECT count(*) FROM scanned) FROM last
ORDER BY position, order_id, version, matches DESC
"""

_MATCHING = """SELECT * FROM scanned WHERE %(type)s::text IS NULL OR type = %(type)s::text
    ORDER BY position, order_id, version LIMIT %(limit)s::bigint + 1"""

_EVENT = f"SELECT {events.EVENT}::text AS body FROM (SELECT page.*) AS n {events.SOURCE}"


def find(
    session: Session, merchant: str, query: dict[str, Any], after: Place, limit: int
) -> tuple[list[Row], Place, bool]:
    """Return up to `limit` events after a place, oldest first, the place behind them, and whether more may follow.

    `query` has the optional filters `type`, `order_id` and `since`. With `type`, at most `SCANNED` events are looked
    at, so there may be no event although more follow. There may be fewer events than `limit` if they are large; see
    `lists.shown`.
    """
    only: LiteralString = " ".join(condition for name, condition in _ONLY.items() if name in query)
    most = SCANNED if "type" in query else limit + 1
    rows = session.execute(
        _PAGE.format(
            below=BELOW, only=only, shown=lists.shown(_MATCHING, "position, order_id, version", _EVENT, limit)
        ),
        {
            "type": None,
            **query,
            "merchant": merchant,
            "limit": limit,
            "scanned": most,
            "position": after.position,
            "seen_order": after.order_id,
            "seen_version": after.version,
        },
    ).fetchall()
    if not rows:
        return [], after, False
    matching = [row for row in rows if row["matches"]]
    found = [row for row in matching if row["body"] is not None]
    left_out = len(matching) > len(found)
    more = left_out or ("type" in query and rows[0]["scanned"] == most)
    end = found[-1] if left_out else rows[-1]
    return found, Place(end["position"], str(end["order_id"]), end["version"]), more


def newest(session: Session, merchants: list[str]) -> dict[str, int]:
    """Return the position of the newest event of each of these merchants that has one."""
    rows = session.all(
        f"""SELECT m.merchant, (
                SELECT n.position FROM order_events n
                WHERE n.merchant = m.merchant AND n.position < (SELECT {BELOW})
                ORDER BY n.position DESC LIMIT 1) AS position
            FROM unnest(%(merchants)s::text[]) AS m(merchant)""",
        {"merchants": merchants},
    )
    return {row["merchant"]: row["position"] for row in rows if row["position"] is not None}


def is_delayed(session: Session, merchant: str) -> bool:
    """Return whether the merchant has committed events that are not shown yet, because an older transaction runs."""
    row = session.one(
        f"SELECT EXISTS (SELECT FROM order_events WHERE merchant = %s AND position >= (SELECT {BELOW})) AS delayed",
        (merchant,),
    )
    return bool(row and row["delayed"])


def is_ahead(session: Session, place: Place) -> bool:
    """Return whether this database has not reached a place: the place was handed out before a restore."""
    row = session.one(
        "SELECT %(at)s::bigint > order_events_base() + pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead",
        {"at": place.position},
    )
    return bool(row and row["ahead"])


def place_at(session: Session, moment: datetime) -> Place:
    """Return a place that is before all events at or after a moment.

    Every transaction that writes events is shorter than the first part of the time that is looked at. So no transaction
    with an event after that part has a smaller id than all transactions with an event in it.
    """
    begin, step = moment, _FIRST_WINDOW
    while True:
        row = session.execute(
            f"""SELECT (SELECT min(position) FROM order_events WHERE at >= %(begin)s AND at < %(end)s) AS first,
                       {BELOW} AS below, %(end)s > now() AS is_over""",
            {"begin": begin, "end": begin + step},
            prepare=False,
        ).fetchone()
        assert row is not None
        if row["first"] is not None or row["is_over"]:
            return Place(row["below"] if row["first"] is None else min(row["first"], row["below"]))
        begin, step = begin + step, step * 2


def advance(session: Session) -> None:
    """After a restore: place all new events behind all places that were handed out before."""
    session.execute("SELECT advance_order_events()")


def snapshot(session: Session) -> tuple[int, int]:
    """Return the id of the oldest transaction that runs, and the id that the next one gets."""
    row = session.one(
        """SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
                  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next"""
    )
    assert row is not None
    return row["oldest"], row["next"]
