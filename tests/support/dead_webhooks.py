"""Makes webhook deliveries dead, so that they are not retried."""

from __future__ import annotations

from typing import Any

from tests.support.databases import Databases
from tests.support.eventually import eventually


def kill(databases: Databases, endpoint: dict[str, Any]) -> None:
    """Pretend that an endpoint's only delivery has failed for days, and wait until it is dead."""

    def try_to() -> bool:
        databases.query(
            "order",
            """UPDATE webhook_deliveries SET trying_since = now() - interval '9 days', available_at = now()
               WHERE endpoint_id = %s AND status = 'pending' AND attempts > 0""",
            endpoint["id"],
        )
        return states(databases, endpoint) == ["dead"]

    eventually(try_to, "the delivery is dead")


def states(databases: Databases, endpoint: dict[str, Any]) -> list[str]:
    """Return the statuses of an endpoint's deliveries."""
    rows = databases.query("order", "SELECT status FROM webhook_deliveries WHERE endpoint_id = %s", endpoint["id"])
    return [row["status"] for row in rows]
