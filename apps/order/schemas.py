"""The order service's wire format."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate

from chassis.fields import Currency, Id, Integer, Labels, MajorAmount, Schema, Text
from chassis.money import MAX_AMOUNT
from order import model


class Item(Schema):
    """One line of an order, as placed."""

    sku = Text(100, required=True)
    name = Text(200)
    quantity = Integer(required=True, validate=validate.Range(1, 1_000_000))
    unit_amount = Integer(required=True, validate=validate.Range(0, 10**12))


def _total_fits(items: list[dict[str, Any]]) -> None:
    try:
        model.total([(item["quantity"], item["unit_amount"]) for item in items])
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


class PlaceOrder(Schema):
    """What POST /v1/orders takes. Amounts are in minor units."""

    currency = Currency(required=True)
    items = fields.List(fields.Nested(Item), required=True, validate=[validate.Length(1, 100), _total_fits])
    customer = Text(100)
    payment_method = Text(100, required=True)
    capture = fields.String(validate=validate.OneOf(["automatic", "manual"]), load_default="automatic")
    metadata = Labels(keys=Text(40), values=Text(500, 0), load_default=dict, validate=validate.Length(max=50))


class Nothing(Schema):
    """A body without fields."""


class NewAttempt(Schema):
    """What POST /v1/orders/{id}/payment-attempts takes."""

    payment_method = Text(100, required=True)


class CreateRefund(Schema):
    """What POST /v1/orders/{id}/refunds takes: all that is left, or a part, in minor units."""

    amount = Integer(validate=validate.Range(1, 2**63 - 1))
    reason = Text(500)


class ItemView(Schema):
    """One line of an order, as answered; orders of the sketch's API have names only."""

    sku = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    quantity = Integer()
    unit_amount = Integer(allow_none=True)
    amount = Integer(allow_none=True)


class PaymentView(Schema):
    """What an order shows of its payment."""

    id = Id()
    status = fields.String()
    failure_reason = fields.String(allow_none=True)


class OrderView(Schema):
    """An order, as answered."""

    id = Id()
    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    currency = fields.String()
    total_amount = Integer()
    paid_amount = Integer()
    refunded_amount = Integer()
    items = fields.List(fields.Nested(ItemView))
    customer = fields.String(allow_none=True)
    payment_method = fields.String()
    capture = fields.String()
    metadata = fields.Dict(keys=fields.String(), values=fields.String())
    payment = fields.Nested(PaymentView, allow_none=True)
    version = Integer()
    created_at = fields.String(metadata={"format": "date-time"})
    updated_at = fields.String(metadata={"format": "date-time"})


class RefundView(Schema):
    """A refund, as answered."""

    id = Id()
    status = fields.String(validate=validate.OneOf(["pending", "succeeded", "failed"]))
    amount = Integer()
    currency = fields.String()
    reason = fields.String(allow_none=True)
    failure_reason = fields.String(allow_none=True)
    created_at = fields.String(metadata={"format": "date-time"})


class RefundList(Schema):
    """All refunds of an order, newest first."""

    data = fields.List(fields.Nested(RefundView))


class EventView(Schema):
    """One step of an order's history."""

    version = Integer()
    type = fields.String()
    from_ = fields.String(allow_none=True, data_key="from")
    to = fields.String()
    actor = fields.String()
    data = fields.Dict()
    at = fields.String(metadata={"format": "date-time"})


class EventList(Schema):
    """An order's whole history, oldest first."""

    data = fields.List(fields.Nested(EventView))


class PaymentSnapshot(Schema):
    """The payment that a payment event carries; what order does not need is passed over."""

    class Meta:
        """Payment may learn to say more without breaking order."""

        unknown = "exclude"

    id = Id(required=True)
    order_id = Id(required=True)
    version = Integer(required=True, validate=validate.Range(1, MAX_AMOUNT))
    status = fields.String(required=True)
    amount = Integer(required=True)
    currency = fields.String(required=True)
    captured_amount = Integer(required=True, validate=validate.Range(0, MAX_AMOUNT))
    refunded_amount = Integer(required=True, validate=validate.Range(0, MAX_AMOUNT))
    refunding_amount = Integer(required=True, validate=validate.Range(0, MAX_AMOUNT))
    failure_reason = fields.String(required=True, allow_none=True)


class RefundSnapshot(Schema):
    """The answer to a refund; what order does not need is passed over."""

    class Meta:
        """Payment may learn to say more without breaking order."""

        unknown = "exclude"

    status = fields.String(required=True)
    failure_reason = fields.String(required=True, allow_none=True)


class SettledOperation(Schema):
    """The operation that a payment event tells the end of; what order does not need is passed over."""

    class Meta:
        """Payment may learn to say more without breaking order."""

        unknown = "exclude"

    kind = fields.String(required=True)
    status = fields.String(required=True)
    reason = fields.String(required=True, allow_none=True)
    idempotency_key = fields.String(required=True, allow_none=True)


class PaymentEvent(Schema):
    """The body of POST /v1/payment-events, in the Standard Webhooks envelope."""

    type = fields.String(required=True, validate=validate.Equal("payment.updated"))
    timestamp = fields.String(required=True)
    merchant = Text(64, required=True)
    data = fields.Nested(PaymentSnapshot, required=True)
    operation = fields.Nested(SettledOperation, required=True)


class SketchOrder(Schema):
    """POST /orders of the original sketch: an id of the caller's, names of things, a total in major units."""

    id = Id(required=True)
    items = fields.List(Text(200), required=True, validate=validate.Length(1, 100))
    total = MajorAmount(required=True)


class SketchOrderView(Schema):
    """GET /orders/{id} of the original sketch."""

    id = Id()
    items = fields.List(fields.String())
    total = fields.Float(metadata={"description": "Major units, exactly."})
    status = fields.String()
