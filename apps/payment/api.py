"""The payment service's HTTP API, version 1."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, g

from chassis import idempotency, paging, wire
from chassis.auth import requires
from chassis.web import answer, onward, service
from payment import schemas
from payment.service import Payments

blueprint = wire.Blueprint("payments", __name__, url_prefix="/v1", description="Payments")


def payments() -> Payments:
    """The use cases, on this application's database."""
    found: Payments = service().parts["payments"]
    return found


@blueprint.post("/payments")
@requires("payments:write")
@blueprint.arguments(schemas.CreatePayment)
@blueprint.response(201, schemas.PaymentView)
def create_payment(wanted: dict[str, Any]) -> Response:
    """Pay for an order.

    A decline is a payment that failed, not an error. While the provider has not said what became of it, the
    payment is `processing`. An order has one live payment: asking for another gives that one, with 200.
    """
    created = payments().create(idempotency.claim(), wanted, onward())
    headers = {"Location": f"/v1/payments/{created.row['id']}"}
    if created.replayed:
        headers["Idempotency-Replayed"] = "true"
    return answer(created.row["body"], created.status, version=created.row["version"], headers=headers)


@blueprint.get("/payments/<uuid:payment_id>")
@requires("payments:read")
@blueprint.response(200, schemas.PaymentView)
def get_payment(payment_id: UUID) -> Response:
    """Show a payment."""
    row = payments().get(g.merchant, str(payment_id))
    return answer(row["body"], version=row["version"])


@blueprint.get("/payments")
@requires("payments:read")
@blueprint.arguments(schemas.ListPayments, location="query")
@blueprint.response(200, schemas.PaymentList)
def list_payments(query: dict[str, Any]) -> Response:
    """List payments, newest first."""
    cursor = query.pop("cursor", None)
    rows = payments().find({**query, "merchant": g.merchant, "after": paging.after(cursor)})
    return paging.page(rows, query["limit"], query)
