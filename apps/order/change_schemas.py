"""The bodies of requests that change an order."""

from __future__ import annotations

from marshmallow import validate

from chassis.http.fields import Amount, Flag, Labels, Schema, Text, describe
from order.labels import MOST_LABELS, labels
from order.schemas import PAYMENT_METHOD


class NewAttempt(Schema):
    """A new attempt to have an order paid."""

    payment_method = Text(100, required=True, metadata=describe(PAYMENT_METHOD, "pm_ok"))


class CaptureOrder(Schema):
    """A capture of an authorized order."""

    amount = Amount(
        "The amount to capture; by default all that is left. 0 captures nothing more and releases the rest, if a part "
        "is captured already.",
        example=450,
    )
    final = Flag(
        load_default=True,
        metadata=describe(
            "Whether the rest is released. If false, it stays authorized, and the order can be captured again. A "
            "capture of all that is left is always final.",
            True,
        ),
    )


class LabelOrder(Schema):
    """A change of an order's labels."""

    metadata = Labels(
        keys=Text(40, code=True),
        values=Text(500, 0, allow_none=True),
        required=True,
        validate=validate.Length(max=2 * MOST_LABELS),
        metadata=describe("Labels to set, or to remove if null. The others stay.", {"cart": "9", "note": None}),
    )


class CreateRefund(Schema):
    """A refund to be made."""

    amount = Amount("The amount to refund; by default all that is left.", minimum=1, example=450)
    reason = Text(500, metadata=describe("The reason, shown to the merchant only.", "One of two was damaged"))
    metadata = labels()
