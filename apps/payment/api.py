"""The payment service's HTTP API, version 1."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Response, g, request

from chassis.auth.keyring import ANY_MERCHANT, requires
from chassis.http import idempotency, paging, parsing
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import Signature, facts
from chassis.http.fields import PageByNameQuery, PageByTimeQuery
from chassis.service import propagated_headers, service
from payment import ledger, schemas, store
from payment.service import Done, Payments

blueprint = Blueprint("payments", __name__, url_prefix="/v1", description="Payments")

PROVIDER = Signature(
    "providerSignature",
    "Stripe-Signature",
    "The payment provider's signature of its events. The simulator sends none.",
)
_AUTHORIZED = {"status": "authorized", "captured_amount": 0, "authorized_amount": 900}
_VOIDED = {"status": "voided", "captured_amount": 0, "authorized_amount": 0}


def payments() -> Payments:
    """Return the use cases of the current application."""
    found: Payments = service().use_cases["payments"]
    return found


@blueprint.post("/payments")
@requires("payments:write")
@blueprint.arguments(schemas.CreatePayment)
@facts("payment-limit", answers={200: {}})
@blueprint.response(201, schemas.PaymentView)
def create_payment(wanted: dict[str, Any]) -> Response:
    """Pay for an order.

    A declined payment is a payment with the status `failed`, not an error. It is `processing` until the provider's
    outcome is known. An order has one live payment: a request for another one is answered with it, and 200.
    """
    created = payments().create(idempotency.claim(), wanted, propagated_headers())
    headers = {"Location": f"/v1/payments/{created.row['id']}", **_replayed(created)}
    return answer(created.row["body"], created.status, version=created.row["version"], headers=headers)


@blueprint.post("/payments/<uuid:payment_id>/capture")
@requires("payments:write")
@blueprint.arguments(schemas.Capture)
@facts("payment-state", "amount-exceeds-authorized", "final-capture-required", answers={202: _AUTHORIZED})
@blueprint.response(200, schemas.PaymentView)
def capture_payment(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Capture an authorized payment, completely or in part.

    The rest is released. With `final: false`, it stays authorized, and the payment can be captured again.

    The response is 202 until the provider's outcome is known.
    """
    amount, final = wanted.get("amount"), wanted["final"]
    return _acted(payments().capture(idempotency.claim(), str(payment_id), amount, propagated_headers(), final=final))


@blueprint.post("/payments/<uuid:payment_id>/void")
@requires("payments:write")
@blueprint.arguments(schemas.Nothing)
@facts("payment-state", answers={200: _VOIDED, 202: _AUTHORIZED})
@blueprint.response(200, schemas.PaymentView)
def void_payment(_: dict[str, Any], payment_id: UUID) -> Response:
    """Void an authorized payment: release the part that has not been captured.

    A payment of which a part is captured is `captured` then.

    The response is 202 until the provider's outcome is known.
    """
    return _acted(payments().void(idempotency.claim(), str(payment_id), propagated_headers()))


def _acted(done: Done) -> Response:
    status = 202 if done.row["busy"] else 200
    return answer(done.row["body"], status, version=done.row["version"], headers=_replayed(done))


def _replayed(done: Done) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if done.replayed else {}


@blueprint.post("/payments/<uuid:payment_id>/refunds")
@requires("payments:write")
@blueprint.arguments(schemas.CreateRefund)
@facts("payment-state", "amount-exceeds-captured", "refund-limit", tagged=True)
@blueprint.response(201, schemas.RefundView)
def create_refund(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Refund a captured payment, completely or in part."""
    amount, reason = wanted.get("amount"), wanted.get("reason")
    done = payments().refund(idempotency.claim(), str(payment_id), amount, reason, propagated_headers())
    location = {"Location": f"/v1/payments/{payment_id}/refunds"}
    return answer(done.row["body"], 201, tagged=True, headers={**location, **_replayed(done)})


@blueprint.get("/payments/<uuid:payment_id>/refunds")
@requires("payments:read")
@blueprint.arguments(PageByTimeQuery, location="query")
@blueprint.response(200, schemas.RefundList)
def list_refunds(query: dict[str, Any], payment_id: UUID) -> Response:
    """List a payment's refunds, newest first."""
    after, limit = paging.after_moment(query.get("cursor")), query["limit"]
    return paging.page(payments().refunds(g.merchant, str(payment_id), after, limit), limit)


@blueprint.get("/payments/<uuid:payment_id>/operations")
@requires("payments:read")
@blueprint.arguments(PageByTimeQuery, location="query")
@blueprint.response(200, schemas.OperationList)
def list_operations(query: dict[str, Any], payment_id: UUID) -> Response:
    """List the operations of a payment, oldest first."""
    after, limit = paging.after_moment(query.get("cursor")), query["limit"]
    return paging.page(payments().operations(g.merchant, str(payment_id), after, limit), limit)


@blueprint.get("/payments/<uuid:payment_id>/provider")
@requires("payments:read")
@blueprint.response(200, schemas.ProviderAccount)
def ask_provider(payment_id: UUID) -> Response:
    """Get the amounts that the provider has captured and refunded for a payment.

    They are requested from the provider at this moment.
    """
    return answer(payments().provider_account(g.merchant, str(payment_id)))


@blueprint.get("/ledger/balances")
@requires("payments:read")
@blueprint.arguments(schemas.BalancesQuery, location="query")
@blueprint.response(200, schemas.BalanceList)
def list_balances(query: dict[str, Any]) -> Response:
    """Get the merchant's trial balance."""
    rows = ledger.balances(service().database.session(), g.merchant, query.get("currency"))
    return answer({"data": [json.loads(row["body"]) for row in rows]})  # these sums may need more than 64 bits


@blueprint.get("/ledger/entries")
@requires("payments:read")
@blueprint.arguments(schemas.EntriesQuery, location="query")
@blueprint.response(200, schemas.EntryList)
def list_entries(query: dict[str, Any]) -> Response:
    """List the ledger's entries, newest first."""
    after = paging.after(query.get("cursor"))
    rows = payments().entries(g.merchant, query.get("payment_id"), after, query["limit"])
    return paging.page(rows, query["limit"])


@blueprint.get("/payments/<uuid:payment_id>")
@requires("payments:read")
@blueprint.response(200, schemas.PaymentView)
def get_payment(payment_id: UUID) -> Response:
    """Get a payment."""
    row = payments().get(g.merchant, str(payment_id))
    return answer(row["body"], version=row["version"])


@blueprint.get("/payments")
@requires("payments:read")
@blueprint.arguments(schemas.ListPayments, location="query")
@blueprint.response(200, schemas.PaymentList)
def list_payments(query: dict[str, Any]) -> Response:
    """List payments, newest first.

    `sort=created_at` lists the oldest first.
    """
    rows = payments().find(g.merchant, query, paging.after_moment(query.get("cursor")))
    return paging.page(rows, query["limit"])


@blueprint.get("/merchants")
@requires(ANY_MERCHANT)
@requires("payments:read")
@blueprint.arguments(PageByNameQuery, location="query")
@blueprint.response(200, schemas.MerchantList)
def list_merchants(query: dict[str, Any]) -> Response:
    """List the merchants that have payments, by name.

    The API key also needs `payments:read`.
    """
    rows = store.merchants(service().database.session(), paging.after_name(query.get("cursor")), query["limit"])
    return paging.page(rows, query["limit"])


@blueprint.post("/provider-events/<string:provider>")
@facts(signature=PROVIDER)
@blueprint.response(204)
def receive_provider_event(provider: str) -> Response:
    """Receive an event of the payment provider, signed by it.

    The event is only a hint: the provider is asked.
    """
    payments().provider_controls.receive_event(provider, dict(request.headers), parsing.read_body(request))
    return Response(status=204)
