"""The payment service's wire format."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.fields import Currency, Id, Integer, MajorAmount, QueryInteger, Schema, Text
from payment import model


class CreatePayment(Schema):
    """What POST /v1/payments takes; the amount in minor units."""

    order_id = Id(required=True)
    amount = Integer(required=True, validate=validate.Range(1, 2**63 - 1))
    currency = Currency(required=True)
    payment_method = Text(100, required=True)
    capture = fields.String(validate=validate.OneOf(["automatic", "manual"]), load_default="automatic")


class Capture(Schema):
    """What POST /v1/payments/{id}/capture takes: all that is authorized, or a part; the rest is released."""

    amount = Integer(validate=validate.Range(1, 2**63 - 1))


class Nothing(Schema):
    """A body without fields."""


class CreateRefund(Schema):
    """What POST /v1/payments/{id}/refunds takes: all that is left, or a part."""

    amount = Integer(validate=validate.Range(1, 2**63 - 1))
    reason = Text(500)


class ListPayments(Schema):
    """The query of GET /v1/payments."""

    order_id = Id()
    status = fields.String(validate=validate.OneOf([status.value for status in model.Status]))
    limit = QueryInteger(validate=validate.Range(1, 100), load_default=20)
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
    """All refunds of a payment, newest first."""

    data = fields.List(fields.Nested(RefundView))


class OperationView(Schema):
    """One thing that was asked of the provider; its id was the idempotency key there."""

    id = Id()
    kind = fields.String(validate=validate.OneOf([kind.value for kind in model.Kind]))
    amount = Integer()
    currency = fields.String()
    status = fields.String(validate=validate.OneOf(["pending", "succeeded", "declined"]))
    attempts = Integer()
    provider_reference = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    created_at = fields.String(metadata={"format": "date-time"})
    settled_at = fields.String(allow_none=True, metadata={"format": "date-time"})


class OperationList(Schema):
    """Everything that was asked of the provider for a payment, oldest first."""

    data = fields.List(fields.Nested(OperationView))


class ProviderAccount(Schema):
    """A payment by the provider's own account; `untold` counts operations that it did not tell of."""

    captured_amount = Integer()
    refunded_amount = Integer()
    untold = Integer()


class BalancesQuery(Schema):
    """The query of GET /v1/ledger/balances."""

    currency = Currency()


class BalanceView(Schema):
    """The sums of one account; `balance` is debits less credits."""

    account = fields.String()
    currency = fields.String()
    debits = Integer()
    credits = Integer()
    balance = Integer()


class BalanceList(Schema):
    """The trial balance of a merchant: debits and credits of a currency are equal."""

    data = fields.List(fields.Nested(BalanceView))


class EntriesQuery(Schema):
    """The query of GET /v1/ledger/entries."""

    payment_id = Id()
    limit = QueryInteger(validate=validate.Range(1, 100), load_default=20)
    cursor = Text(100)


class EntryView(Schema):
    """One side of a double entry."""

    id = Id()
    operation_id = Id()
    payment_id = Id()
    account = fields.String()
    direction = fields.String(validate=validate.OneOf(["debit", "credit"]))
    amount = Integer()
    currency = fields.String()
    at = fields.String(metadata={"format": "date-time"})


class EntryList(Schema):
    """A page of the ledger, newest first."""

    data = fields.List(fields.Nested(EntryView))
    next_cursor = fields.String(allow_none=True)


class SketchPayment(Schema):
    """POST /payments of the original sketch: an amount in major units."""

    order_id = Id(required=True)
    amount = MajorAmount(required=True)


class SketchPaymentView(Schema):
    """What became of it."""

    status = fields.String(validate=validate.OneOf(["success", "failed", "processing"]))
