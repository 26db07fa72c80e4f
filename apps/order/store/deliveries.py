"""SQL that queues an event of an order for the merchant's webhook endpoints."""

from __future__ import annotations

from typing import LiteralString


def queue(source: LiteralString) -> LiteralString:
    """Return SQL that stores a delivery for each endpoint that subscribes to an event.

    A disabled endpoint gets deliveries, too. They wait until it is enabled. If it got none, and the events since a
    position were read when it is enabled, an order that commits at that moment could be missed.

    It is a CTE of the statement that writes the event. `source` has the order as `o`, and the event as
    `n(id, type, version, headers)`; an id of NULL queues nothing. `headers` (JSON) are those of the request that caused
    the event.
    """
    return f"""
    INSERT INTO webhook_deliveries (merchant, endpoint_id, id, order_id, order_version, type, headers)
    SELECT e.merchant, e.id, n.id, o.id, n.version, n.type, n.headers
    FROM {source} JOIN webhook_endpoints e
         ON e.merchant = o.merchant AND n.type = ANY (e.events)
    WHERE n.id IS NOT NULL
    RETURNING merchant, order_id"""
