"""The wire format of the order service: what requests and responses hold."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import (
    Amount,
    Choice,
    Choices,
    Currency,
    Cursor,
    Id,
    Integer,
    Labels,
    List,
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
from order import line_schemas, model
from order.labels import MOST_LABELS, labels, labels_view

VERSION = validate.Range(1, MAX_AMOUNT)
PAYMENT_METHOD = "The payment provider's token for the payment method. Never a card number."

REFUND_STATUSES = ("pending", "succeeded", "failed")


class PlaceOrder(Schema):
    """An order to be placed. Its total, the sum of quantity times unit amount over all lines, must be 0 to 2^63 - 1."""

    currency = Currency(required=True)
    items = line_schemas.items()
    customer = Text(100, code=True, metadata=describe("The merchant's identifier of the customer.", "cus_17"))
    reference = Text(
        100,
        code=True,
        metadata=describe("The shop's own order number, such as A-1001. No other order of the merchant may have it."),
    )
    payment_method = Text(100, required=True, metadata=describe(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(
        ["automatic", "manual"],
        "`automatic` captures the payment at once; `manual` only authorizes it, until the order is captured.",
        load_default="automatic",
    )
    metadata = labels()


class Nothing(Schema):
    """An empty body, which may be left out."""


class PaymentView(Schema):
    """The payment of an order, as the order shows it."""

    id = Id(metadata=describe("The payment's id in the payment service."))
    status = fields.String(
        metadata=describe(
            "The payment's status: `processing`, `authorized`, `captured`, `failed`, `voided`, `expired`, or another "
            "one that the payment service adds in the future.",
            "captured",
        )
    )
    captured_amount = Amount("The captured amount: less than the order's total after a partial capture.")
    failure_reason = fields.String(
        allow_none=True, metadata=describe("Why the payment, or its last operation, failed.", None)
    )


class LastErrorView(Schema):
    """A capture, void or refund that the payment provider has declined."""

    code = fields.String(
        metadata=describe(
            "What was declined: `capture_declined`, `void_declined`, `refund_declined`, or another code that is added "
            "in the future.",
            "capture_declined",
        )
    )
    detail = fields.String(
        metadata=describe(
            "One sentence, with the provider's reason if it is known.",
            "The payment provider declined the capture: authorization_expired.",
        )
    )
    at = Time("When the order service learned of it.")


class OrderView(Schema):
    """An order."""

    id = Id()
    status = Choice(
        model.Status, "The order's status; `canceled`, `refunded` and `expired` are final.", model.Status.PAID
    )
    currency = Currency()
    total_amount = Amount("The order's total.")
    paid_amount = Amount("The captured amount: while the order is `authorized`, what was captured of it so far.")
    refunded_amount = Amount("The refunded amount.", example=0)
    items = fields.List(fields.Nested(line_schemas.ItemView), metadata=describe("The lines of the order."))
    customer = fields.String(allow_none=True, metadata=describe("The merchant's identifier of the customer.", "cus_17"))
    reference = fields.String(
        allow_none=True, metadata=describe("The shop's own order number, unique among the merchant's orders.", "A-1001")
    )
    payment_method = fields.String(metadata=describe(PAYMENT_METHOD, "pm_ok"))
    capture = Choice(["automatic", "manual"], "When the payment is captured: at once, or on request.")
    metadata = labels_view()
    payment = fields.Nested(PaymentView, allow_none=True, metadata=describe("Its payment; null until there is one."))
    last_error = fields.Nested(
        LastErrorView,
        allow_none=True,
        metadata=describe("What the payment provider declined last; null again after something has succeeded.", None),
    )
    version = Integer(validate=VERSION, metadata=describe("The version: one more with each change. It is the ETag.", 2))
    created_at = Time("When the order was placed.")
    updated_at = Time("When the order last changed.")


class ListOrders(Schema):
    """The query of GET /v1/orders. Orders placed or changed exactly at one of the times are not listed."""

    status = Choices(model.Status, "Only orders with this status, or one of these.")
    customer = Text(100, code=True, metadata=describe("Only orders of this customer."))
    reference = Text(100, code=True, metadata=describe("Only the order with this reference."))
    created_after = QueryTime("Only orders placed after this time.")
    created_before = QueryTime("Only orders placed before this time.")
    updated_after = QueryTime(
        "Only orders that changed after this time, ordered by their last change, the oldest first. An order that "
        "changes while you read comes again. `GET /v1/events` misses nothing, whatever commits meanwhile."
    )
    metadata = Labels(
        keys=Text(40, code=True),
        values=Text(500, 0),
        validate=validate.Length(max=MOST_LABELS),
        metadata=describe("`metadata.cart=9`: only orders with this label. Of several, all must match.", {"cart": "9"}),
    )
    sort = Sort("Not with `updated_after`.")
    limit = PageSize()
    cursor = Cursor("time")


class OrderList(Schema):
    """A page of orders, in the order of `sort`; with `updated_after`, by their last change, oldest first."""

    data = fields.List(fields.Nested(OrderView), metadata=describe("The orders."))
    next_cursor = NextCursor()


class RefundView(Schema):
    """A refund."""

    id = Id()
    order_id = Id(metadata=describe("The order's id."))
    payment_id = Id(metadata=describe("The id of the refunded payment in the payment service."))
    status = Choice(REFUND_STATUSES, "The refund's status.", "succeeded")
    amount = Amount("The amount of the refund.", minimum=1, example=450)
    currency = Currency()
    reason = fields.String(allow_none=True, metadata=describe("The merchant's reason.", "One of two was damaged"))
    failure_reason = fields.String(allow_none=True, metadata=describe("Why it failed, if it did.", None))
    metadata = labels_view()
    created_at = Time("When the refund was requested.")
    updated_at = Time("When its status last changed.")


class ListRefunds(Schema):
    """The query of GET /v1/refunds. Refunds requested exactly at one of the times are not listed."""

    status = Choices(REFUND_STATUSES, "Only refunds with this status, or one of these.")
    created_after = QueryTime("Only refunds requested after this time.")
    created_before = QueryTime("Only refunds requested before this time.")
    sort = Sort()
    limit = PageSize()
    cursor = Cursor("time")


class RefundList(Schema):
    """A page of refunds, newest first, or in the order of `sort`."""

    data = fields.List(fields.Nested(RefundView), metadata=describe("The refunds."))
    next_cursor = NextCursor()


class EventView(Schema):
    """One step of an order's history."""

    version = Integer(validate=VERSION, metadata=describe("The order's version after this step.", 2))
    type = fields.String(metadata=describe("The kind of change.", "order.paid"))
    from_ = Choice(
        model.Status, "The status before; null for the first step.", "pending_payment", data_key="from", allow_none=True
    )
    to = Choice(model.Status, "The status after.", "paid")
    actor = Choice(["merchant", "payment"], "What caused it: a request of the merchant, or the payment.", "payment")
    data = fields.Dict(metadata=describe("Details, which depend on the type.", {}))
    at = Time("When it was recorded.")


class EventList(Schema):
    """A page of an order's history, oldest step first."""

    data = fields.List(fields.Nested(EventView), metadata=describe("The steps."))
    next_cursor = NextCursor()


class SketchOrder(Schema):
    """An order of the original sketch: an id that the caller chooses, names of items, and a total in major units."""

    id = Id(required=True, metadata=describe("An id that the caller chooses."))
    items = List(
        Text(200, metadata=describe("The name of an item.", "item1")), required=True, validate=validate.Length(1, 100)
    )
    total = MajorAmount(
        "The total in major units of the default currency, with at most as many decimals as the currency has.",
        minimum=0,
        required=True,
    )


class SketchOrderView(Schema):
    """An order as the original sketch shows it."""

    id = Id()
    items = fields.List(fields.String(metadata=describe("The name of an item.", "item1")))
    total = MajorAmount("The exact total in major units.", minimum=0)
    status = Choice(model.Status, "The order's status.", "paid")
