"""The order service's wire format."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate

from chassis.http.fields import (
    Amount,
    Choice,
    Currency,
    Cursor,
    Id,
    Integer,
    Labels,
    MajorAmount,
    Moment,
    NextCursor,
    PageSize,
    Schema,
    Text,
    Time,
    says,
)
from chassis.money import MAX_AMOUNT
from order import model

PAYMENT_METHOD = "How it is paid: what the payment provider gave for the card, never the card's number."


class Item(Schema):
    """One line of an order, as placed."""

    sku = Text(100, required=True, metadata=says("What is sold, by the merchant's own name for it.", "tea-100"))
    name = Text(200, metadata=says("What people call it.", "Green tea"))
    quantity = Integer(required=True, validate=validate.Range(1, 1_000_000), metadata=says("How many.", 2))
    unit_amount = Integer(
        required=True, validate=validate.Range(0, 10**12), metadata=says("What one costs, in minor units.", 450)
    )


def _total_fits(items: list[dict[str, Any]]) -> None:
    try:
        model.total([(item["quantity"], item["unit_amount"]) for item in items])
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


class PlaceOrder(Schema):
    """An order to be placed. Its total, quantity times unit amount over all items, must fit 64 bits."""

    currency = Currency(required=True)
    items = fields.List(
        fields.Nested(Item),
        required=True,
        validate=[validate.Length(1, 100), _total_fits],
        metadata=says("The lines of the order."),
    )
    customer = Text(100, metadata=says("The merchant's own name for who buys.", "cus_17"))
    payment_method = Text(100, required=True, metadata=says(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(
        ["automatic", "manual"],
        "`automatic` takes the money at once; `manual` reserves it until the order is captured.",
        load_default="automatic",
    )
    metadata = Labels(
        keys=Text(40),
        values=Text(500, 0),
        load_default=dict,
        validate=validate.Length(max=50),
        metadata=says("The merchant's own labels, given back as they are.", {"cart": "9"}),
    )


class Nothing(Schema):
    """A body without members; it may be left out."""


class NewAttempt(Schema):
    """How to try again to have an order paid."""

    payment_method = Text(100, required=True, metadata=says(PAYMENT_METHOD, "pm_ok"))


class CreateRefund(Schema):
    """What is to be given back."""

    amount = Amount("How much; all that is left if it is missing.", minimum=1, example=450)
    reason = Text(500, metadata=says("Why, for the merchant's own eyes.", "One of two was damaged"))


class ItemView(Schema):
    """One line of an order, as answered; orders of the sketch's API have names only."""

    sku = fields.String(allow_none=True, metadata=says("What is sold, by the merchant's own name for it.", "tea-100"))
    name = fields.String(allow_none=True, metadata=says("What people call it.", "Green tea"))
    quantity = Integer(metadata=says("How many.", 2))
    unit_amount = Amount("What one costs.", example=450, allow_none=True)
    amount = Amount("Quantity times unit amount.", allow_none=True)


class PaymentView(Schema):
    """What an order shows of its payment."""

    id = Id(metadata=says("The payment's id in the payment service."))
    status = fields.String(
        metadata=says(
            "Where the payment stands: `processing`, `authorized`, `captured`, `failed`, `voided`, `expired`, or "
            "what else the payment service learns to say.",
            "captured",
        )
    )
    failure_reason = fields.String(
        allow_none=True, metadata=says("Why the payment, or what was last asked of it, failed.", None)
    )


class OrderView(Schema):
    """An order, as answered."""

    id = Id()
    status = Choice(
        model.Status,
        "Where the order stands; `canceled`, `refunded` and `expired` are final.",
        model.Status.PAID,
    )
    currency = Currency()
    total_amount = Amount("What the order costs.")
    paid_amount = Amount("What was taken for it.")
    refunded_amount = Amount("What was given back of it.", example=0)
    items = fields.List(fields.Nested(ItemView), metadata=says("The lines of the order."))
    customer = fields.String(allow_none=True, metadata=says("The merchant's own name for who buys.", "cus_17"))
    payment_method = fields.String(metadata=says(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(["automatic", "manual"], "When the money is taken.")
    metadata = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=says("The merchant's own labels.", {"cart": "9"}),
    )
    payment = fields.Nested(PaymentView, allow_none=True, metadata=says("Its payment, once there is one."))
    version = Integer(validate=validate.Range(1, MAX_AMOUNT), metadata=says("One more with each change; its ETag.", 2))
    created_at = Time("When the order was placed.")
    updated_at = Time("When it last changed.")


class ListOrders(Schema):
    """The query of GET /v1/orders; both times are bounds that are not in the list themselves."""

    status = Choice(model.Status, "Only those that stand so.")
    customer = Text(100, metadata=says("Only those of this customer."))
    created_after = Moment("Only those placed after this time.")
    created_before = Moment("Only those placed before this time.")
    limit = PageSize()
    cursor = Cursor(by_time=True)


class OrderList(Schema):
    """A page of orders, newest first."""

    data = fields.List(fields.Nested(OrderView), metadata=says("The orders."))
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
    """All refunds of an order, newest first."""

    data = fields.List(fields.Nested(RefundView), metadata=says("The refunds."))


class EventView(Schema):
    """One step of an order's history."""

    version = Integer(validate=validate.Range(1, MAX_AMOUNT), metadata=says("The order's version from here on.", 2))
    type = fields.String(metadata=says("What happened.", "order.paid"))
    from_ = Choice(
        model.Status, "The status before; null for the first.", "pending_payment", data_key="from", allow_none=True
    )
    to = Choice(model.Status, "The status after.", "paid")
    actor = Choice(["merchant", "payment"], "Who brought it about.", "payment")
    data = fields.Dict(metadata=says("What else there is to say; it differs from type to type.", {}))
    at = Time("When it was written down.")


class EventList(Schema):
    """An order's whole history, oldest first."""

    data = fields.List(fields.Nested(EventView), metadata=says("The steps."))


class PaymentSnapshot(Schema):
    """The payment that a payment event carries; what order does not need is passed over."""

    class Meta:
        """Payment may learn to say more without breaking order."""

        unknown = "exclude"

    id = Id(required=True)
    order_id = Id(required=True)
    version = Integer(
        required=True, validate=validate.Range(1, MAX_AMOUNT), metadata=says("Only a newer one counts.", 2)
    )
    status = fields.String(required=True, metadata=says("Where the payment stands.", "captured"))
    amount = Amount("What it is for.", minimum=-MAX_AMOUNT, required=True)
    currency = fields.String(required=True, metadata=says("ISO 4217.", "EUR"))
    captured_amount = Amount("What was taken.", required=True)
    refunded_amount = Amount("What was given back.", example=0, required=True)
    refunding_amount = Amount("What is being given back.", example=0, required=True)
    failure_reason = fields.String(required=True, allow_none=True, metadata=says("Why it failed.", None))


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

    kind = fields.String(required=True, metadata=says("What was asked of the provider.", "sale"))
    status = fields.String(required=True, metadata=says("What became of it.", "succeeded"))
    reason = fields.String(required=True, allow_none=True, metadata=says("Why it was declined.", None))
    idempotency_key = fields.String(
        required=True, allow_none=True, metadata=says("The key under which it was asked for.", None)
    )


class PaymentEvent(Schema):
    """What the payment service tells of a payment, in the Standard Webhooks envelope."""

    type = fields.String(
        required=True, validate=validate.Equal("payment.updated"), metadata={"enum": ["payment.updated"]}
    )
    timestamp = fields.String(required=True, metadata=says("When it happened, RFC 3339.", "2026-03-14T09:26:53Z"))
    merchant = fields.String(
        required=True,
        validate=validate.Regexp(r"^[A-Za-z0-9_.\-]{1,64}$"),
        metadata=says("Whose order it is.", "demo"),
    )
    data = fields.Nested(PaymentSnapshot, required=True)
    operation = fields.Nested(SettledOperation, required=True)


class SketchOrder(Schema):
    """An order of the original sketch: an id of the caller's, names of things, a total in major units."""

    id = Id(required=True, metadata=says("An id of the caller's own making."))
    items = fields.List(
        Text(200, metadata=says("What is bought.", "item1")), required=True, validate=validate.Length(1, 100)
    )
    total = MajorAmount(
        "What it costs, in major units of the default currency and with no more decimals than that has.",
        minimum=0,
        required=True,
    )


class SketchOrderView(Schema):
    """An order as the original sketch shows it."""

    id = Id()
    items = fields.List(fields.String(metadata=says("What is bought.", "item1")))
    total = MajorAmount("What it costs, in major units, exactly.", minimum=0)
    status = Choice(model.Status, "Where the order stands.", "paid")
