"""A session that explains statements instead of running them, to see how much they read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import psycopg


class Explaining:
    """Runs EXPLAIN ANALYZE of each statement. `read` is how many pages the last one read."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection, self.read = connection, 0

    def execute(self, statement: str, *parameters: Any, **_: Any) -> Explaining:
        """Explain a statement."""
        plan = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement
        found = self.connection.execute(plan.encode(), *parameters).fetchone()
        assert found is not None
        top = found[0][0]["Plan"]
        self.read = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        return self

    rowcount = 0

    def fetchall(self) -> list[Any]:
        """Return no rows."""
        return []

    def fetchone(self) -> None:
        """Return no row."""


def pages_read(
    database: str, find: Callable[..., Any], merchant: str, queries: Iterable[dict[str, Any]], moment: datetime
) -> Iterator[tuple[int, object]]:
    """Run each query of a list with `find`, for the first page and for the one after `moment`.

    Yields how many pages of the table and its indexes were read, and the query, for a message. `database` is a URL.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        for query in queries:
            for after in (None, (moment, str(uuid.uuid4()))):
                explaining = Explaining(connection)
                find(explaining, merchant, {**query, "limit": 20}, after)
                yield explaining.read, (query, after)
