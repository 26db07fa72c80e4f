"""The wire format of the webhooks API, and the bodies of the events."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import (
    Choice,
    Cursor,
    Flag,
    Id,
    Integer,
    List,
    NextCursor,
    PageSize,
    QueryTime,
    Schema,
    Text,
    Time,
    describe,
)
from order.schemas import OrderView, RefundView
from order.transition import EVENTS
from order.webhooks import model

_URL = describe(
    "The URL that events are posted to: https, with a host that resolves to public addresses only.",
    "https://shop.example/hooks",
)
_EVENTS = describe("The types of events that are sent to the endpoint.", ["order.paid", "order.canceled"])


class CreateEndpoint(Schema):
    """A webhook endpoint to be created. Without `events`, it gets an event for every outcome."""

    url = Text(2000, code=True, required=True, metadata=_URL)
    description = Text(200, metadata=describe("A note for people, which has no effect.", "the warehouse"))
    events = List(
        Choice(EVENTS, "A type of event."),
        validate=validate.Length(1, len(EVENTS)),
        load_default=list(model.DEFAULT_EVENTS),
        metadata=_EVENTS,
    )


class EndpointChange(Schema):
    """A change of an endpoint. What is left out stays as it is; the secret and the waiting deliveries always do."""

    url = Text(2000, code=True, metadata=_URL)
    description = Text(200, allow_none=True, metadata=describe("A note for people, which has no effect.", "stock"))
    events = List(
        Choice(EVENTS, "A type of event."),
        validate=validate.Length(1, len(EVENTS)),
        metadata=_EVENTS,
    )
    enabled = Flag(metadata=describe("Whether events are sent. They are kept while they are not.", True))


class SendTest(Schema):
    """A test of an endpoint."""

    type = Choice(
        [model.TEST, *EVENTS],
        "The type of the event. Its order is an example: no order has its id, and its metadata have `test`.",
        load_default=model.TEST,
    )


class Redelivery(Schema):
    """A redelivery of all events since a time."""

    since = QueryTime("Events that happened at or after this time are sent again.", required=True)


class Rotation(Schema):
    """A rotation of an endpoint's secret. The old secret keeps signing for a time, at most a week."""

    overlap_seconds = Integer(
        validate=validate.Range(0, 7 * 86400),
        metadata=describe(
            "For how many seconds the old secret signs events too; by default a day, or what the operator has set.",
            3600,
        ),
    )


class EndpointView(Schema):
    """A webhook endpoint."""

    id = Id(metadata=describe("The endpoint's id."))
    url = fields.String(metadata=_URL)
    description = fields.String(allow_none=True, metadata=describe("A note for people.", "the warehouse"))
    events = fields.List(Choice(EVENTS, "A type of event."), metadata=_EVENTS)
    status = Choice(
        ["enabled", "disabled"], "Nothing is sent to a disabled endpoint. Its events are kept until it is enabled."
    )
    disabled_reason = fields.String(
        allow_none=True,
        metadata=describe("Why it is disabled: `gone` (it answered 410) or `requested`; null if it is not.", None),
    )
    redelivering_since = Time(
        "Begin of a redelivery of all events that is under way; null if none is.", allow_none=True
    )
    signed_until = Time("Until when older secrets sign too; null if only the newest one signs.", allow_none=True)
    created_at = Time("When the endpoint was created.")


class CreatedEndpointView(EndpointView):
    """An endpoint with its newest secret, which only responses to the request that created the secret have."""

    secret = fields.String(
        metadata=describe(
            "The secret that signs the events (Standard Webhooks). Missing if it was rotated since this request.",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )
    )


class EndpointList(Schema):
    """All endpoints of a merchant, newest first."""

    data = fields.List(fields.Nested(EndpointView), metadata=describe("The endpoints."))


class OrderEvent(Schema):
    """An event of an order, as it is posted to an endpoint (Standard Webhooks)."""

    type = Choice(EVENTS, "The type of the event.", "order.paid")
    timestamp = Time("When the event was recorded.")
    data = fields.Nested(
        OrderView, metadata=describe("The order at that time. Its version tells which of two events came first.")
    )


class RefundEvent(OrderEvent):
    """An event of a refund that succeeded or failed."""

    refund = fields.Nested(RefundView, metadata=describe("The refund."))


class Tested(Schema):
    """The data of a test event."""

    webhook_endpoint_id = Id(metadata=describe("The id of the endpoint."))


class TestEvent(Schema):
    """A test event, which is posted to an endpoint on request (Standard Webhooks)."""

    type = Choice([model.TEST], "The type of the event.")
    timestamp = Time("When it was requested.")
    data = fields.Nested(Tested)


ABOUT = {
    "order.placed": "Tell a merchant that an order was placed",
    "order.authorized": "Tell a merchant that an order's payment is authorized and can be captured",
    "order.partially_captured": "Tell a merchant that a part of an order is captured and the rest stays authorized",
    "order.paid": "Tell a merchant that an order is paid",
    "order.payment_failed": "Tell a merchant that an order's payment failed",
    "order.canceling": "Tell a merchant that an order is being canceled",
    "order.canceled": "Tell a merchant that an order is canceled and no money is held for it",
    "order.refunded": "Tell a merchant that an order was refunded completely",
    "order.expired": "Tell a merchant that an order's authorization expired before a capture",
    "order.updated": "Tell a merchant that an order has other labels",
    "refund.succeeded": "Tell a merchant that a refund succeeded",
    "refund.failed": "Tell a merchant that a refund failed",
}
"""The summary of each event in the OpenAPI document."""


class DeliveriesQuery(Schema):
    """The query of GET /v1/webhook-endpoints/{id}/deliveries."""

    status = Choice([status.value for status in model.Status], "Only deliveries with this status.")
    type = Choice([*EVENTS, model.TEST], "Only deliveries of events of this type.")
    created_after = QueryTime("Only deliveries of events that happened after this time.")
    created_before = QueryTime("Only deliveries of events that happened before this time.")
    limit = PageSize()
    cursor = Cursor()


class DeliveryView(Schema):
    """The delivery of an event to an endpoint."""

    id = Id(metadata=describe("The delivery's id, and the `webhook-id` of each attempt."))
    endpoint_id = Id(metadata=describe("The endpoint's id."))
    order_id = Id(allow_none=True, metadata=describe("The order's id; null for a test event."))
    type = Choice([*EVENTS, model.TEST], "The type of the event.")
    status = Choice(
        [status.value for status in model.Status],
        "The delivery's status. A `dead` delivery is sent again only on request.",
    )
    attempt_count = Integer(metadata=describe("The number of attempts.", 1))
    last_status_code = Integer(
        allow_none=True,
        metadata=describe("The status code of the endpoint's last response; null if there was none.", 200),
    )
    last_error = fields.String(
        allow_none=True, metadata=describe("Why the last attempt failed; null if it did not.", None)
    )
    next_attempt_at = Time("When the next attempt is due; null if there is none.", allow_none=True)
    created_at = Time("When the event happened.")
    settled_at = Time("When it was delivered or became dead; null before that.", allow_none=True)


class AttemptView(Schema):
    """One attempt at a delivery."""

    number = Integer(metadata=describe("The number of the attempt, from 1.", 1))
    at = Time("When the attempt was made.")
    status_code = Integer(
        allow_none=True, metadata=describe("The status code of the endpoint's response; null if there was none.", 200)
    )
    error = fields.String(allow_none=True, metadata=describe("Why the attempt failed; null if it did not.", None))
    duration = fields.Float(metadata=describe("The duration in seconds.", 0.12))


class WholeDeliveryView(DeliveryView):
    """A delivery with the event that is sent and its newest attempts."""

    payload = fields.Dict(metadata=describe("The event that is sent.", {"type": "webhook.test"}))
    attempts = fields.List(fields.Nested(AttemptView), metadata=describe("The newest 100 attempts, oldest first."))


class DeliveryList(Schema):
    """A page of an endpoint's deliveries, newest event first."""

    data = fields.List(fields.Nested(DeliveryView), metadata=describe("The deliveries."))
    next_cursor = NextCursor()
