"""The wire format of webhooks."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.fields import Id, Integer, QueryInteger, Schema, Text
from order.webhooks import model

_TIME = {"format": "date-time"}


class NewEndpoint(Schema):
    """What POST /v1/webhook-endpoints takes; without `events`, an endpoint is told of every outcome."""

    url = Text(2000, required=True)
    description = Text(200)
    events = fields.List(
        fields.String(validate=validate.OneOf(model.EVENTS)),
        validate=validate.Length(1, len(model.EVENTS)),
        load_default=list(model.UNLESS_ASKED_OTHERWISE),
    )


class Rotation(Schema):
    """What rotating a secret takes: for how many seconds the old one signs besides the new one, a week at most."""

    overlap_seconds = Integer(validate=validate.Range(0, 7 * 86400))


class EndpointView(Schema):
    """An endpoint, as answered; `signed_until` is when the last of its old secrets signs no more."""

    id = Id()
    url = fields.String()
    description = fields.String(allow_none=True)
    events = fields.List(fields.String(validate=validate.OneOf(model.EVENTS)))
    status = fields.String(validate=validate.OneOf(["enabled", "disabled"]))
    disabled_reason = fields.String(allow_none=True)
    signed_until = fields.String(allow_none=True, metadata=_TIME)
    created_at = fields.String(metadata=_TIME)


class NewEndpointView(EndpointView):
    """An endpoint with its newest secret, which only the answer to the request that made it has."""

    secret = fields.String()


class EndpointList(Schema):
    """All endpoints of a merchant, newest first."""

    data = fields.List(fields.Nested(EndpointView))


class DeliveriesQuery(Schema):
    """The query of GET /v1/webhook-endpoints/{id}/deliveries."""

    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    limit = QueryInteger(validate=validate.Range(1, 100), load_default=20)
    cursor = Text(100)


class DeliveryView(Schema):
    """An event on its way to an endpoint; its id is the `webhook-id`."""

    id = Id()
    endpoint_id = Id()
    order_id = Id(allow_none=True)
    type = fields.String(validate=validate.OneOf([*model.EVENTS, model.TEST]))
    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    attempt_count = Integer()
    last_status_code = Integer(allow_none=True)
    last_error = fields.String(allow_none=True)
    next_attempt_at = fields.String(allow_none=True, metadata=_TIME)
    created_at = fields.String(metadata=_TIME)
    settled_at = fields.String(allow_none=True, metadata=_TIME)


class AttemptView(Schema):
    """One attempt at a delivery; `duration` is in seconds."""

    number = Integer()
    at = fields.String(metadata=_TIME)
    status_code = Integer(allow_none=True)
    error = fields.String(allow_none=True)
    duration = fields.Float()


class WholeDeliveryView(DeliveryView):
    """A delivery with what is sent and each attempt, oldest first."""

    payload = fields.Dict()
    attempts = fields.List(fields.Nested(AttemptView))


class DeliveryList(Schema):
    """A page of an endpoint's deliveries, newest event first."""

    data = fields.List(fields.Nested(DeliveryView))
    next_cursor = fields.String(allow_none=True)
