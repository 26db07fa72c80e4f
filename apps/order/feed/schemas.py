"""The wire format of the feed."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import Choice, Flag, Id, Integer, PageSize, QueryInteger, QueryTime, Schema, Time, describe
from chassis.http.prefer import MAX_WAIT
from order.schemas import VERSION, OrderView, RefundView
from order.transition import TYPES

# 32 bytes in base64url: two numbers of 63 bits around a UUID.
_CURSOR = "^[A-Za-f][A-Za-z0-9_-]{31}[A-Za-f][A-Za-z0-9_-]{9}[AEIMQUYcgkosw048]$"


class EventsQuery(Schema):
    """The query of GET /v1/events."""

    after = fields.String(
        metadata={
            "pattern": _CURSOR,
            **describe("The `next_cursor` of an earlier response; without it, the list begins with the oldest event."),
        }
    )
    since = QueryTime("Without `after`: only events at or after this time.")
    type = Choice(TYPES, "Only events of this type.", "order.paid")
    order_id = Id(metadata=describe("Only events of this order."))
    limit = PageSize()
    wait = QueryInteger(
        load_default=0,
        validate=validate.Range(0, MAX_WAIT),
        metadata=describe("If no event follows: for how many seconds to wait for the next one.", 0),
    )


class FeedEventView(Schema):
    """An event: one step of an order."""

    id = Id(metadata=describe("The event's id. Webhooks send the same one as `webhook-id`."))
    type = Choice(TYPES, "The type of the event.", "order.paid")
    order_id = Id(metadata=describe("The order's id."))
    version = Integer(validate=VERSION, metadata=describe("The order's version after this step.", 2))
    created_at = Time("When the event was recorded.")
    data = fields.Nested(OrderView, metadata=describe("The order as it was after this step."))
    refund = fields.Nested(
        RefundView, allow_none=True, metadata=describe("The refund that succeeded or failed; null for other types.")
    )


class FeedPage(Schema):
    """Events of a merchant's orders, oldest first."""

    data = fields.List(fields.Nested(FeedEventView), metadata=describe("The events."))
    next_cursor = fields.String(
        metadata=describe(
            "The `after` of the next request. There is always one: events that follow have not happened yet.", "A" * 43
        )
    )
    has_more = Flag(
        metadata=describe("Whether more events may follow at once; with the filter `type`, even after none.", False)
    )
