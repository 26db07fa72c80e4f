"""The wire format of the payment service: what requests and responses hold."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import (
    Amount,
    Choice,
    Choices,
    Currency,
    Cursor,
    Flag,
    Id,
    Integer,
    MajorAmount,
    NextCursor,
    PageSize,
    QueryTime,
    Schema,
    Sort,
    Text,
    Time,
    describe,
)
from chassis.money import MAX_AMOUNT
from payment import model

PAYMENT_METHOD = "The provider's token for the payment method. Never a card number."
VERSION = validate.Range(1, MAX_AMOUNT)


class CreatePayment(Schema):
    """A payment to be made."""

    order_id = Id(required=True, metadata=describe("The order's id. An order has at most one live payment."))
    amount = Amount("The payment's amount.", minimum=1, required=True)
    currency = Currency(required=True)
    payment_method = Text(100, required=True, metadata=describe(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(
        ["automatic", "manual"],
        "`automatic` captures the payment at once; `manual` only authorizes it, until it is captured.",
        load_default="automatic",
    )


class Capture(Schema):
    """A capture to be made."""

    amount = Amount("The amount to capture; by default all that is left of the authorized amount.", minimum=1)
    final = Flag(
        load_default=True,
        metadata=describe(
            "Whether the rest of the authorized amount is released. If false, it stays authorized for further "
            "captures. A capture of all that is left is always final.",
            False,
        ),
    )


class Nothing(Schema):
    """An empty body, which may be left out."""


class CreateRefund(Schema):
    """A refund to be made."""

    amount = Amount("The amount to refund; by default all that is left.", minimum=1, example=450)
    reason = Text(500, metadata=describe("The reason, shown to the merchant only.", "One of two was damaged"))


class ListPayments(Schema):
    """The query of GET /v1/payments. Payments created exactly at one of the times are not listed."""

    order_id = Id(metadata=describe("Only payments of this order."))
    status = Choices(model.Status, "Only payments with this status, or one of these.")
    created_after = QueryTime("Only payments created after this time.")
    created_before = QueryTime("Only payments created before this time.")
    sort = Sort()
    limit = PageSize()
    cursor = Cursor("time")


class PaymentView(Schema):
    """A payment."""

    id = Id()
    order_id = Id()
    status = Choice(model.Status, "The payment's status.", model.Status.CAPTURED)
    amount = Integer(
        metadata=describe(
            "The amount, in minor units. Only a payment from the sketch's API can have an amount below 1.",
            900,
        )
    )
    currency = Currency()
    authorized_amount = Amount("The authorized amount. It includes what is captured.")
    captured_amount = Amount("The captured amount. While the payment is `authorized`, the rest can be captured.")
    refunded_amount = Amount("The refunded amount.", example=0)
    refunding_amount = Amount("The amount of refunds in progress.", example=0)
    payment_method = fields.String(metadata=describe(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(["automatic", "manual"], "When the payment is captured: at once, or on request.")
    failure_reason = fields.String(allow_none=True, metadata=describe("Why it failed; null if it did not.", None))
    provider = fields.String(metadata=describe("The payment provider.", "simulator"))
    provider_reference = fields.String(allow_none=True, metadata=describe("The provider's identifier.", "sim_0195a3f0"))
    version = Integer(validate=VERSION, metadata=describe("The version: it grows with each change. It is the ETag.", 2))
    created_at = Time("When the payment was created.")
    updated_at = Time("When the payment last changed.")


class PaymentList(Schema):
    """A page of payments, in the order of `sort`."""

    data = fields.List(fields.Nested(PaymentView), metadata=describe("The payments."))
    next_cursor = NextCursor()


class RefundView(Schema):
    """A refund."""

    id = Id()
    status = Choice(["pending", "succeeded", "failed"], "The refund's status.", "succeeded")
    amount = Amount("The amount of the refund.", minimum=1, example=450)
    currency = Currency()
    reason = fields.String(allow_none=True, metadata=describe("The merchant's reason.", "One of two was damaged"))
    failure_reason = fields.String(allow_none=True, metadata=describe("Why it failed; null if it did not.", None))
    created_at = Time("When the refund was requested.")


class RefundList(Schema):
    """A page of a payment's refunds, newest first."""

    data = fields.List(fields.Nested(RefundView), metadata=describe("The refunds."))
    next_cursor = NextCursor()


class OperationView(Schema):
    """An operation that the provider was asked for. Its id is the idempotency key of that request."""

    id = Id()
    kind = Choice(model.Kind, "The kind of operation.")
    amount = Amount("The amount.")
    currency = Currency()
    status = Choice(["pending", "succeeded", "declined"], "The outcome.", "succeeded")
    attempts = Integer(metadata=describe("The number of attempts.", 1))
    provider_reference = fields.String(allow_none=True, metadata=describe("The provider's identifier.", "sim_0195a3f0"))
    reason = fields.String(allow_none=True, metadata=describe("Why it was declined or is not settled yet.", None))
    final = Flag(
        allow_none=True,
        metadata=describe("Of a capture: whether the rest is released; null for other operations.", None),
    )
    created_at = Time("When the operation was created.")
    settled_at = Time("When its outcome became known; null before that.", allow_none=True)


class OperationList(Schema):
    """A page of a payment's operations, oldest first."""

    data = fields.List(fields.Nested(OperationView), metadata=describe("The operations."))
    next_cursor = NextCursor()


class ProviderAccount(Schema):
    """A payment as the provider accounts for it."""

    captured_amount = Amount("The amount that the provider has captured.")
    refunded_amount = Amount("The amount that the provider has refunded.", example=0)
    untold = Integer(
        metadata=describe(
            "The number of operations whose outcome the provider did not report: no answer, or pending.", 0
        )
    )
    missing = Integer(metadata=describe("The number of succeeded operations that the provider has no record of.", 0))


class BalancesQuery(Schema):
    """The query of GET /v1/ledger/balances."""

    currency = Currency(metadata=describe("Only accounts in this currency."))


class BalanceView(Schema):
    """The sums of one account in one currency."""

    account = fields.String(metadata=describe("The account's name.", "provider_clearing"))
    currency = Currency()
    debits = Integer(metadata=describe("The sum of its debits, in minor units.", 900))
    credits = Integer(metadata=describe("The sum of its credits, in minor units.", 0))
    balance = Integer(metadata=describe("Debits less credits, in minor units.", 900))


class BalanceList(Schema):
    """The trial balance of a merchant. The debits and credits of a currency are equal."""

    data = fields.List(fields.Nested(BalanceView), metadata=describe("The accounts."))


class EntriesQuery(Schema):
    """The query of GET /v1/ledger/entries."""

    payment_id = Id(metadata=describe("Only entries of this payment."))
    limit = PageSize()
    cursor = Cursor()


class EntryView(Schema):
    """One side of a double entry."""

    id = Id()
    operation_id = Id()
    payment_id = Id()
    account = fields.String(metadata=describe("The account's name.", "provider_clearing"))
    direction = Choice(["debit", "credit"], "The side of the account.")
    amount = Amount("The amount.", minimum=1)
    currency = Currency()
    at = Time("When it was booked.")


class EntryList(Schema):
    """A page of the ledger's entries, newest first."""

    data = fields.List(fields.Nested(EntryView), metadata=describe("The entries."))
    next_cursor = NextCursor()


class MerchantView(Schema):
    """A merchant that has payments."""

    merchant = fields.String(metadata=describe("The merchant's name.", "demo"))


class MerchantList(Schema):
    """A page of the merchants that have payments, by name."""

    data = fields.List(fields.Nested(MerchantView), metadata=describe("The merchants."))
    next_cursor = NextCursor()


class Faults(Schema):
    """The faults of the simulated payment provider; a fault that is left out is off."""

    decline = Flag(load_default=False, metadata=describe("Decline each new charge and authorization.", False))
    delay_ms = Integer(
        validate=validate.Range(0, 5000),
        load_default=0,
        metadata=describe("The delay of each response, in milliseconds.", 0),
    )
    lost_requests_percent = Integer(
        validate=validate.Range(0, 100),
        load_default=0,
        metadata=describe("The share of requests that are lost, in percent.", 0),
    )
    lost_answers_percent = Integer(
        validate=validate.Range(0, 100),
        load_default=0,
        metadata=describe(
            "The share of responses that are lost, in percent. The provider has processed these requests.", 0
        ),
    )


class FaultsView(Faults):
    """The current faults of the simulated payment provider."""

    changed_at = Time("When the faults were last changed; null if they never were.", allow_none=True)


class SettledOperation(Schema):
    """The settled operation in an event of a payment."""

    id = Id()
    kind = Choice(model.Kind, "The kind of operation.")
    status = Choice(["succeeded", "declined"], "The outcome.")
    amount = Amount("The amount.")
    reason = fields.String(allow_none=True, metadata=describe("Why it was declined; null if it was not.", None))
    idempotency_key = fields.String(
        allow_none=True, metadata=describe("The idempotency key of its request; null if it had none.", None)
    )


class PaymentUpdated(Schema):
    """The state of a payment after an operation was settled, in the Standard Webhooks envelope."""

    type = Choice(["payment.updated"], "The type of the event.")
    timestamp = Time("When the operation was settled.")
    merchant = fields.String(metadata=describe("The payment's merchant.", "demo"))
    data = fields.Nested(PaymentView)
    operation = fields.Nested(SettledOperation)


class SketchPayment(Schema):
    """A payment of the original sketch, with an amount in major units."""

    order_id = Id(required=True, metadata=describe("The order's id. An order is charged once."))
    amount = MajorAmount(
        "The amount in major units of the default currency, with at most as many decimals as the currency has.",
        required=True,
    )


class SketchPaymentView(Schema):
    """The outcome of a payment of the original sketch."""

    status = Choice(["success", "failed", "processing"], "The outcome; `processing` until it is known.")
