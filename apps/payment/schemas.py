"""The payment service's wire format."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.wire import Currency, Id, Integer, MajorAmount, Schema, Text
from payment import model


class CreatePayment(Schema):
    """What POST /v1/payments takes; the amount in minor units."""

    order_id = Id(required=True)
    amount = Integer(required=True, validate=validate.Range(1, 2**63 - 1))
    currency = Currency(required=True)
    payment_method = Text(100, required=True)
    capture = fields.String(validate=validate.OneOf(["automatic", "manual"]), load_default="automatic")


class ListPayments(Schema):
    """The query of GET /v1/payments."""

    order_id = Id()
    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    limit = fields.Integer(validate=validate.Range(1, 100), load_default=20)
    cursor = Text(100)


class PaymentView(Schema):
    """A payment, as answered. Amounts in minor units."""

    id = Id()
    order_id = Id()
    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    amount = Integer()
    currency = fields.String()
    authorized_amount = Integer()
    captured_amount = Integer()
    refunded_amount = Integer()
    refunding_amount = Integer()
    payment_method = fields.String()
    capture = fields.String()
    failure_reason = fields.String(allow_none=True)
    provider = fields.String()
    provider_reference = fields.String(allow_none=True)
    version = Integer()
    created_at = fields.String(metadata={"format": "date-time"})
    updated_at = fields.String(metadata={"format": "date-time"})


class PaymentList(Schema):
    """A page of payments, newest first."""

    data = fields.List(fields.Nested(PaymentView))
    next_cursor = fields.String(allow_none=True)


class SketchPayment(Schema):
    """POST /payments of the original sketch: an amount in major units."""

    order_id = Id(required=True)
    amount = MajorAmount(required=True)


class SketchPaymentView(Schema):
    """What became of it."""

    status = fields.String(validate=validate.OneOf(["success", "failed", "processing"]))
