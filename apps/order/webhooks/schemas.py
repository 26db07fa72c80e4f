"""The wire format of webhooks."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import Choice, Cursor, Id, Integer, NextCursor, PageSize, Schema, Text, Time, says
from order.schemas import OrderView, RefundView
from order.transition import EVENTS
from order.webhooks import model

_URL = says(
    "Where events are posted to: https, and a host that resolves to public addresses only.",
    "https://shop.example/hooks",
)
_EVENTS = says("The types of events that are sent there.", ["order.paid", "order.canceled"])


class NewEndpoint(Schema):
    """What POST /v1/webhook-endpoints takes; without `events`, an endpoint is told of every outcome."""

    url = Text(2000, required=True, metadata=_URL)
    description = Text(200, metadata=says("What it is for; shown, and used for nothing.", "the warehouse"))
    events = fields.List(
        Choice(EVENTS, "A type of event."),
        validate=validate.Length(1, len(EVENTS)),
        load_default=list(model.UNLESS_ASKED_OTHERWISE),
        metadata=_EVENTS,
    )


class Rotation(Schema):
    """What rotating a secret takes: for how many seconds the old one signs besides the new one, a week at most."""

    overlap_seconds = Integer(
        validate=validate.Range(0, 7 * 86400),
        metadata=says("For how many seconds the old secret signs besides the new one.", 3600),
    )


class EndpointView(Schema):
    """An endpoint, as answered."""

    id = Id(metadata=says("The endpoint's id."))
    url = fields.String(metadata=_URL)
    description = fields.String(allow_none=True, metadata=says("What it is for.", "the warehouse"))
    events = fields.List(Choice(EVENTS, "A type of event."), metadata=_EVENTS)
    status = Choice(["enabled", "disabled"], "Nothing is sent to a disabled one.")
    disabled_reason = fields.String(allow_none=True, metadata=says("Why it is disabled.", None))
    signed_until = Time("When its old secrets sign no more; null where only the newest does.", allow_none=True)
    created_at = Time("When it was made.")


class NewEndpointView(EndpointView):
    """An endpoint with its newest secret, which only the answer to the request that made it has."""

    secret = fields.String(
        metadata=says("What signs the events (Standard Webhooks): keep it.", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    )


class EndpointList(Schema):
    """All endpoints of a merchant, newest first."""

    data = fields.List(fields.Nested(EndpointView), metadata=says("The endpoints."))


class OrderEvent(Schema):
    """What is posted to an endpoint when something has happened to an order (Standard Webhooks)."""

    type = Choice(EVENTS, "What has happened.", "order.paid")
    timestamp = Time("When it was written down.")
    data = fields.Nested(OrderView, metadata=says("The order as it was then; its version says which came first."))


class RefundEvent(OrderEvent):
    """What is posted when a refund has come to its end."""

    refund = fields.Nested(RefundView, metadata=says("The refund."))


class Tested(Schema):
    """What a test is about."""

    webhook_endpoint_id = Id(metadata=says("The endpoint that is tested."))


class TestEvent(Schema):
    """What is posted to an endpoint when somebody asks for it (Standard Webhooks)."""

    type = Choice([model.TEST], "What has happened.")
    timestamp = Time("When it was asked for.")
    data = fields.Nested(Tested)


ABOUT = {
    "order.placed": "Tell a merchant that an order was placed",
    "order.authorized": "Tell a merchant that an order's money is held, and can be captured",
    "order.paid": "Tell a merchant that an order is paid",
    "order.payment_failed": "Tell a merchant that an order's payment failed",
    "order.canceling": "Tell a merchant that an order is being canceled",
    "order.canceled": "Tell a merchant that an order is canceled, and no money held",
    "order.refunded": "Tell a merchant that all of an order was refunded",
    "order.expired": "Tell a merchant that an order's hold was not captured in time",
    "refund.succeeded": "Tell a merchant that a refund succeeded",
    "refund.failed": "Tell a merchant that a refund failed",
}
"""What each event is for, in the words of the OpenAPI document."""


class DeliveriesQuery(Schema):
    """The query of GET /v1/webhook-endpoints/{id}/deliveries."""

    status = Choice([status.value for status in model.Status], "Only deliveries in this state.")
    limit = PageSize()
    cursor = Cursor()


class DeliveryView(Schema):
    """An event on its way to an endpoint."""

    id = Id(metadata=says("The delivery's id, and the `webhook-id` of each attempt."))
    endpoint_id = Id(metadata=says("The endpoint that it is for."))
    order_id = Id(allow_none=True, metadata=says("The order that it is about; null for a test."))
    type = Choice([*EVENTS, model.TEST], "The type of the event.")
    status = Choice([status.value for status in model.Status], "`dead` ones are sent again only when asked for.")
    attempt_count = Integer(metadata=says("How often it was tried.", 1))
    last_status_code = Integer(allow_none=True, metadata=says("What the endpoint answered last.", 200))
    last_error = fields.String(allow_none=True, metadata=says("Why the last attempt failed.", None))
    next_attempt_at = Time("When it is tried next; null when it is not.", allow_none=True)
    created_at = Time("When the event happened.")
    settled_at = Time("When it was delivered or given up; null while it is neither.", allow_none=True)


class AttemptView(Schema):
    """One attempt at a delivery."""

    number = Integer(metadata=says("Which attempt it was, from 1.", 1))
    at = Time("When.")
    status_code = Integer(allow_none=True, metadata=says("What the endpoint answered; null without an answer.", 200))
    error = fields.String(allow_none=True, metadata=says("Why it failed; null if it did not.", None))
    duration = fields.Float(metadata=says("How long it took, in seconds.", 0.12))


class WholeDeliveryView(DeliveryView):
    """A delivery with what is sent and each attempt, oldest first."""

    payload = fields.Dict(metadata=says("What is sent.", {"type": "webhook.test"}))
    attempts = fields.List(fields.Nested(AttemptView), metadata=says("Each attempt, oldest first."))


class DeliveryList(Schema):
    """A page of an endpoint's deliveries, newest event first."""

    data = fields.List(fields.Nested(DeliveryView), metadata=says("The deliveries."))
    next_cursor = NextCursor()
