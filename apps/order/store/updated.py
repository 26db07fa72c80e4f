"""The list of a merchant's orders by their last change, oldest first.

`orders` has no index on its time of change, because each step of an order would have to write it. The events have one
on their time (BRIN). It is read in parts of the time, and an order is taken from the event of its newest version.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, LiteralString

from chassis.postgres import lists
from chassis.postgres.database import Row, Session, to_json
from order import model
from order.store.views import VIEW

_FIRST_PART = timedelta(minutes=1)

_CONDITIONS: dict[str, LiteralString] = {
    "status": "o.status = ANY(%(status)s)",
    "customer": "o.customer = %(customer)s",
    "reference": "o.reference = %(reference)s",
    "labels": "o.metadata @> %(labels)s::jsonb",
    "created_after": "o.created_at > %(created_after)s",
    "created_before": "o.created_at < %(created_before)s",
    "seen_at": "(o.updated_at, o.id) > (%(seen_at)s, %(seen_id)s)",
}

# Releases before 0.3 wrote an event a moment after the order's own time: parts overlap, and the order's time decides.
_PART = """
SELECT o.id, o.updated_at AS created_at FROM order_events e
JOIN orders o ON o.merchant = e.merchant AND o.id = e.order_id AND o.version = e.version
WHERE e.merchant = %(merchant)s AND o.merchant = %(merchant)s
  AND e.at >= %(begin)s - interval '1 second' AND e.at < %(end)s + interval '1 second'
  AND o.updated_at >= %(begin)s AND o.updated_at < %(end)s AND o.updated_at > %(updated_after)s {conditions}
ORDER BY o.updated_at, o.id LIMIT %(limit)s + 1
"""

_ONE = f"SELECT {VIEW} FROM orders o WHERE o.merchant = %(merchant)s AND o.id = page.id"

_BOUNDS = """
SELECT now() AS now, (
    SELECT min(first.created_at) FROM unnest(%(statuses)s::text[]) AS wanted(status) CROSS JOIN LATERAL (
        SELECT created_at FROM orders WHERE merchant = %(merchant)s AND orders.status = wanted.status
        ORDER BY created_at, id LIMIT 1) AS first) AS oldest
"""


def find(session: Session, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
    """Return views of orders that changed after `updated_after`, oldest change first, at most `limit` + 1.

    `query` is what schemas.ListOrders loads. `after` is the time and id of the last order of the page before. A row has
    the time of the change as `created_at`, for the cursor. The last row has no `body` if it does not fit into the page;
    see `lists.bounded`.
    """
    bounds = session.one(_BOUNDS, {"merchant": merchant, "statuses": [str(status) for status in model.Status]})
    if bounds is None or bounds["oldest"] is None:
        return []
    seen_at, seen_id = after or (None, None)
    labels = to_json(query["metadata"]) if query.get("metadata") else None
    wanted = {**query, "merchant": merchant, "seen_at": seen_at, "seen_id": seen_id, "labels": labels}
    conditions = [f"AND {condition}" for name, condition in _CONDITIONS.items() if wanted.get(name) is not None]
    found = _PART.format(conditions=" ".join(conditions))
    part = lists.bounded(found, "created_at, id", _ONE, query["limit"])
    begin, step = max(query["updated_after"], bounds["oldest"], seen_at or bounds["oldest"]), _FIRST_PART
    rows: list[Row] = []
    size = 0
    while len(rows) <= query["limit"] and begin <= bounds["now"]:
        end = begin + step
        more = session.execute(part, {**wanted, "begin": begin, "end": end}, prepare=False).fetchall()
        rows += more if size < lists.LARGEST_PAGE else [{**row, "body": None} for row in more]
        if rows and rows[-1]["body"] is None:
            break
        size += max((row["bytes"] for row in more), default=0)
        begin, step = end, step * 2
    return rows[: query["limit"] + 1]
