"""The payment service's wire format."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import (
    Amount,
    Choice,
    Currency,
    Cursor,
    Flag,
    Id,
    Integer,
    MajorAmount,
    NextCursor,
    PageSize,
    Schema,
    Text,
    Time,
    says,
)
from chassis.money import MAX_AMOUNT
from payment import model

PAYMENT_METHOD = "How it is paid: what the provider gave for the card, never the card's number."
VERSION = validate.Range(1, MAX_AMOUNT)


class CreatePayment(Schema):
    """A payment to be made."""

    order_id = Id(required=True, metadata=says("What is paid for: at most one live payment has this."))
    amount = Amount("How much.", minimum=1, required=True)
    currency = Currency(required=True)
    payment_method = Text(100, required=True, metadata=says(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(
        ["automatic", "manual"],
        "`automatic` takes the money at once; `manual` reserves it until the payment is captured.",
        load_default="automatic",
    )


class Capture(Schema):
    """What is to be taken; the rest of what is authorized is released."""

    amount = Amount("How much; all that is authorized if it is missing.", minimum=1)


class Nothing(Schema):
    """A body without members; it may be left out."""


class CreateRefund(Schema):
    """What is to be given back."""

    amount = Amount("How much; all that is left if it is missing.", minimum=1, example=450)
    reason = Text(500, metadata=says("Why, for the merchant's own eyes.", "One of two was damaged"))


class ListPayments(Schema):
    """The query of GET /v1/payments."""

    order_id = Id(metadata=says("Only those of this order."))
    status = Choice(model.Status, "Only those that stand so.")
    limit = PageSize()
    cursor = Cursor()


class PaymentView(Schema):
    """A payment, as answered."""

    id = Id()
    order_id = Id()
    status = Choice(model.Status, "Where the payment stands.", model.Status.CAPTURED)
    amount = Integer(
        metadata=says("What it is for, in minor units; below 1 only where the sketch's API was asked for as much.", 900)
    )
    currency = Currency()
    authorized_amount = Amount("What is reserved and may be captured.")
    captured_amount = Amount("What was taken.")
    refunded_amount = Amount("What was given back.", example=0)
    refunding_amount = Amount("What is being given back.", example=0)
    payment_method = fields.String(metadata=says(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(["automatic", "manual"], "When the money is taken.")
    failure_reason = fields.String(allow_none=True, metadata=says("Why it failed.", None))
    provider = fields.String(metadata=says("Who is asked for the money.", "simulator"))
    provider_reference = fields.String(
        allow_none=True, metadata=says("The provider's own name for it.", "sim_0195a3f0")
    )
    version = Integer(validate=VERSION, metadata=says("One more with each change; its ETag.", 2))
    created_at = Time("When it was asked for.")
    updated_at = Time("When it last changed.")


class PaymentList(Schema):
    """A page of payments, newest first."""

    data = fields.List(fields.Nested(PaymentView), metadata=says("The payments."))
    next_cursor = NextCursor()


class RefundView(Schema):
    """A refund, as answered."""

    id = Id()
    status = Choice(["pending", "succeeded", "failed"], "Where the refund stands.", "succeeded")
    amount = Amount("What is given back.", minimum=1, example=450)
    currency = Currency()
    reason = fields.String(allow_none=True, metadata=says("Why, as the merchant said.", "One of two was damaged"))
    failure_reason = fields.String(allow_none=True, metadata=says("Why it failed.", None))
    created_at = Time("When it was asked for.")


class RefundList(Schema):
    """All refunds of a payment, newest first."""

    data = fields.List(fields.Nested(RefundView), metadata=says("The refunds."))


class OperationView(Schema):
    """One thing that was asked of the provider; its id was the idempotency key there."""

    id = Id()
    kind = Choice(model.Kind, "What was asked.")
    amount = Amount("About how much.")
    currency = Currency()
    status = Choice(["pending", "succeeded", "declined"], "What became of it.", "succeeded")
    attempts = Integer(metadata=says("How often it was tried.", 1))
    provider_reference = fields.String(
        allow_none=True, metadata=says("The provider's own name for it.", "sim_0195a3f0")
    )
    reason = fields.String(allow_none=True, metadata=says("Why it was declined, or is not settled yet.", None))
    created_at = Time("When it was first to be asked.")
    settled_at = Time("When its outcome was known.", allow_none=True)


class OperationList(Schema):
    """Everything that was asked of the provider for a payment, oldest first."""

    data = fields.List(fields.Nested(OperationView), metadata=says("The operations."))


class ProviderAccount(Schema):
    """A payment by the provider's own account."""

    captured_amount = Amount("What the provider says it has taken.")
    refunded_amount = Amount("What it says it has given back.", example=0)
    untold = Integer(metadata=says("How many operations it did not tell of.", 0))


class BalancesQuery(Schema):
    """The query of GET /v1/ledger/balances."""

    currency = Currency(metadata=says("Only accounts in this currency."))


class BalanceView(Schema):
    """The sums of one account."""

    account = fields.String(metadata=says("The account's name.", "provider_clearing"))
    currency = Currency()
    debits = Integer(metadata=says("The sum of its debits, in minor units.", 900))
    credits = Integer(metadata=says("The sum of its credits, in minor units.", 0))
    balance = Integer(metadata=says("Debits less credits, in minor units.", 900))


class BalanceList(Schema):
    """The trial balance of a merchant: debits and credits of a currency are equal."""

    data = fields.List(fields.Nested(BalanceView), metadata=says("The accounts."))


class EntriesQuery(Schema):
    """The query of GET /v1/ledger/entries."""

    payment_id = Id(metadata=says("Only those of this payment."))
    limit = PageSize()
    cursor = Cursor()


class EntryView(Schema):
    """One side of a double entry."""

    id = Id()
    operation_id = Id()
    payment_id = Id()
    account = fields.String(metadata=says("The account's name.", "provider_clearing"))
    direction = Choice(["debit", "credit"], "On which side of the account.")
    amount = Amount("How much.", minimum=1)
    currency = Currency()
    at = Time("When it was booked.")


class EntryList(Schema):
    """A page of the ledger, newest first."""

    data = fields.List(fields.Nested(EntryView), metadata=says("The entries."))
    next_cursor = NextCursor()


class Faults(Schema):
    """What the simulator is told to do wrong."""

    decline = Flag(load_default=False, metadata=says("Decline each new charge and authorization.", False))
    delay_ms = Integer(
        validate=validate.Range(0, 5000), load_default=0, metadata=says("How long each answer takes, in ms.", 0)
    )
    lost_requests_percent = Integer(
        validate=validate.Range(0, 100), load_default=0, metadata=says("Requests in a hundred that are lost.", 0)
    )
    lost_answers_percent = Integer(
        validate=validate.Range(0, 100),
        load_default=0,
        metadata=says("Answers in a hundred that are lost: the provider has acted then.", 0),
    )


class FaultsView(Faults):
    """What the simulator is told to do wrong, as answered."""

    changed_at = Time("When it was told; null if it never was.", allow_none=True)


class SettledOperation(Schema):
    """The operation whose end a payment's event tells."""

    id = Id()
    kind = Choice(model.Kind, "What was asked of the provider.")
    status = Choice(["succeeded", "declined"], "What became of it.")
    amount = Amount("About how much.")
    reason = fields.String(allow_none=True, metadata=says("Why it was declined.", None))
    idempotency_key = fields.String(
        allow_none=True, metadata=says("The key of the request that asked for it, if one did.", None)
    )


class PaymentUpdated(Schema):
    """A payment as it stands after an operation has been settled, in the Standard Webhooks envelope."""

    type = Choice(["payment.updated"], "What happened.")
    timestamp = Time("When it was settled.")
    merchant = fields.String(metadata=says("Whose payment it is.", "demo"))
    data = fields.Nested(PaymentView)
    operation = fields.Nested(SettledOperation)


class SketchPayment(Schema):
    """A payment of the original sketch: an amount in major units."""

    order_id = Id(required=True, metadata=says("What is paid for; it is charged once."))
    amount = MajorAmount(
        "How much, in major units of the default currency and with no more decimals than that has.", required=True
    )


class SketchPaymentView(Schema):
    """What became of it."""

    status = Choice(["success", "failed", "processing"], "`processing` while the provider has not said which.")
