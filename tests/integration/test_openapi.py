"""The services behave as their OpenAPI documents say, checked with the documents' examples."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask

from order.webhooks.model import TEST
from tests.support.eventually import eventually
from tests.support.fixtures.per_module import databases, pair
from tests.support.openapi import Document, check, faults, operations, resolve
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY, READONLY_KEY
from tests.support.webhook_receiver import Receiver, path_of, register

__all__ = ["databases", "pair"]

# A permitted URL for webhooks where nothing listens.
SILENT = "http://127.0.0.1:1024/hooks"

# How the order or payment must be created for an operation's example to be valid.
BEFORE: dict[str, dict[str, Any]] = {
    "captureOrder": {"capture": "manual"},
    "createPaymentAttempt": {"payment_method": "pm_declined"},
    "capturePayment": {"capture": "manual"},
    "voidPayment": {"capture": "manual"},
}


class Described:
    """A running service and its OpenAPI document."""

    def __init__(self, client: Client, app: Flask) -> None:
        self.client, self.app = client, app
        self.document: Document = client.get("/openapi.json").json()
        self.operations = operations(self.document)

    def example(self, operation: str) -> Any:
        """Return the operation's example body, with new ids where the caller chooses them."""
        body = self.operations[operation][2].get("requestBody")
        example = copy.deepcopy(body["content"]["application/json"]["example"]) if body else None
        return self._with_new_ids(operation, example)

    def _with_new_ids(self, operation: str, example: Any) -> Any:
        own: dict[str, dict[str, Any]] = {
            "createPayment": {"order_id": str(uuid.uuid4())},
            "sketchCreatePayment": {"order_id": str(uuid.uuid4())},
            "sketchPlaceOrder": {"id": str(uuid.uuid4())},
            "createWebhookEndpoint": {"url": SILENT, "events": ["order.expired"]},
            "changeWebhookEndpoint": {"url": SILENT, "events": ["order.expired"]},
        }
        return {**example, **own[operation]} if operation in own else example

    def ask(self, operation: str, ids: dict[str, str], body: Any, **headers: str) -> requests.Response:
        """Send a request with a new idempotency key. More headers by name, `_` for `-`."""
        path, method, _ = self.operations[operation]
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", value)
        given = {"Idempotency-Key": str(uuid.uuid4()), **{name.replace("_", "-"): v for name, v in headers.items()}}
        return self.client_for(operation).request(method.upper(), path, json=body, headers=given)

    def client_for(self, operation: str) -> Client:
        """Return a client with a key for the operation: some need one that may act for any merchant."""
        any_merchant = operation.endswith("SimulatorFaults") or operation in ("carryOut", "listMerchants")
        return Client(self.client.url, INTERNAL_KEY) if any_merchant else self.client

    def ids(self, operation: str, **change: Any) -> dict[str, str]:
        """Create a resource for the operation from an example with `change`. Return the parameters of its path."""
        path = self.operations[operation][0]
        names = re.findall(r"{(\w+)}", path)
        if not names:
            return {}
        if path.startswith("/v1/webhook-endpoints"):
            return self._webhook_ids(names)
        maker = "sketchPlaceOrder" if operation.startswith("sketch") else self._maker
        change = change | BEFORE.get(operation, {}) if maker == self._maker else {}
        made = self.ask(maker, {}, {**self.example(maker), **change}, Prefer="wait=10")
        assert made.status_code == 201, made.text
        location = made.headers["Location"]
        eventually(
            lambda: self.client.get(location).json()["status"] not in ("processing", "pending_payment"), "settled"
        )
        ids = {names[0]: made.json()["id"]}
        if "refund_id" in names:
            ids["refund_id"] = self.ask("createRefund", ids, {"amount": 1}, Prefer="wait=10").json()["id"]
        return ids

    def _webhook_ids(self, names: list[str]) -> dict[str, str]:
        """Return the ids of an endpoint, which is reused: a merchant may have only twenty."""
        existing = self.ask("listWebhookEndpoints", {}, None).json()["data"]
        made = (
            existing[0]
            if existing
            else self.ask("createWebhookEndpoint", {}, self.example("createWebhookEndpoint")).json()
        )
        ids = {"webhook_endpoint_id": made["id"]}
        if "webhook_delivery_id" in names:
            ids["webhook_delivery_id"] = self.ask("sendTestEvent", ids, {}).json()["id"]
        return ids

    @property
    def _maker(self) -> str:
        return "placeOrder" if "placeOrder" in self.operations else "createPayment"

    @property
    def keyed(self) -> list[str]:
        """The operations that require an API key."""
        return [
            name for name, (_, _, says) in self.operations.items() if any("bearer" in kind for kind in says["security"])
        ]


@pytest.fixture(params=["order", "payment"])
def described(request: pytest.FixtureRequest, pair: Pair) -> Described:
    return Described(getattr(pair, request.param), getattr(pair, f"{request.param}_app"))


def test_every_route_and_method_is_documented(described: Described) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in described.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {(path, method) for path, method, _ in described.operations.values()}
    assert len(routes) > 12


def test_every_example_is_accepted_and_gets_a_documented_response(described: Described) -> None:
    for operation in described.keyed:
        answer = described.ask(operation, described.ids(operation), described.example(operation), Prefer="wait=10")
        assert answer.ok, (operation, answer.text)
        check(described.document, operation, answer)


def test_pending_actions_get_a_documented_response(described: Described) -> None:
    slow = {"payment_method": "pm_timeout_charged"}
    actions = [name for name in described.keyed if re.match("capture|cancel|void|createPaymentAttempt", name)]
    assert len(actions) >= 2
    for operation in actions:
        ids = described.ids(operation, **slow)
        example = described.example(operation)
        answer = described.ask(operation, ids, {**example, **slow} if "payment_method" in example else example)
        assert answer.status_code == 202, (operation, answer.text)
        check(described.document, operation, answer)


def test_errors_get_a_documented_response(described: Described) -> None:
    without_key = Client(described.client.url, None)
    reader = Client(described.client.url, READONLY_KEY)
    for operation in described.keyed:
        path, method, _ = described.operations[operation]
        client = described.client_for(operation)
        missing = re.sub(r"{\w+}", str(uuid.uuid4()), path)
        body = described.example(operation)
        key = {"Idempotency-Key": str(uuid.uuid4())}
        tried = {401: without_key.request(method.upper(), missing, json=body, headers=key)}
        if "{" in path:
            tried[404] = client.request(method.upper(), missing, json=body, headers=key)
        if method != "get":
            tried[403] = reader.request(method.upper(), missing, json=body, headers=key)
        if method == "post":
            tried[400] = client.request(method.upper(), missing, data=b"{", headers={**key, **JSON})
            tried[413] = client.request(method.upper(), missing, data=b" " * 300_000, headers={**key, **JSON})
            tried[415] = client.request(method.upper(), missing, data=b"a", headers={"Content-Type": "text/a"})
            tried[422] = client.request(method.upper(), missing, json={"none": 1}, headers=key)
        for status, answer in tried.items():
            assert answer.status_code == status, (operation, answer.text)
            check(described.document, operation, answer)


JSON = {"Content-Type": "application/json"}


def test_a_request_without_an_idempotency_key_is_refused_where_the_document_requires_one(described: Described) -> None:
    seen = {True: 0, False: 0}
    for operation in described.keyed:
        path, method, says = described.operations[operation]
        if method != "post":
            continue
        given = [resolve(described.document, parameter) for parameter in says["parameters"]]
        required = any(each["name"] == "Idempotency-Key" and each["required"] for each in given)
        missing, body = re.sub(r"{\w+}", str(uuid.uuid4()), path), described.example(operation)
        answer = described.client_for(operation).request("POST", missing, json=body)
        assert ("idempotency-key-missing" in answer.text) == required, (operation, answer.text)
        seen[required] += 1
    assert min(seen.values()) > 0


def test_an_unchanged_resource_gets_a_documented_304(described: Described) -> None:
    for operation in described.keyed:
        path, method, _ = described.operations[operation]
        if method == "get" and "{" in path:
            ids = described.ids(operation)
            answer = eventually(lambda: unchanged(described, operation, ids), "the resource no longer changes")  # noqa: B023
            assert answer is not None
            check(described.document, operation, answer)


def unchanged(described: Described, operation: str, ids: dict[str, str]) -> requests.Response | None:
    """Return the 304 response for a known ETag, or None if the resource changed in between."""
    known = described.ask(operation, ids, None).headers["ETag"]
    answer = described.ask(operation, ids, None, If_None_Match=known)
    return answer if answer.status_code == 304 else None


def variants(example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield variants of an example with one change each. Some of them are still valid."""
    for name in example:
        yield {key: value for key, value in example.items() if key != name}
        values = [
            None,
            "",
            "a\x00b",
            "a\nb",
            "a\x7f",
            "a\x9fb",
            "line\n",
            "é ü 😀",
            "x" * 41,
            "x" * 101,
            "x" * 501,
            0,
            -1,
        ]
        for value in [*values, 1, 10**6, 2**31, 2**63 - 1, 2**63, -(2**70), True, [], {}, {"a": 1}, {"a": ""}, ["a"]]:
            yield {**example, name: value}
        if isinstance(example[name], dict):
            yield {**example, name: {"k" * 41: "v"}}
            yield {**example, name: {"": "v"}}
            yield {**example, name: {"a\x00": "v"}}
            yield {**example, name: {str(number): "v" for number in range(51)}}
        if isinstance(example[name], list) and isinstance(example[name][0], dict):
            for inner in variants(example[name][0]):
                yield {**example, name: [inner]}
            yield {**example, name: example[name] * 101}
    yield {**example, "none": 1}


def test_validation_rejects_exactly_what_the_schema_rejects(described: Described) -> None:
    counted = {True: 0, False: 0}
    for operation in described.keyed:
        says = described.operations[operation][2]
        if "requestBody" not in says or "sketch" in operation:
            continue
        schema = says["requestBody"]["content"]["application/json"]["schema"]
        missing = {name: str(uuid.uuid4()) for name in re.findall(r"{(\w+)}", described.operations[operation][0])}
        for body in variants(described.example(operation)):
            fits = faults(described.document, schema, body) == []
            if fits and (
                (operation == "placeOrder" and total(body) > 2**63 - 1)
                or (operation == "createWebhookEndpoint" and body["url"] != SILENT)
            ):
                continue  # rules that are documented as text, not in the schema
            answer = described.ask(operation, missing, body)
            if operation == "createWebhookEndpoint" and answer.status_code == 201:
                described.ask("deleteWebhookEndpoint", {"webhook_endpoint_id": answer.json()["id"]}, None)
            if operation == "setSimulatorFaults" and answer.ok:
                described.ask(operation, {}, {})
            assert (answer.status_code != 422) == fits, (operation, body, answer.text)
            counted[fits] += 1
    assert min(counted.values()) > 10


def total(order: dict[str, Any]) -> int:
    return sum(int(item["quantity"] * item["unit_amount"]) for item in order["items"])


def test_a_payment_without_amount_gets_a_documented_response(pair: Pair) -> None:
    document = pair.payment.get("/openapi.json").json()
    for amount in (0, -100.5):
        order_id = str(uuid.uuid4())
        assert pair.payment.post("/payments", {"order_id": order_id, "amount": amount}).json() == {"status": "failed"}
        check(document, "listPayments", pair.payment.get(f"/v1/payments?order_id={order_id}"))


def test_a_path_with_other_characters_than_ascii_is_escaped_in_the_problem(pair: Pair) -> None:
    missing = refused(pair.order.get("/v1/orders/é ü\x01?😀"), 404, "not-found")
    assert missing["instance"] == "/v1/orders/%C3%A9%20%C3%BC%01"


def test_a_wrong_version_gets_a_documented_412(described: Described) -> None:
    changing = [name for name in described.keyed if "412" in described.operations[name][2]["responses"]]
    assert len(changing) >= 3
    for operation in changing:
        parameters = [resolve(described.document, given) for given in described.operations[operation][2]["parameters"]]
        assert "If-Match" in {parameter["name"] for parameter in parameters}
        answer = described.ask(operation, described.ids(operation), described.example(operation), If_Match='"999"')
        refused(answer, 412, "precondition-failed")
        check(described.document, operation, answer)


@pytest.mark.parametrize(
    "cursor", ["", "0", "A" * 21, "A" * 23, "A" * 31, "A" * 33, "!" * 22, "A" * 22 + "\n", "é" * 22]
)
def test_cursors_must_match_the_documented_pattern(described: Described, cursor: str) -> None:
    seen = 0
    for operation in described.keyed:
        path, _, says = described.operations[operation]
        for parameter in says["parameters"]:
            if parameter.get("name") == "cursor":
                for name, value in described.ids(operation).items():
                    path = path.replace(f"{{{name}}}", value)
                assert faults(described.document, parameter["schema"], cursor) != []
                client = described.client_for(operation)
                refused(client.get(path, params={"cursor": cursor}), 422, "validation", "/cursor")
                pattern = parameter["schema"]["pattern"]
                valid = "61" if "{1,64}" in pattern else "A" * (32 if "{30}" in pattern else 22)  # by name, time or id
                assert faults(described.document, parameter["schema"], valid) == []
                assert client.get(path, params={"cursor": valid}).status_code == 200
                seen += 1
    assert seen >= 2


def test_an_unknown_query_parameter_gets_a_documented_422(described: Described) -> None:
    for operation in described.keyed:
        path, method, _ = described.operations[operation]
        path = re.sub(r"{\w+}", str(uuid.uuid4()), path) + "?nonsense=1"
        client = described.client_for(operation)
        answer = client.request(method.upper(), path, json=described.example(operation))
        refused(answer, 422, "validation", "/nonsense")
        check(described.document, operation, answer)


def test_webhooks_have_the_documented_form(pair: Pair) -> None:
    wanted = {"order.placed", "order.paid", "order.payment_failed", "order.canceled", "refund.succeeded", TEST}
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url)
        for body in (ORDER, {**ORDER, "payment_method": "pm_declined"}, {**ORDER, "capture": "manual"}):
            path = pair.order.post("/v1/orders", body, Prefer="wait=10").headers["Location"]
            pair.order.post(f"{path}/refunds", {"amount": 1}, Prefer="wait=10")
            pair.order.post(f"{path}/cancel", Prefer="wait=10")
        pair.order.post(f"{path_of(endpoint)}/test")
        eventually(lambda: wanted <= set(receiver.types()), "all webhooks are received")
        pair.order.request("DELETE", path_of(endpoint))
        received = list(receiver.received)
    document = pair.order.get("/webhooks.json").json()
    for message in received:
        says = document["webhooks"][message.event["type"]]["post"]
        schema = says["requestBody"]["content"]["application/json"]["schema"]
        assert faults(document, schema, message.event, closed=True) == []
        for parameter in (resolve(document, given) for given in says["parameters"]):
            assert faults(document, parameter["schema"], message.headers[parameter["name"]]) == []


def test_payment_s_events_have_the_documented_form(pair: Pair) -> None:
    for change in ({}, {"payment_method": "pm_declined"}, {"capture": "manual"}):
        placed = pair.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=10")
        assert placed.status_code == 201
    documents = {"payment": pair.payment.get("/webhooks.json").json(), "order": pair.order.get("/openapi.json").json()}
    sent = pair.databases.query("payment", "SELECT payload FROM outbox WHERE topic = 'payment.updated'")
    assert len(sent) >= 3
    event = documents["payment"]["webhooks"]["payment.updated"]["post"]["requestBody"]
    accepted = operations(documents["order"])["receivePaymentEvent"][2]["requestBody"]
    for row in sent:
        for name, body, closed in (("payment", event, True), ("order", accepted, False)):
            schema = resolve(documents[name], body["content"]["application/json"]["schema"])
            assert faults(documents[name], schema, row["payload"], closed=closed) == []
