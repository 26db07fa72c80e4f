"""The original sketch's API for payments, kept working: one call, and the order's id as its idempotency key."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, g

from chassis import money
from chassis.auth.keyring import requires
from chassis.http import parsing
from chassis.http.answers import answer
from chassis.http.problems import Problem, invalid
from chassis.openapi import document as openapi
from chassis.service import propagated_headers, service
from payment import schemas
from payment.api import payments
from payment.model import Status

blueprint = parsing.Blueprint("sketch", __name__, description="The original sketch's API")

WAIT = 10.0
"""How long a payment that is under way is waited for, in seconds."""


@blueprint.post("/payments")
@requires("payments:write")
@blueprint.arguments(schemas.SketchPayment)
@openapi.facts("payment-exists", "idempotency-key-in-use", answers={202: {"status": "processing"}})
@blueprint.response(200, schemas.SketchPaymentView)
def create_payment(wanted: dict[str, Any]) -> Response:
    """Pay for an order: success or failed; 202 and processing while the provider has not said which.

    An order that is paid already is not charged again.
    """
    settings = service().settings
    currency = settings.default_currency
    try:
        amount = money.to_minor(wanted["amount"], currency)
    except ValueError as error:
        raise invalid("/amount", f"The amount {error}.") from error
    row = payments().create_once(
        g.merchant,
        {
            "order_id": wanted["order_id"],
            "amount": amount,
            "currency": currency,
            "payment_method": settings.default_payment_method,
            "capture": "automatic",
        },
        propagated_headers(),
        WAIT,
    )
    if (row["amount"], row["currency"]) != (amount, currency):
        raise Problem("payment-exists", f"The payment {row['id']} of this order has another amount.")
    if row["status"] in (Status.PROCESSING, Status.AUTHORIZED):
        return answer(json.dumps({"status": "processing"}), 202)
    return answer(json.dumps({"status": "success" if row["status"] == Status.CAPTURED else "failed"}))
