"""Leaving processor time to callers: a loop rests after each piece of work while its database serves requests."""

from __future__ import annotations

import time

from chassis.postgres.database import Database

LONGEST = 0.1
"""The longest rest, in seconds: work that takes longer waits for somebody else, and not for a processor."""

_FEW = 2  # sessions that are in use, say for probes, although nobody has to wait for a processor
_KNOWN_FOR = 0.1  # seconds for which the loop remembers whether requests are being served

# Sessions that have had a statement in the last tenth of a second. A role sees the states of its own sessions only.
_BUSY = """SELECT count(*) AS busy FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s
      AND (state = 'active' OR state_change > clock_timestamp() - interval '0.1 s')"""


class Pace:
    """Says how long a loop rests. Any number of threads may use it."""

    def __init__(self, database: Database, callers: str) -> None:
        """`callers` is the application_name of the sessions that serve requests."""
        self._database, self._callers = database, callers
        self._are_served, self._known_until = False, 0.0

    def rest(self, took: float) -> None:
        """Wait as long as the last piece of work `took`, in seconds, if requests are being served.

        Raises one of database.UNAVAILABLE if the database does not respond.
        """
        now = time.monotonic()
        if now > self._known_until:
            row = self._database.session().one(_BUSY, (self._callers,))
            self._are_served, self._known_until = row is not None and row["busy"] > _FEW, now + _KNOWN_FOR
        if self._are_served:
            time.sleep(min(took, LONGEST))
