"""SQL for what is sent: the body of a delivery is made from its event when it is sent or shown."""

from __future__ import annotations

from order.store import events

# Only deliveries without an event of an order, and those that an older release queued, have a stored body.
BODY = f"COALESCE(d.payload::json, {events.BODY})"
"""SQL for the body (json) of a row `d` of webhook_deliveries, joined with `EVENT_OF_DELIVERY`."""

EVENT_OF_DELIVERY = f"""
    LEFT JOIN order_events n ON n.merchant = d.merchant
        AND n.order_id = d.order_id AND n.version = d.order_version
    {events.SOURCE}"""
"""SQL: the joins of a row `d` of webhook_deliveries with its event and what the event is shown with."""
