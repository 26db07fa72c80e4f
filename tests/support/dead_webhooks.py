"""Webhooks that nobody tries any more."""

from __future__ import annotations

from typing import Any

from tests.support.databases import Databases
from tests.support.eventually import eventually


def kill(databases: Databases, endpoint: dict[str, Any]) -> None:
    """Let what an endpoint was sent in vain have been tried for days, and wait until it is dead: one delivery."""

    def try_to() -> bool:
        databases.query(
            "order",
            """UPDATE webhook_deliveries SET trying_since = now() - interval '9 days', available_at = now()
               WHERE endpoint_id = %s AND status = 'pending' AND attempts > 0""",
            endpoint["id"],
        )
        return states(databases, endpoint) == ["dead"]

    eventually(try_to, "nobody tries it any more")


def states(databases: Databases, endpoint: dict[str, Any]) -> list[str]:
    """Where an endpoint's deliveries stand."""
    rows = databases.query("order", "SELECT status FROM webhook_deliveries WHERE endpoint_id = %s", endpoint["id"])
    return [row["status"] for row in rows]
