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

# A page of one part is read whole and cut afterwards (`_cut`). This takes a quarter less time than `bounded`.
_FEW_VIEWS = """WITH page AS MATERIALIZED ({page})
    SELECT {view}, {alias}.created_at FROM page
    JOIN {table} {alias} ON {alias}.merchant = %(merchant)s AND {alias}.id = page.id
    ORDER BY page.created_at {way}, page.id {way}"""

_VIEW = "SELECT {view} FROM {table} {alias} WHERE {alias}.merchant = %(merchant)s AND {alias}.id = page.id"

_PART = 20
"""How many views are built before their size is looked at."""


def bounded(page: str, sorting: str, view: str, limit: int) -> str:
    """Return the statement that selects a page of a list which is bounded in bytes, and the row after it.

    Each row has the columns of `page` and those of `view`, which are NULL if the row does not fit. See `shown`.
    """
    ctes = shown(page, sorting, view, limit)
    return f"WITH {ctes} SELECT shown.*, page.* FROM page LEFT JOIN shown USING (turn) ORDER BY page.turn"


def shown(page: str, sorting: str, view: str, limit: int) -> str:
    """Return the CTEs `page` and `shown`: a page of a list that is bounded in bytes.

    `page` selects the rows of the page and the one after it, in the order of the list, which is `sorting`; the CTE
    numbers them as `turn`. `view` selects the columns to show of one row, with `body` (text), and refers to that row
    as `page`. `shown` has these columns of the first rows: at most `limit`, and none after `LARGEST_PAGE` bytes.
    `bytes` is the size of the bodies up to this row. The views are built in parts, and no part after one of that
    size, so the largest rows cost little memory.
    """
    built, sizes = list[str](), list[str]()
    for number, first in enumerate(range(1, limit + 1, _PART)):
        last = min(first + _PART - 1, limit)
        smaller = f" AND {' + '.join(sizes)} < {LARGEST_PAGE}" if sizes else ""
        # Materialized, or each use of `body` would build it again.
        built.append(f"""part{number} AS MATERIALIZED (
        SELECT page.turn, those.* FROM page CROSS JOIN LATERAL ({view}) AS those
        WHERE page.turn BETWEEN {first} AND {last}{smaller})""")
        sizes.append(f"(SELECT sum(octet_length(body)) FROM part{number})")
    parts, all_parts = ", ".join(built), " UNION ALL ".join(f"TABLE part{number}" for number in range(len(built)))
    return f"""page AS MATERIALIZED (
        SELECT found.*, row_number() OVER (ORDER BY {sorting}) AS turn FROM ({page}) AS found),
    {parts},
    shown AS (
        SELECT * FROM (
            SELECT *, sum(octet_length(body)) OVER (ORDER BY turn) AS bytes FROM ({all_parts}) AS built) AS summed
        WHERE bytes - octet_length(body) < {LARGEST_PAGE})"""


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
        rows = session.execute(self._statement(wanted), wanted, prepare=False).fetchall()
        return _cut(rows) if query["limit"] <= _PART else rows

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
        if wanted["limit"] <= _PART:
            return _FEW_VIEWS.format(page=page, view=self.view, table=self.table, alias=self.alias, way=way)
        view = _VIEW.format(view=self.view, table=self.table, alias=self.alias)
        return bounded(page, f"created_at {way}, id {way}", view, wanted["limit"])

    def _page(self, conditions: list[str], way: str) -> str:
        return _PAGE.format(table=self.table, conditions=" AND ".join(conditions), way=way)


def _cut(rows: list[Row]) -> list[Row]:
    """Return the rows, with None as `body` of those after `LARGEST_PAGE` bytes."""
    size = 0
    for row in rows:
        if size >= LARGEST_PAGE:
            row["body"] = None
        else:
            size += len(row["body"].encode())
    return rows
