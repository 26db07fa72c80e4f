"""Health: is the process alive, can it serve.

/livez depends on nothing, so that a database outage never makes Kubernetes restart pods in circles.
/readyz asks the service's own database, and whether its schema has what this code needs; it never asks
another service: a service accepts requests while the one that it calls is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, json

from chassis.postgres import migrate
from chassis.postgres.database import DOWN, Database


class Health:
    """Answers the two questions of an orchestrator."""

    def __init__(self, database: Database, migrations: str) -> None:
        """`migrations` is the folder of alembic's scripts."""
        self._database = database
        self._older = migrate.older_revisions(migrations)
        self.alive: Callable[[], bool] = lambda: True

    def live(self) -> tuple[int, dict[str, Any]]:
        """200 while the process does its work."""
        return (200, {"status": "alive"}) if self.alive() else (503, {"status": "stuck"})

    def ready(self, database: Database | None = None) -> tuple[int, dict[str, Any]]:
        """200 when requests can be served; otherwise 503 and what is missing. `database` if not the service's own."""
        begin = time.perf_counter()
        try:
            row = (database or self._database).session().execute("SELECT version_num FROM alembic_version").fetchone()
        except DOWN as error:
            missing = "not migrated" if "alembic_version" in str(error) else "does not answer"
            return 503, {"status": "not ready", "database": missing}
        if row is None or row["version_num"] in self._older:
            # A revision that this code does not know is newer: migrations stay compatible with the code before.
            return 503, {"status": "not ready", "database": "schema is older than this code"}
        return 200, {"status": "ready", "database": "ok", "ms": round((time.perf_counter() - begin) * 1000, 2)}


def blueprint(health: Health) -> Blueprint:
    """The two health paths on the main port."""
    pages = Blueprint("health", __name__)

    def respond(outcome: tuple[int, dict[str, Any]]) -> Response:
        return Response(json.dumps(outcome[1]), outcome[0], mimetype="application/json")

    pages.add_url_rule("/livez", "livez", lambda: respond(health.live()))
    pages.add_url_rule("/readyz", "readyz", lambda: respond(health.ready()))
    return pages
