"""The original sketch's API for payments, which is still supported: the order's id is the idempotency key."""

from __future__ import annotations

from typing import Any

from flask import Response, g

from chassis import money
from chassis.auth.keyring import requires
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.http.problems import Problem, invalid
from chassis.service import propagated_headers, service
from payment import schemas
from payment.api import payments
from payment.model import Status

blueprint = Blueprint("sketch", __name__, description="The original sketch's API")

WAIT = 10.0
"""How long a request waits for the outcome of a payment, in seconds."""
BRIEF_WAIT = 0.25
"""The same, in seconds, while as many requests wait as may wait at the same time."""


@blueprint.post("/payments")
@requires("payments:write")
@blueprint.arguments(schemas.SketchPayment)
@facts("payment-exists", "payment-limit", "idempotency-key-in-use", answers={202: {"status": "processing"}})
@blueprint.response(200, schemas.SketchPaymentView)
def create_payment(wanted: dict[str, Any]) -> Response:
    """Pay for an order.

    The status is `success` or `failed`; it is `processing`, with 202, until the outcome is known. A paid order is not
    charged again.
    """
    settings = service().settings
    currency = settings.default_currency
    try:
        amount = money.to_minor(wanted["amount"], currency)
    except ValueError as error:
        raise invalid("/amount", f"The amount {error}.") from error
    payment = {
        "order_id": wanted["order_id"],
        "amount": amount,
        "currency": currency,
        "payment_method": settings.default_payment_method,
        "capture": "automatic",
    }
    with payments().waiting_room.enter(WAIT, g.merchant) as wait:
        row = payments().find_or_create(g.merchant, payment, propagated_headers(), max(wait, BRIEF_WAIT))
    if (row["amount"], row["currency"]) != (amount, currency):
        raise Problem("payment-exists", f"The payment {row['id']} of this order has another amount.")
    if row["status"] in (Status.PROCESSING, Status.AUTHORIZED):
        return answer({"status": "processing"}, 202)
    return answer({"status": "success" if row["status"] == Status.CAPTURED else "failed"})
