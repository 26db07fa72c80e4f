"""Within v1 nothing breaks: the documents are compared with those of the last release (docs/api-stability.md)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from ci import compatibility
from ci.generate import openapi

ORDERS = json.loads((compatibility.RELEASED / "order.json").read_text())


@pytest.mark.parametrize("service", ["order", "payment"])
def test_the_current_document_breaks_nothing_of_the_last_release(service: str) -> None:
    released = json.loads((compatibility.RELEASED / f"{service}.json").read_text())
    current = json.loads((openapi.FOLDER / f"{service}.json").read_text())
    webhooks = json.loads((openapi.FOLDER / f"{service}-webhooks.json").read_text())
    # Until 0.2, one document had both.
    current["webhooks"] = webhooks["webhooks"]
    for kind, members in webhooks["components"].items():
        current["components"][kind] = {**members, **current["components"].get(kind, {})}
    assert compatibility.breaking(released, current) == []


def schemas(document: Any) -> Any:
    return document["components"]["schemas"]


def place(document: Any) -> Any:
    return document["paths"]["/v1/orders"]["post"]


def listing(document: Any, name: str) -> Any:
    (found,) = (each for each in document["paths"]["/v1/orders"]["get"]["parameters"] if each.get("name") == name)
    return found


def is_open(document: Any) -> None:
    """Make the status of an order an open string."""
    schemas(document)["OrderView"]["properties"]["status"] = {"type": "string"}


BREAKING: dict[str, tuple[Callable[[Any], object], str]] = {
    "a path": (lambda d: d["paths"].pop("/v1/orders/{order_id}/cancel"), "POST /v1/orders/{order_id}/cancel: removed"),
    "a method": (lambda d: d["paths"]["/v1/orders"].pop("get"), "GET /v1/orders: removed"),
    "a member of a response": (lambda d: schemas(d)["OrderView"]["properties"].pop("customer"), "/customer: removed"),
    "a member that may be missing": (
        lambda d: schemas(d)["OrderView"]["required"].remove("status"),
        "no longer always",
    ),
    "another type in a response": (
        lambda d: schemas(d)["OrderView"]["properties"]["total_amount"].update(type="string"),
        "/total_amount: the type was integer and is string",
    ),
    "null in a response": (
        lambda d: schemas(d)["OrderView"]["properties"]["total_amount"].update(type=["integer", "null"]),
        "/total_amount: the type was integer and is null",
    ),
    "another format in a response": (
        lambda d: schemas(d)["OrderView"]["properties"]["created_at"].pop("format"),
        "/created_at: format was date-time",
    ),
    "a status code": (
        lambda d: place(d)["responses"].update({"200": place(d)["responses"].pop("201")}),
        "201: removed",
    ),
    "a header of a response": (lambda d: place(d)["responses"]["201"]["headers"].pop("Location"), "Location: removed"),
    "a member of a request": (lambda d: schemas(d)["PlaceOrder"]["properties"].pop("customer"), "/customer: removed"),
    "a required member": (lambda d: schemas(d)["PlaceOrder"]["required"].append("customer"), "/customer: now required"),
    "a value of an enum": (
        lambda d: schemas(d)["PlaceOrder"]["properties"]["capture"]["enum"].remove("manual"),
        "/capture: no longer accepts",
    ),
    "a new enum": (
        lambda d: schemas(d)["PlaceOrder"]["properties"]["customer"].update(enum=["a"]),
        "/customer: no longer accepts",
    ),
    "a lower maximum": (
        lambda d: schemas(d)["Item"]["properties"]["quantity"].update(maximum=10),
        "items: /quantity: maximum was 1000000 and is 10",
    ),
    "a higher minimum": (
        lambda d: schemas(d)["Item"]["properties"]["unit_amount"].update(minimum=1),
        "/unit_amount: minimum was 0 and is 1",
    ),
    "a shorter text": (
        lambda d: schemas(d)["PlaceOrder"]["properties"]["customer"].update(maxLength=9),
        "/customer: maxLength was 100 and is 9",
    ),
    "fewer items": (lambda d: schemas(d)["PlaceOrder"]["properties"]["items"].update(maxItems=9), "maxItems was 100"),
    "another pattern": (
        lambda d: schemas(d)["PlaceOrder"]["properties"]["customer"].update(pattern="^[a-z]$"),
        "/customer: pattern was",
    ),
    "another type in a request": (
        lambda d: schemas(d)["Item"]["properties"]["quantity"].update(type="string"),
        "/quantity: the type was integer and is string",
    ),
    "shorter labels": (
        lambda d: schemas(d)["PlaceOrder"]["properties"]["metadata"]["additionalProperties"].update(maxLength=9),
        "/metadata: additionalProperties: maxLength was 500 and is 9",
    ),
    "a required body": (
        lambda d: d["paths"]["/v1/orders/{order_id}/cancel"]["post"]["requestBody"].update(required=True),
        "the body is now required",
    ),
    "a parameter": (
        lambda d: d["paths"]["/v1/orders"]["get"]["parameters"].remove(listing(d, "customer")),
        "query parameter customer: removed",
    ),
    "a required parameter": (lambda d: listing(d, "customer").update(required=True), "customer: now required"),
    "a new required parameter": (
        lambda d: place(d)["parameters"].append(
            {"name": "X", "in": "header", "required": True, "schema": {"type": "string"}}
        ),
        "header parameter X: new and required",
    ),
    "a value of a parameter": (lambda d: listing(d, "status")["schema"]["enum"].remove("paid"), "accepts ['\"paid\"']"),
    "a key": (lambda d: d["paths"]["/livez"]["get"].update(security=[{"bearer": []}]), "/livez: now needs a key"),
    "another scope": (
        lambda d: place(d).update(security=[{"bearer": ["orders:place"]}]),
        "POST /v1/orders: no longer allowed with",
    ),
    "a webhook": (lambda d: d["webhooks"].pop("order.paid"), "webhook order.paid: removed"),
    "a member of a webhook": (lambda d: schemas(d)["OrderEvent"]["properties"].pop("timestamp"), "webhook order.paid"),
}


@pytest.mark.parametrize(("change", "found"), BREAKING.values(), ids=BREAKING)
def test_a_breaking_change_is_found(change: Callable[[Any], object], found: str) -> None:
    document = copy.deepcopy(ORDERS)
    change(document)
    assert any(found in each for each in compatibility.breaking(ORDERS, document))


COMPATIBLE: dict[str, Callable[[Any], object]] = {
    "a path": lambda d: d["paths"].update({"/v1/new": {"post": place(d)}}),
    "an optional member of a request": lambda d: schemas(d)["PlaceOrder"]["properties"].update(a={"type": "string"}),
    "a member of a response": lambda d: schemas(d)["OrderView"]["properties"].update(a={"type": "string"}),
    "a value of a response": lambda d: schemas(d)["OrderView"]["properties"]["status"]["enum"].append("new"),
    "an open string in a response": is_open,
    "a value of a request": lambda d: schemas(d)["PlaceOrder"]["properties"]["capture"]["enum"].append("later"),
    "a wider limit": lambda d: schemas(d)["PlaceOrder"]["properties"]["customer"].update(maxLength=200),
    "no pattern": lambda d: schemas(d)["PlaceOrder"]["properties"]["customer"].pop("pattern"),
    "no longer required": lambda d: schemas(d)["PlaceOrder"]["required"].remove("currency"),
    "a list of a parameter": lambda d: listing(d, "status").update(
        schema={"type": "array", "items": listing(d, "status")["schema"]}, style="form", explode=False
    ),
    "an optional parameter": lambda d: d["paths"]["/v1/orders"]["get"]["parameters"].append(
        {"name": "sort", "in": "query", "schema": {"type": "string"}}
    ),
    "a problem": lambda d: place(d)["responses"].update({"418": {"description": "A teapot"}}),
    "another text": lambda d: place(d).update(summary="Another text", description="Another text"),
}


@pytest.mark.parametrize("change", COMPATIBLE.values(), ids=COMPATIBLE)
def test_an_addition_is_no_breaking_change(change: Callable[[Any], object]) -> None:
    document = copy.deepcopy(ORDERS)
    change(document)
    assert document != ORDERS
    assert compatibility.breaking(ORDERS, document) == []
