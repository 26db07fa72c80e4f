"""SQL that queues an event of an order for the merchant's webhook endpoints."""

from __future__ import annotations

from typing import LiteralString

from chassis.postgres.database import json_time


def queue(source: LiteralString, data: LiteralString, more: LiteralString = "") -> LiteralString:
    """Return SQL that stores a delivery for each enabled endpoint that subscribes to an event.

    It is a CTE of the statement that writes the event. `source` has the order as `o`, and the event as
    `n(id, type, headers)`; an id of NULL queues nothing. `data` is the order as the event shows it, and `more` adds
    members to the payload. `headers` (JSON) are those of the request that caused the event.
    """
    return f"""
    INSERT INTO webhook_deliveries (merchant, endpoint_id, id, order_id, type, headers, payload)
    SELECT e.merchant, e.id, n.id, o.id, n.type, n.headers, json_build_object(
               'type', n.type, 'timestamp', {json_time("clock_timestamp()")}, 'data', {data}{more})::text
    FROM {source} JOIN webhook_endpoints e
         ON e.merchant = o.merchant AND e.status = 'enabled' AND n.type = ANY (e.events)
    WHERE n.id IS NOT NULL
    RETURNING merchant, order_id"""
