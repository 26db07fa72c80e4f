"""Making webhook deliveries dead without waiting for days."""

from __future__ import annotations

from typing import Any

from tests.integration.databases import Databases
from tests.integration.eventually import eventually


def make_dead(databases: Databases, endpoint: dict[str, Any]) -> None:
    """Backdate an endpoint's failed delivery by 9 days, and wait until it is dead. The endpoint has only one."""

    def is_dead() -> bool:
        databases.query(
            "order",
            """UPDATE webhook_deliveries SET trying_since = now() - interval '9 days', available_at = now()
               WHERE endpoint_id = %s AND status = 'pending' AND attempts > 0""",
            endpoint["id"],
        )
        return delivery_statuses(databases, endpoint) == ["dead"]

    eventually(is_dead, "the delivery is dead")


def delivery_statuses(databases: Databases, endpoint: dict[str, Any]) -> list[str]:
    """Return the status of each delivery to an endpoint."""
    rows = databases.query("order", "SELECT status FROM webhook_deliveries WHERE endpoint_id = %s", endpoint["id"])
    return [row["status"] for row in rows]
