"""A session that explains statements instead of running them, to see how much they read."""

from __future__ import annotations

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

    def fetchall(self) -> list[Any]:
        """Return no rows."""
        return []
