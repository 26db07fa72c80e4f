"""The order service's HTTP API, version 1."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, g, request
from marshmallow import ValidationError

from chassis import idempotency, logs, prefer, webhooks, wire
from chassis.auth import requires
from chassis.problems import Problem
from chassis.web import answer, onward, service
from order import gateway, schemas
from order.service import Orders

log = logs.get_logger()

blueprint = wire.Blueprint("orders", __name__, url_prefix="/v1", description="Orders and their history")


def orders() -> Orders:
    """The use cases, on this application's database."""
    found: Orders = service().parts["orders"]
    return found


@blueprint.post("/orders")
@requires("orders:write")
@blueprint.arguments(schemas.PlaceOrder)
@blueprint.response(201, schemas.OrderView)
def place_order(wanted: dict[str, Any]) -> Response:
    """Place an order.

    It is stored before it is answered, and paid as soon as the payment service can be reached.
    `Prefer: wait=N` waits up to N seconds (10 at most) for the outcome.
    """
    preferred = prefer.wait(request.headers.get("Prefer"))
    with orders().room_to_wait(preferred or 0) as wait:
        placed = orders().place(idempotency.claim(), wanted, onward(), wait)
    headers = {"Location": f"/v1/orders/{placed.id}"}
    if preferred == wait:
        headers["Preference-Applied"] = f"wait={preferred}"
    if placed.replayed:
        headers["Idempotency-Replayed"] = "true"
    return answer(placed.row["body"], 201, version=placed.row["version"], headers=headers)


@blueprint.get("/orders/<uuid:order_id>")
@requires("orders:read")
@blueprint.response(200, schemas.OrderView)
def get_order(order_id: UUID) -> Response:
    """Show an order."""
    row = orders().get(g.merchant, str(order_id))
    return answer(row["body"], version=row["version"])


@blueprint.get("/orders/<uuid:order_id>/events")
@requires("orders:read")
@blueprint.response(200, schemas.EventList)
def list_events(order_id: UUID) -> Response:
    """Show an order's history, oldest first."""
    return answer(orders().history(g.merchant, str(order_id)))


@blueprint.post("/payment-events")
@blueprint.doc(security=[])
@blueprint.response(204)
def receive_payment_event() -> Response:
    """Take a payment's newest state from the payment service; signed as Standard Webhooks says."""
    data = request.get_data()
    if not webhooks.is_genuine(service().settings.events_secrets, dict(request.headers), data):
        raise Problem("invalid-signature", "No signature of this event is valid and fresh.")
    g.body = wire.parse_json(data)
    try:
        event = schemas.PaymentEvent().load(g.body)
    except ValidationError as error:
        raise Problem("validation", "Not a payment event.", errors=wire.pointers(error.messages)) from error
    g.merchant = event["merchant"]
    if not orders().apply_event(event["merchant"], event["data"]["order_id"], gateway.snapshot(event["data"])):
        log.info("payment_event_without_order", order_id=event["data"]["order_id"])
    return Response(status=204)
