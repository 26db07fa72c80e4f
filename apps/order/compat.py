"""The original sketch's API for orders, kept working: two calls, and the order's id as its idempotency key."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

from flask import Response, g

from chassis import money
from chassis.auth.keyring import requires
from chassis.http import parsing
from chassis.http.answers import answer
from chassis.http.problems import invalid
from chassis.openapi import document as openapi
from chassis.service import propagated_headers, service
from order import schemas
from order.api import orders

blueprint = parsing.Blueprint("sketch", __name__, description="The original sketch's API")


@blueprint.post("/orders")
@requires("orders:write")
@blueprint.arguments(schemas.SketchOrder)
@openapi.facts("order-exists", "idempotency-key-in-use")
@blueprint.response(201, schemas.SketchOrder)
def place_order(wanted: dict[str, Any]) -> Response:
    """Place an order under an id of your own; repeating it answers as before."""
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
    """Show an order as the sketch did."""
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


def _body(order_id: str, items: list[str], total: int, currency: str, status: str | None = None) -> str:
    # Put together by hand in one place: the total is an exact decimal, which json would make a float.
    ending = f', "status": {json.dumps(status)}' if status else ""
    amount = money.to_major(total, currency)
    return f'{{"id": "{order_id}", "items": {json.dumps(items)}, "total": {amount:f}{ending}}}'
