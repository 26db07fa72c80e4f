"""Every route, with another merchant's key: what a merchant owns is 404 to the others, and listed to none of them.

A new route fails here until it is classified below.
"""

from __future__ import annotations

import re
import uuid
from itertools import product
from typing import Any

import pytest
from flask import Flask

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import OTHER_KEY
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.adversarial

BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/orders/<order_id>": {"metadata": {"stolen": "yes"}},
    "POST /v1/orders/<order_id>/payment-attempts": {"payment_method": "pm_ok"},
    "POST /v1/orders/<order_id>/refunds": {"amount": 1},
    "PATCH /v1/webhook-endpoints/<webhook_endpoint_id>": {"description": "stolen"},
    "POST /v1/webhook-endpoints/<webhook_endpoint_id>/redeliver": {"since": "2020-01-01T00:00:00Z"},
    "POST /v1/payments/<payment_id>/refunds": {"amount": 1},
}
"""The bodies of requests that need one. The others are {}."""

WITHOUT_OWNER = {
    "order": {
        "POST /v1/orders": "makes a new order of the caller",
        "POST /orders": "makes a new order of the caller",
        "POST /v1/webhook-endpoints": "makes a new endpoint of the caller",
        "POST /v1/payment-events": "needs a signature of payment, which names the merchant",
    },
    "payment": {
        "POST /v1/payments": "makes a new payment of the caller",
        "POST /payments": "makes a new payment of the caller",
        "POST /v1/commands": "needs a key for any merchant",
        "GET /v1/merchants": "needs a key for any merchant",
        "POST /v1/provider-events/<provider>": "needs a signature of the provider, and is only a hint",
        "GET /v1/simulator/faults": "belongs to the simulated provider",
        "PUT /v1/simulator/faults": "belongs to the simulated provider",
    },
}
"""The routes of the API that name nothing of a merchant, and why."""

LISTS = {
    "order": {"GET /v1/orders", "GET /v1/refunds", "GET /v1/events", "GET /v1/webhook-endpoints"},
    "payment": {"GET /v1/payments", "GET /v1/ledger/balances", "GET /v1/ledger/entries"},
}
PUBLIC = re.compile(r"/(openapi\.json|webhooks\.json|docs|problems|livez|readyz)?($|[/.].*)")


def routes(app: Flask) -> set[str]:
    """Return the routes of the API as METHOD and path; names of ids in pointed brackets, without their type."""
    return {
        f"{method} {re.sub(r'<(?:[^:>]+:)?', '<', rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1") or not PUBLIC.fullmatch(rule.rule)
    }


def of_one(app: Flask) -> list[str]:
    """Return the routes of one resource: those that name an id. What deletes comes last."""
    named = {each for each in routes(app) if "<" in each} - WITHOUT_OWNER[app.name].keys()
    return sorted(named, key=lambda each: (each.startswith("DELETE"), each))


def own(client: Client, payments: Client, receiver: str) -> dict[str, str]:
    """Make one of everything that has an id. Returns the ids, by their names in routes."""
    order = client.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert order["status"] == "paid", order
    refund = client.post(f"/v1/orders/{order['id']}/refunds", {"amount": 1}, Prefer="wait=10").json()
    registered = client.post("/v1/webhook-endpoints", {"url": receiver})
    assert registered.status_code == 201, registered.text
    endpoint = registered.json()
    delivery = client.post(f"/v1/webhook-endpoints/{endpoint['id']}/test").json()
    payment = eventually(
        lambda: payments.get("/v1/payments", params={"order_id": order["id"]}).json()["data"], "payment has it"
    )[0]
    return {
        "order_id": order["id"],
        "refund_id": refund["id"],
        "webhook_endpoint_id": endpoint["id"],
        "webhook_delivery_id": delivery["id"],
        "payment_id": payment["id"],
    }


def call(client: Client, route: str, ids: dict[str, str]) -> Any:
    method, path = route.split(" ")
    where = re.sub("<([a-z_]+)>", lambda match: ids[match[1]], path)
    if method == "GET":
        return client.get(where)
    return client.request(method, where, json=BODIES.get(route, {}), headers={"Idempotency-Key": str(uuid.uuid4())})


def pages(client: Client, service: str) -> dict[str, Any]:
    return {route: client.get(route.split(" ")[1]).json()["data"] for route in LISTS[service]}


def test_every_route_is_classified(pair: Pair) -> None:
    for app in (pair.order_app, pair.payment_app):
        known = {*of_one(app), *WITHOUT_OWNER[app.name], *LISTS[app.name]}
        assert routes(app) == known
        assert BODIES.keys() <= {*of_one(pair.order_app), *of_one(pair.payment_app)}


def test_what_belongs_to_a_merchant_is_404_to_another_and_listed_nowhere(pair: Pair) -> None:
    others = {"order": Client(pair.order.url, OTHER_KEY), "payment": Client(pair.payment.url, OTHER_KEY)}
    with Receiver() as receiver:
        theirs = own(others["order"], others["payment"], receiver.url)
        mine = own(pair.order, pair.payment, receiver.url)
    for service, app in (("order", pair.order_app), ("payment", pair.payment_app)):
        owner: Client = getattr(pair, service)
        for route in of_one(app):
            names = re.findall("<([a-z_]+)>", route)
            # All ids are the owner's, and each of them together with ids of the other merchant.
            for chosen in product((mine, theirs), repeat=len(names)):
                ids = {name: of[name] for name, of in zip(names, chosen, strict=True)}
                if mine in chosen:
                    response = call(others[service], route, ids)
                    assert response.status_code == 404, (route, ids, response.text)
                    assert response.json()["type"].endswith("-not-found"), (route, response.text)
        for route, page in pages(others[service], service).items():
            assert not [each for each in mine.values() if each in str(page)], route
        for path in ("/v1/orders/{order_id}", "/v1/webhook-endpoints/{webhook_endpoint_id}"):
            if service == "order":
                assert "stolen" not in owner.get(path.format(**mine)).text
        for route in of_one(app):  # the routes exist for the owner
            response = call(owner, route, mine)
            assert response.status_code != 404, (route, response.text)
