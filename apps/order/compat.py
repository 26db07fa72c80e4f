"""The original sketch's API for orders, which is still supported: the order's id is the idempotency key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from flask import Response, g

from chassis import money
from chassis.auth.keyring import requires
from chassis.http.answers import answer, to_json
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.http.problems import invalid
from chassis.service import propagated_headers, service
from order import schemas
from order.api import orders

blueprint = Blueprint("sketch", __name__, description="The original sketch's API")


@blueprint.post("/orders")
@requires("orders:write")
@blueprint.arguments(schemas.SketchOrder)
@facts("order-exists", "idempotency-key-in-use")
@blueprint.response(201, schemas.SketchOrder)
def place_order(wanted: dict[str, Any]) -> Response:
    """Place an order with an id that the caller chooses.

    A retry with the same content gets the same response.
    """
    settings = service().settings
    order = {
        "items": [
            {"sku": None, "name": name, "quantity": 1, "unit_amount": None, "amount": None} for name in wanted["items"]
        ],
        "total_amount": _minor(wanted["total"], settings.default_currency),
        "currency": settings.default_currency,
        "payment_method": settings.default_payment_method,
    }
    orders().place_by_id(g.merchant, wanted["id"], order, propagated_headers())
    body = _body(wanted["id"], wanted["items"], order["total_amount"], order["currency"])
    return answer(body, 201, headers={"Location": f"/orders/{wanted['id']}"})


@blueprint.get("/orders/<uuid:order_id>")
@requires("orders:read")
@blueprint.response(200, schemas.SketchOrderView)
def get_order(order_id: UUID) -> Response:
    """Get an order as the sketch shows it."""
    row = orders().sketch(g.merchant, str(order_id))
    names = [item["name"] or item["sku"] for item in row["items"]]
    return answer(_body(str(order_id), names, row["total_amount"], row["currency"], row["status"]))


def _minor(total: Decimal, currency: str) -> int:
    try:
        amount = money.to_minor(total, currency)
    except ValueError as error:
        raise invalid("/total", f"The total {error}.") from error
    if amount < 0:
        raise invalid("/total", "The total must not be negative.")
    return amount


def _body(order_id: str, items: list[str], total: int, currency: str, status: str | None = None) -> bytes:
    # The total is inserted as text because it is an exact decimal, which orjson can only write as a float.
    start = to_json({"id": order_id, "items": items}).removesuffix(b"}")
    end = b',"status":' + to_json(status) if status else b""
    return start + f',"total":{money.to_major(total, currency):f}'.encode() + end + b"}"
