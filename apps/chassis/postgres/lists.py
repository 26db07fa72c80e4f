"""A merchant's rows in pages: filtered by status and more, the newest or the oldest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.postgres.database import Row, Session

LARGEST_PAGE = 1024 * 1024
"""Bytes of a page's entries after which no further entry is added. A page has at least one entry, whatever its size."""

_CONDITIONS = {
    "created_after": "created_at > %(created_after)s",
    "created_before": "created_at < %(created_before)s",
    "seen_at": "(created_at, id) {beyond} (%(seen_at)s, %(seen_id)s)",
}

_PAGE = """SELECT id, created_at FROM {table} WHERE merchant = %(merchant)s AND {conditions}
    ORDER BY created_at {way}, id {way} LIMIT %(limit)s + 1"""

# One index by status and time serves both the list of some statuses and the list of all rows: the first rows of each
# status are read from it, and merged.
_PAGE_OF_EACH = """SELECT page.* FROM unnest(%(statuses)s::text[]) AS wanted(status)
    CROSS JOIN LATERAL ({page}) AS page ORDER BY created_at {way}, id {way} LIMIT %(limit)s + 1"""

_VIEWS = """WITH RECURSIVE {shown}
    SELECT shown.*, page.id, page.created_at FROM page LEFT JOIN shown USING (turn) ORDER BY page.turn"""

_VIEW = "SELECT {view} FROM {table} {alias} WHERE {alias}.merchant = %(merchant)s AND {alias}.id = page.id"


def shown(page: str, order: str, view: str) -> str:
    """Return the CTEs `page` and `shown`, for WITH RECURSIVE: a page of a list that is bounded in bytes.

    `page` selects the rows of the page and the one after it, in the `order` of the list; the CTE numbers them as
    `turn`. `view` selects the columns to show of one row, with `body` (text), and refers to that row as `page`. `shown`
    has these columns of the first rows: at most the parameter `limit`, and none after `LARGEST_PAGE` bytes. The views
    of rows beyond that are never built, so a page of the largest rows costs no more memory than a few of them.
    """
    return f"""page AS MATERIALIZED (
        SELECT found.*, row_number() OVER (ORDER BY {order}) AS turn FROM ({page}) AS found),
    shown AS (
        SELECT page.turn, octet_length(those.body)::bigint AS bytes, those.*
        FROM page CROSS JOIN LATERAL ({view}) AS those WHERE page.turn = 1
        UNION ALL
        -- LIMIT keeps the planner from joining the views of all rows in each step.
        SELECT page.turn, shown.bytes + octet_length(those.body), those.*
        FROM shown
        CROSS JOIN LATERAL (SELECT * FROM page WHERE page.turn = shown.turn + 1 LIMIT 1) AS page
        CROSS JOIN LATERAL ({view}) AS those
        WHERE shown.bytes < {LARGEST_PAGE} AND shown.turn < %(limit)s::bigint)"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A table with the columns merchant, id, status and created_at, and an index on (merchant, status, created_at, id).

    `view` is the SQL of the columns to return, of a row called `alias`. `statuses` are all that a row can have.

    `conditions` are additional filters: the SQL of each by the name of its parameter. `few` are those that few rows
    match, and that have an index of their own.
    """

    table: str
    alias: str
    view: str
    statuses: tuple[str, ...]
    few: Mapping[str, str]
    conditions: Mapping[str, str]

    def find(
        self, session: Session, merchant: str, query: Mapping[str, Any], after: tuple[datetime, str] | None
    ) -> list[Row]:
        """Return views of a merchant's rows with `created_at`, in the order of `sort`, at most `limit` + 1.

        Rows that do not fit into the page, in number or in bytes, have no `body`; see `shown`.

        `query` has `limit` and may have `sort` (`created_at` or `-created_at`, the default), `status` (a list),
        `created_after`, `created_before`, and the parameters of the additional filters. `after` is the time and id of
        the last row of the page before. The statement has only the conditions of this query and is planned for their
        values, so that an index can be used.
        """
        seen_at, seen_id = after or (None, None)
        wanted = {**query, "merchant": merchant, "seen_at": seen_at, "seen_id": seen_id}
        wanted["statuses"] = [str(status) for status in query.get("status") or self.statuses]
        return session.execute(self._statement(wanted), wanted, prepare=False).fetchall()

    def _statement(self, wanted: Mapping[str, Any]) -> str:
        way, beyond = ("ASC", ">") if wanted.get("sort") == "created_at" else ("DESC", "<")
        known = {**_CONDITIONS, **self.conditions}
        given = [sql.replace("{beyond}", beyond) for name, sql in known.items() if wanted.get(name) is not None]
        narrow = [sql for name, sql in self.few.items() if wanted.get(name) is not None]
        if narrow:
            of_status = ["status = ANY(%(statuses)s)"] if wanted.get("status") else []
            page = self._page([*narrow, *of_status, *given], way)
        else:
            of_each = self._page(["status = wanted.status", *given], way)
            page = _PAGE_OF_EACH.format(page=of_each, way=way)
        view = _VIEW.format(view=self.view, table=self.table, alias=self.alias)
        return _VIEWS.format(shown=shown(page, f"created_at {way}, id {way}", view))

    def _page(self, conditions: list[str], way: str) -> str:
        return _PAGE.format(table=self.table, conditions=" AND ".join(conditions), way=way)
