"""The payment service's HTTP API, version 1."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Response, g, request

from chassis.auth.keyring import requires
from chassis.http import idempotency, paging, parsing
from chassis.http.answers import answer
from chassis.openapi import document as openapi
from chassis.service import propagated_headers, service
from payment import ledger, schemas
from payment.model import Kind
from payment.service import Created, Payments

blueprint = parsing.Blueprint("payments", __name__, url_prefix="/v1", description="Payments")

PROVIDER = openapi.Signature(
    "providerSignature", "Stripe-Signature", "The provider's own signature of its events; the simulator sends none."
)
_AUTHORIZED = {"status": "authorized", "captured_amount": 0, "authorized_amount": 900}
_VOIDED = {"status": "voided", "captured_amount": 0, "authorized_amount": 0}


def payments() -> Payments:
    """The use cases, on this application's database."""
    found: Payments = service().use_cases["payments"]
    return found


@blueprint.post("/payments")
@requires("payments:write")
@blueprint.arguments(schemas.CreatePayment)
@openapi.facts(answers={200: {}})
@blueprint.response(201, schemas.PaymentView)
def create_payment(wanted: dict[str, Any]) -> Response:
    """Pay for an order.

    A decline is a payment that failed, not an error. While the provider has not said what became of it, the
    payment is `processing`. An order has one live payment: asking for another gives that one, with 200.
    """
    created = payments().create(idempotency.claim(), wanted, propagated_headers())
    headers = {"Location": f"/v1/payments/{created.row['id']}", **_replayed(created)}
    return answer(created.row["body"], created.status, version=created.row["version"], headers=headers)


@blueprint.post("/payments/<uuid:payment_id>/capture")
@requires("payments:write")
@blueprint.arguments(schemas.Capture)
@openapi.facts("payment-state", "amount-exceeds-authorized", answers={202: _AUTHORIZED})
@blueprint.response(200, schemas.PaymentView)
def capture_payment(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Take the money of an authorized payment, all or a part; 202 while the provider has not said what became of it."""
    amount = wanted.get("amount")
    return _acted(payments().act(idempotency.claim(), str(payment_id), Kind.CAPTURE, propagated_headers(), amount))


@blueprint.post("/payments/<uuid:payment_id>/void")
@requires("payments:write")
@blueprint.arguments(schemas.Nothing)
@openapi.facts("payment-state", answers={200: _VOIDED, 202: _AUTHORIZED})
@blueprint.response(200, schemas.PaymentView)
def void_payment(_: dict[str, Any], payment_id: UUID) -> Response:
    """Give the hold of an authorized payment back; 202 while the provider has not said what became of it."""
    return _acted(payments().act(idempotency.claim(), str(payment_id), Kind.VOID, propagated_headers()))


def _acted(done: Created) -> Response:
    status = 202 if done.row["busy"] else 200
    return answer(done.row["body"], status, version=done.row["version"], headers=_replayed(done))


def _replayed(done: Created) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if done.replayed else {}


@blueprint.post("/payments/<uuid:payment_id>/refunds")
@requires("payments:write")
@blueprint.arguments(schemas.CreateRefund)
@openapi.facts("payment-state", "amount-exceeds-captured", tagged=True)
@blueprint.response(201, schemas.RefundView)
def create_refund(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Give money of a captured payment back, all that is left or a part."""
    amount, reason = wanted.get("amount"), wanted.get("reason")
    done = payments().refund(idempotency.claim(), str(payment_id), amount, reason, propagated_headers())
    location = {"Location": f"/v1/payments/{payment_id}/refunds"}
    return answer(done.row["body"], 201, tagged=True, headers={**location, **_replayed(done)})


@blueprint.get("/payments/<uuid:payment_id>/refunds")
@requires("payments:read")
@blueprint.response(200, schemas.RefundList)
def list_refunds(payment_id: UUID) -> Response:
    """List a payment's refunds, newest first."""
    return paging.whole(payments().refunds(g.merchant, str(payment_id)))


@blueprint.get("/payments/<uuid:payment_id>/operations")
@requires("payments:read")
@blueprint.response(200, schemas.OperationList)
def list_operations(payment_id: UUID) -> Response:
    """List everything that was asked of the provider for a payment, oldest first."""
    return paging.whole(payments().operations(g.merchant, str(payment_id)))


@blueprint.get("/payments/<uuid:payment_id>/provider")
@requires("payments:read")
@blueprint.response(200, schemas.ProviderAccount)
def ask_provider(payment_id: UUID) -> Response:
    """Ask the provider, now, what it has captured and refunded for a payment by its own account."""
    return answer(json.dumps(payments().at_provider(g.merchant, str(payment_id))))


@blueprint.get("/ledger/balances")
@requires("payments:read")
@blueprint.arguments(schemas.BalancesQuery, location="query")
@blueprint.response(200, schemas.BalanceList)
def list_balances(query: dict[str, Any]) -> Response:
    """Show the merchant's trial balance."""
    return paging.whole(ledger.balances(service().database.session(), g.merchant, query.get("currency")))


@blueprint.get("/ledger/entries")
@requires("payments:read")
@blueprint.arguments(schemas.EntriesQuery, location="query")
@blueprint.response(200, schemas.EntryList)
def list_entries(query: dict[str, Any]) -> Response:
    """List the ledger's entries, newest first."""
    after = paging.after(query.get("cursor"))
    rows = ledger.entries(service().database.session(), g.merchant, query.get("payment_id"), after, query["limit"])
    return paging.page(rows, query["limit"])


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
    rows = payments().find({**query, "merchant": g.merchant, "after": paging.after(query.get("cursor"))})
    return paging.page(rows, query["limit"])


@blueprint.post("/provider-events/<string:provider>")
@openapi.facts(signature=PROVIDER)
@blueprint.response(204)
def receive_provider_event(provider: str) -> Response:
    """Take an event of the payment provider's, signed as that provider signs; it is a hint to look there."""
    payments().hear(provider, dict(request.headers), parsing.read_body(request))
    return Response(status=204)
