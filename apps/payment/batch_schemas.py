"""The wire format of batches: what the order service asks for, and what it is answered."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import Choice, Id, Labels, Payload, Schema, Text, describe
from chassis.openapi.schemas import EXAMPLE_ID
from payment.schemas import Capture, CreatePayment, CreateRefund, PaymentView, RefundView

MOST = 64
"""How many commands a batch has at most."""


class PaymentId(Schema):
    """The payment that a command is about."""

    payment_id = Id(required=True)


class CommandMessage(Schema):
    """A command of the order service."""

    id = Text(
        255,
        code=True,
        required=True,
        metadata=describe("The command's idempotency key.", "0195a3f0-0000-7000-8000-000000000001"),
    )
    merchant = Text(64, code=True, required=True, metadata=describe("The merchant whose payment it is about.", "demo"))
    topic = Choice(
        ["payment.create", "payment.capture", "payment.void", "payment.refund"],
        "What is asked for.",
        required=True,
    )
    payload = Payload(
        PaymentId,
        CreatePayment,
        Capture,
        CreateRefund,
        keys=Text(40, code=True),
        required=True,
        metadata=describe(
            "The body of the request that asks for this alone, and `payment_id` unless it is new.",
            {"order_id": EXAMPLE_ID, "amount": 900, "currency": "EUR", "payment_method": "pm_ok"},
        ),
    )
    headers = Labels(
        keys=Text(40, code=True),
        values=Text(1000, code=True),
        validate=validate.Length(max=10),
        load_default=dict,
        metadata=describe("The request id and trace context that the command belongs to."),
    )


class CommandBatch(Schema):
    """Commands of the order service."""

    commands = fields.List(fields.Nested(CommandMessage), required=True, validate=validate.Length(1, MOST))


class OperationOutcome(Schema):
    """What became of a capture or void."""

    status = fields.String(metadata=describe("`pending`, `succeeded` or `declined`.", "succeeded"))
    reason = fields.String(allow_none=True, metadata=describe("Why it was declined; null if it was not.", None))


class CommandProblem(Schema):
    """Why a command was refused."""

    name = fields.String(metadata=describe("The name of the problem, as in the `type` of a problem.", "payment-state"))
    detail = fields.String(metadata=describe("What is wrong.", "Nothing is captured: the payment is authorized."))


class CommandResult(Schema):
    """The result of a command."""

    id = fields.String(metadata=describe("The command's idempotency key.", "0195a3f0-0000-7000-8000-000000000001"))
    payment = fields.Nested(
        PaymentView, allow_none=True, metadata=describe("The payment as it is now; null if the command has no payment.")
    )
    refund = fields.Nested(
        RefundView, allow_none=True, metadata=describe("The refund that was asked for; null for other commands.")
    )
    operation = fields.Nested(
        OperationOutcome, allow_none=True, metadata=describe("What became of a capture or void; null for others.")
    )
    problem = fields.Nested(
        CommandProblem, allow_none=True, metadata=describe("Why the command was refused; null if it was carried out.")
    )


class CommandResults(Schema):
    """The results of a batch, in the order of its commands."""

    results = fields.List(fields.Nested(CommandResult))
