"""Liveness and readiness.

/livez depends on nothing else, so that Kubernetes does not restart pods because of a database outage.
/readyz checks that the service's own database responds and accepts writes, and that its schema is as new as the code.
It does not check other services: a service accepts requests while the one that it calls is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from chassis.http.answers import to_json
from chassis.postgres import migrate
from chassis.postgres.database import UNAVAILABLE, Database

_STATE = """SELECT version_num, current_setting('transaction_read_only')::boolean AS is_read_only,
    to_regclass(%s) IS NOT NULL AS is_own
FROM alembic_version"""


class Health:
    """Computes the responses to the liveness and readiness probes."""

    def __init__(self, database: Database, migrations: str, table: str) -> None:
        """`migrations` is the folder of Alembic's scripts. `table` is one that only this service's database has."""
        self._database = database
        self._table = table
        self._older = migrate.older_revisions(migrations)
        self.alive: Callable[[], bool] = lambda: True

    def live(self) -> tuple[int, dict[str, Any]]:
        """Return the status code and the body for /livez: 200, or 503 if a loop of the process is stuck."""
        return (200, {"status": "alive"}) if self.alive() else (503, {"status": "stuck"})

    def ready(self, database: Database | None = None) -> tuple[int, dict[str, Any]]:
        """Return the status code and the body for /readyz: 200, or 503 and what is missing.

        The admin port passes a `database` of its own, with a shorter statement timeout.
        """
        begin = time.perf_counter()
        database = database or self._database
        try:
            row = database.session().one(_STATE, (self._table,))
        except UNAVAILABLE as error:
            missing = "not migrated" if "alembic_version" in str(error) else "does not answer"
            return 503, {"status": "not ready", "database": missing}
        if row is not None and row["is_read_only"]:
            database.close()  # the next connection may be to the server that accepts writes
            return 503, {"status": "not ready", "database": "read-only"}
        if row is not None and not row["is_own"]:
            return 503, {"status": "not ready", "database": "is that of another program"}
        if row is None or row["version_num"] in self._older:
            # An unknown revision is newer than this code, and migrations stay compatible with the code before them.
            return 503, {"status": "not ready", "database": "schema is older than this code"}
        return 200, {"status": "ready", "database": "ok", "ms": round((time.perf_counter() - begin) * 1000, 2)}


def blueprint(health: Health) -> Blueprint:
    """Return the blueprint of /livez and /readyz on the main port."""
    pages = Blueprint("health", __name__)

    def respond(outcome: tuple[int, dict[str, Any]]) -> Response:
        return Response(to_json(outcome[1]), outcome[0], mimetype="application/json")

    pages.add_url_rule("/livez", "livez", lambda: respond(health.live()))
    pages.add_url_rule("/readyz", "readyz", lambda: respond(health.ready()))
    return pages
