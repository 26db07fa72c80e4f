"""The order service's HTTP API, version 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from uuid import UUID

from flask import Response, g, request
from marshmallow import ValidationError

from chassis.auth.keyring import requires
from chassis.http import fast_load, idempotency, paging, parsing, prefer
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import STANDARD_WEBHOOKS, facts
from chassis.http.fields import PageQuery
from chassis.http.problems import Problem, invalid
from chassis.messaging import signatures
from chassis.openapi.schemas import EXAMPLE_ID
from chassis.service import propagated_headers, service
from order import answers, change_schemas, schemas, snapshots
from order.model import Status
from order.refunds import Refunds
from order.service import Done, Orders
from order.transition import Capture, Release

blueprint = Blueprint("orders", __name__, url_prefix="/v1", description="Orders and their history")

_PENDING = {"status": "pending_payment", "paid_amount": 0, "payment": None}
_AUTHORIZED = {
    "status": "authorized",
    "paid_amount": 0,
    "capture": "manual",
    "payment": {"id": EXAMPLE_ID, "status": "authorized", "captured_amount": 0, "failure_reason": None},
}
_CANCELED = {"status": "canceled", "refunded_amount": 900}

_load_event = fast_load.loader(snapshots.PaymentEvent())


def orders() -> Orders:
    """Return the use cases of the current application."""
    found: Orders = service().use_cases["orders"]
    return found


def refunds() -> Refunds:
    """Return the use cases of the current application that read refunds."""
    found: Refunds = service().use_cases["refunds"]
    return found


@blueprint.post("/orders")
@requires("orders:write")
@blueprint.arguments(schemas.PlaceOrder)
@facts("reference-taken", waits=True)
@blueprint.response(201, schemas.OrderView)
def place_order(wanted: dict[str, Any]) -> Response:
    """Place an order.

    A `reference` that another order of the merchant has is refused: `order_id` in the problem names that order.

    The order is stored before the response is sent, and paid as soon as the payment service can be reached.
    `Prefer: wait=N` waits for the outcome for up to N seconds, at most 10.
    """
    with _waiting() as (wait, headers):
        done = orders().place(idempotency.claim(), wanted, propagated_headers(), wait)
    headers["Location"] = f"/v1/orders/{done.row['id']}"
    return _answer(done, 201, headers)


def _waiting() -> AbstractContextManager[tuple[float, dict[str, str]]]:
    """Return how long this request may wait, in seconds, and the response headers that confirm it (RFC 7240)."""
    header = request.headers.get("Prefer")
    return _waiting_for(prefer.wait(header)) if header else nullcontext((0, {}))


@contextmanager
def _waiting_for(preferred: int | None) -> Iterator[tuple[float, dict[str, str]]]:
    with orders().waiting_room.enter(preferred or 0, g.merchant) as wait:
        yield wait, {"Preference-Applied": f"wait={preferred}"} if preferred == wait else {}


def _answer(done: Done, status: int, headers: dict[str, str]) -> Response:
    if done.replayed:
        headers["Idempotency-Replayed"] = "true"
    return answer(done.row["body"], status, version=done.row.get("version"), tagged=True, headers=headers)


@blueprint.post("/orders/<uuid:order_id>/payment-attempts")
@requires("orders:write")
@blueprint.arguments(change_schemas.NewAttempt)
@facts("order-state", "payment-limit", answers={202: _PENDING}, waits=True)
@blueprint.response(200, schemas.OrderView)
def create_payment_attempt(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Try again to have an order paid, after its payment has failed.

    The response is 202 while the payment is in progress.
    """
    with _waiting() as (wait, headers):
        method = wanted["payment_method"]
        done = orders().pay_again(idempotency.claim(), str(order_id), method, propagated_headers(), wait)
    return _answer(done, 202 if done.row["status"] == Status.PENDING_PAYMENT else 200, headers)


@blueprint.post("/orders/<uuid:order_id>/capture")
@requires("orders:write")
@blueprint.arguments(change_schemas.CaptureOrder)
@facts("order-state", "amount-exceeds-authorized", answers={200: {"capture": "manual"}, 202: _AUTHORIZED}, waits=True)
@blueprint.response(200, schemas.OrderView)
def capture_order(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Capture the payment of an authorized order (`capture: manual`): all of it or a part.

    The order is then `paid`, and the rest of the authorized amount is released. With `final: false`, the order stays
    `authorized` for further captures, and `paid_amount` is what is captured so far.
    The response is 202 while the capture is in progress.
    If the provider declines it, the order stays `authorized` and `last_error` says so.
    """
    amount, final = wanted.get("amount"), wanted["final"]
    if amount == 0 and not final:
        raise invalid("/final", "Must be true if the amount is 0, which releases the rest.")
    change = Release() if amount == 0 else Capture(amount, final)
    with _waiting() as (wait, headers):
        done = orders().capture(idempotency.claim(), str(order_id), change, propagated_headers(), wait)
    return _answer(done, 202 if done.row["capturing"] else 200, headers)


@blueprint.post("/orders/<uuid:order_id>/cancel")
@requires("orders:write")
@blueprint.arguments(schemas.Nothing)
@facts("order-state", answers={200: _CANCELED, 202: {"status": "canceling"}}, waits=True)
@blueprint.response(200, schemas.OrderView)
def cancel_order(_: dict[str, Any], order_id: UUID) -> Response:
    """Cancel an order and return its money.

    The response is 202 while the cancellation is in progress. If the provider declines to return the money, the order
    is `authorized` or `paid` again and `last_error` says so.
    """
    with _waiting() as (wait, headers):
        done = orders().cancel(idempotency.claim(), str(order_id), propagated_headers(), wait)
    return _answer(done, 202 if done.row["status"] == Status.CANCELING else 200, headers)


@blueprint.post("/orders/<uuid:order_id>/refunds")
@requires("orders:write")
@blueprint.arguments(change_schemas.CreateRefund)
@facts("order-state", "amount-exceeds-captured", "refund-limit", waits=True, tagged=True)
@blueprint.response(201, schemas.RefundView)
def create_refund(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Refund a paid order, completely or in part."""
    with _waiting() as (wait, headers):
        done = orders().refund(idempotency.claim(), str(order_id), wanted, propagated_headers(), wait)
    headers["Location"] = f"/v1/orders/{order_id}/refunds/{done.row['id']}"
    return _answer(done, 201, headers)


@blueprint.get("/orders/<uuid:order_id>/refunds")
@requires("orders:read")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, schemas.RefundList)
def list_refunds(query: dict[str, Any], order_id: UUID) -> Response:
    """List an order's refunds, newest first."""
    after = paging.after(query.get("cursor"))
    return paging.page(refunds().of_order(g.merchant, str(order_id), after, query["limit"]), query["limit"])


@blueprint.get("/orders/<uuid:order_id>/refunds/<uuid:refund_id>")
@requires("orders:read")
@blueprint.response(200, schemas.RefundView)
def get_refund(order_id: UUID, refund_id: UUID) -> Response:
    """Get a refund of an order."""
    return answer(refunds().get(g.merchant, str(order_id), str(refund_id))["body"])


@blueprint.get("/refunds")
@requires("orders:read")
@blueprint.arguments(schemas.ListRefunds, location="query")
@blueprint.response(200, schemas.RefundList)
def list_all_refunds(query: dict[str, Any]) -> Response:
    """List the refunds of all orders, newest first.

    `sort=created_at` lists the oldest first.
    """
    rows = refunds().find(g.merchant, query, paging.after_moment(query.get("cursor")))
    return paging.page(rows, query["limit"])


@blueprint.get("/orders/<uuid:order_id>")
@requires("orders:read")
@blueprint.response(200, schemas.OrderView)
def get_order(order_id: UUID) -> Response:
    """Get an order."""
    row = orders().get(g.merchant, str(order_id))
    return answer(row["body"], version=row["version"])


@blueprint.patch("/orders/<uuid:order_id>")
@requires("orders:write")
@blueprint.arguments(change_schemas.LabelOrder)
@facts(keyed=True)
@blueprint.response(200, schemas.OrderView)
def label_order(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Change the labels of an order, in any status.

    The members of `metadata` are set, or removed if they are null; the others stay (RFC 7396). A change is a new
    version of the order, with the event `order.updated`. A request that changes nothing makes no version.
    """
    claim = idempotency.claim(optional=True)
    return _answer(orders().label(claim, str(order_id), wanted["metadata"], propagated_headers()), 200, {})


@blueprint.get("/orders")
@requires("orders:read")
@blueprint.arguments(schemas.ListOrders, location="query")
@blueprint.response(200, schemas.OrderList)
def list_orders(query: dict[str, Any]) -> Response:
    """List orders, newest first.

    `sort=created_at` lists the oldest first. With `updated_after`, orders are listed by their last change, the oldest
    first.
    """
    if "sort" in query and "updated_after" in query:
        raise invalid("/sort", "Must be left out with updated_after, which lists by the last change.")
    rows = orders().find(g.merchant, query, paging.after_moment(query.get("cursor")))
    return paging.page(rows, query["limit"])


@blueprint.get("/orders/<uuid:order_id>/events")
@requires("orders:read")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, schemas.EventList)
def list_events(query: dict[str, Any], order_id: UUID) -> Response:
    """Get an order's history, oldest step first."""
    after = paging.after_number(query.get("cursor"))
    return paging.page(orders().history(g.merchant, str(order_id), after, query["limit"]), query["limit"])


@blueprint.post("/payment-events")
@facts(body=snapshots.PaymentEvent, signature=STANDARD_WEBHOOKS)
@blueprint.response(204)
def receive_payment_event() -> Response:
    """Receive an event of a payment from the payment service.

    It is signed as in Standard Webhooks. A duplicate or late event changes nothing.
    """
    data = parsing.read_body(request)
    if not signatures.is_genuine(service().settings.events_secrets, dict(request.headers), data):
        raise Problem("invalid-signature", "The event has no valid signature that is recent enough.")
    g.body = parsing.parse_json(data)
    try:
        event = _load_event(g.body)
    except ValidationError as error:
        raise parsing.not_valid(error, "Not a payment event.") from error
    g.merchant = event["merchant"]
    orders().receive_payment_event(
        event["merchant"], event["data"]["order_id"], answers.from_event(event), propagated_headers()
    )
    return Response(status=204)
