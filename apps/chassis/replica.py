"""Reads that a replica may serve: READ_DATABASE_URL, if it is set.

A replica is behind by the time that replication takes. So it serves only lists that name nothing in particular: what a
caller reads by the id of what it has just written comes from the primary, and shows the write.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from chassis.postgres.database import UNAVAILABLE, Database, Session
from chassis.telemetry import logs
from chassis.telemetry.metrics import DatabaseGauges, Samples

T = TypeVar("T")

log = logs.get_logger()

STATEMENT_TIMEOUT = 3.0
"""Seconds that a statement may take on the replica: enough of a request's time is left for the primary."""

PAUSE = 10.0
"""Seconds for which a replica is not used after it has failed, so that it delays one request of each thread at most."""

_POSITION = """SELECT ((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)
    - '0/0')::float8 AS position, pg_is_in_recovery() AS standby,
    COALESCE(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::float8 AS age"""


class Replica:
    """Runs queries on the replica, or on the primary if there is no replica or it fails."""

    def __init__(self, primary: Database, url: str, name: str) -> None:
        """`url` is the replica's, or empty; `name` is the application_name."""
        self._primary = primary
        self._replica = Database(url, name, statement_timeout=STATEMENT_TIMEOUT, standby=True) if url else None
        self._away_until = -math.inf

    def read(self, query: Callable[[Session], T]) -> T:
        """Return what `query` returns, which only reads. It may be called twice."""
        if self._replica is not None and time.monotonic() >= self._away_until:
            try:
                return query(self._replica.session())
            except UNAVAILABLE as error:
                self._away_until = time.monotonic() + PAUSE
                log.warning("replica_unavailable", error=error)
        return query(self._primary.session())


def add_gauges(gauges: DatabaseGauges, url: str) -> None:
    """Add how far the replica with this URL is behind. They are left out while it does not answer."""
    replica = Database(url, "admin", statement_timeout=STATEMENT_TIMEOUT, standby=True)

    def lag(primary: Session) -> Samples:
        there = replica.session().one(_POSITION)
        here = primary.one(_POSITION)
        assert here is not None
        assert there is not None
        behind = max(0.0, here["position"] - there["position"]) if there["standby"] else 0.0
        return [((), (behind, there["age"] if behind else 0.0))]

    gauges.add(
        {
            "replica_lag_bytes": "Write-ahead log that the replica has not applied yet.",
            "replica_lag_seconds": "Age of the last transaction that the replica has applied; 0 if it has all of them.",
        },
        (),
        lag,
    )
