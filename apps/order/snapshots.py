"""What the order service reads from the payment service: responses and events."""

from __future__ import annotations

from marshmallow import ValidationError, fields, validate

from chassis.http.fields import Amount, Id, Integer, Schema, describe
from chassis.money import MAX_AMOUNT
from order.schemas import VERSION


def _require_unicode(text: str) -> None:
    """Raise ValidationError for a lone surrogate, which no encoding can express."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("Must not hold a lone surrogate.")


STORABLE = (validate.Regexp(r"^[^\x00]*$"), _require_unicode)
"""What PostgreSQL can store: no NUL, no lone surrogates. Payment may add values, so nothing else is refused."""


class PaymentSnapshot(Schema):
    """The payment in a payment event. Members that the order service does not need are ignored."""

    class Meta:
        """Ignore unknown members, so that the payment service can add some."""

        unknown = "exclude"

    id = Id(required=True)
    order_id = Id(required=True)
    version = Integer(
        required=True, validate=VERSION, metadata=describe("The payment's version. An older one changes nothing.", 2)
    )
    status = fields.String(required=True, validate=STORABLE, metadata=describe("The payment's status.", "captured"))
    amount = Amount("The payment's amount.", minimum=-MAX_AMOUNT, required=True)
    currency = fields.String(required=True, validate=STORABLE, metadata=describe("An ISO 4217 code.", "EUR"))
    captured_amount = Amount("The captured amount.", required=True)
    refunded_amount = Amount("The refunded amount.", example=0, required=True)
    refunding_amount = Amount("The amount of refunds in progress.", example=0, required=True)
    failure_reason = fields.String(
        required=True, allow_none=True, validate=STORABLE, metadata=describe("Why it failed, if it did.", None)
    )


class RefundSnapshot(Schema):
    """A refund as the payment service answers with it. Members that the order service does not need are ignored."""

    class Meta:
        """Ignore unknown members, so that the payment service can add some."""

        unknown = "exclude"

    status = fields.String(required=True)
    failure_reason = fields.String(required=True, allow_none=True, validate=STORABLE)


class SettledOperation(Schema):
    """The settled operation in a payment event. Members that the order service does not need are ignored."""

    class Meta:
        """Ignore unknown members, so that the payment service can add some."""

        unknown = "exclude"

    kind = fields.String(required=True, metadata=describe("The kind of operation.", "sale"))
    status = fields.String(required=True, metadata=describe("The outcome.", "succeeded"))
    reason = fields.String(
        required=True, allow_none=True, validate=STORABLE, metadata=describe("Why it was declined, if it was.", None)
    )
    idempotency_key = fields.String(
        required=True, allow_none=True, metadata=describe("The idempotency key of its request, if it had one.", None)
    )


class PaymentEvent(Schema):
    """The state of a payment after an operation was settled, in the Standard Webhooks envelope."""

    type = fields.String(
        required=True, validate=validate.Equal("payment.updated"), metadata={"enum": ["payment.updated"]}
    )
    timestamp = fields.String(
        required=True, metadata=describe("When it happened, in RFC 3339.", "2026-03-14T09:26:53Z")
    )
    merchant = fields.String(
        required=True,
        validate=validate.Regexp(r"^[A-Za-z0-9_.\-]{1,64}$"),
        metadata=describe("The order's merchant.", "demo"),
    )
    data = fields.Nested(PaymentSnapshot, required=True)
    operation = fields.Nested(SettledOperation, required=True)
