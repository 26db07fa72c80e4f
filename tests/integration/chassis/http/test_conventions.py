"""HTTP for every resource: HEAD, OPTIONS, validators, queries, and the headers of all responses."""

from __future__ import annotations

import re
import uuid
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from tests.support.pair import ORDER, Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused, send

PATHS = {
    "order": [
        *("/v1/orders", "/v1/orders/{}", "/v1/orders/{}/events", "/v1/orders/{}/refunds", "/v1/refunds", "/orders/{}"),
        *("/problems", "/problems/validation", "/problems.css", "/openapi.json", "/livez", "/readyz"),
    ],
    "payment": [
        *("/v1/payments", "/v1/payments/{}", "/v1/payments/{}/refunds", "/v1/payments/{}/operations"),
        *("/v1/payments/{}/provider", "/v1/ledger/balances", "/v1/ledger/entries"),
        *("/problems", "/problems/validation", "/problems.css", "/openapi.json", "/livez", "/readyz"),
    ],
}
ALL = [(service, path) for service, paths in PATHS.items() for path in paths]
OWN = [(service, path) for service, path in ALL if path.startswith(("/v1", "/orders"))]
LISTS = ("/events", "/refunds", "/operations")
WITHOUT_QUERY = [(service, path) for service, path in OWN if "{}" in path and not path.endswith(LISTS)]


@pytest.fixture(scope="module")
def made(pair: Pair) -> dict[str, str]:
    """Return the id of a resource of each service."""
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    return {"order": order["id"], "payment": order["payment"]["id"]}


def find(pair: Pair, made: dict[str, str], service: str, path: str) -> tuple[Client, str]:
    return getattr(pair, service), path.format(made[service])


def any_of(path: str) -> str:
    """Return the path with ids of resources that do not exist."""
    return path.format(*(uuid.uuid4() for _ in range(path.count("{}"))))


def rules(app: Flask) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        found.setdefault(re.sub(r"<[^>]+>", "{}", rule.rule), set()).update(rule.methods or ())
    return found


def test_the_lists_of_paths_below_are_complete(pair: Pair) -> None:
    for service, app in (("order", pair.order_app), ("payment", pair.payment_app)):
        readable = {path for path, methods in rules(app).items() if "GET" in methods}
        assert set(PATHS[service]) - {"/problems/validation"} <= readable


@pytest.mark.parametrize(("service", "path"), ALL)
def test_head_has_the_headers_of_get_and_no_body(pair: Pair, made: dict[str, str], service: str, path: str) -> None:
    client, where = find(pair, made, service, path)
    head, get = client.request("HEAD", where), client.get(where)
    assert (head.status_code, head.content, get.status_code) == (200, b"", 200)
    differ = {"Date", "X-Request-Id", *(["Content-Length", "ETag"] if path == "/readyz" else [])}
    assert {n: v for n, v in head.headers.items() if n not in differ} == {
        n: v for n, v in get.headers.items() if n not in differ
    }
    assert path == "/readyz" or int(head.headers["Content-Length"]) == int(get.headers["Content-Length"]) > 0


@pytest.mark.parametrize(("service", "path"), OWN)
def test_an_unchanged_resource_is_304_with_the_same_headers(
    pair: Pair, made: dict[str, str], service: str, path: str
) -> None:
    client, where = find(pair, made, service, path)
    first = client.get(where)
    for method in ("GET", "HEAD"):
        for tag in (first.headers["ETag"], "W/" + first.headers["ETag"], f'"x", {first.headers["ETag"]}', "*"):
            again = client.request(method, where, headers={"If-None-Match": tag})
            assert (again.status_code, again.content) == (304, b"")
            for name in ("ETag", "Cache-Control", "Vary", "X-Content-Type-Options"):
                assert again.headers[name] == first.headers[name]
            assert uuid.UUID(again.headers["X-Request-Id"])
    assert client.get(where, headers={"If-None-Match": '"x"'}).json() == first.json()


def test_options_lists_the_methods_without_a_key(pair: Pair) -> None:
    for service, app in (("order", pair.order_app), ("payment", pair.payment_app)):
        stranger = Client(getattr(pair, service).url, None)
        for path, methods in rules(app).items():
            answer = stranger.request(
                "OPTIONS",
                any_of(path),
                headers={"Origin": "https://a.example"},
            )
            assert (answer.status_code, answer.content) == (204, b""), path
            assert set(answer.headers["Allow"].split(", ")) == methods | {"OPTIONS"}
            assert "Content-Type" not in answer.headers
            assert not any(name.startswith("Access-Control") for name in answer.headers)
            assert answer.headers["X-Request-Id"]
    refused(Client(pair.order.url, None).request("OPTIONS", "/nowhere"), 404, "not-found")


def test_an_unsupported_method_is_405_and_lists_the_supported_ones(pair: Pair) -> None:
    for service, app in (("order", pair.order_app), ("payment", pair.payment_app)):
        client = getattr(pair, service)
        for path, methods in rules(app).items():
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
                answer = client.request(method, any_of(path))
                refused(answer, 405, "method-not-allowed")
                assert set(answer.headers["Allow"].split(", ")) == methods | {"OPTIONS"}


@pytest.mark.parametrize(("service", "path"), WITHOUT_QUERY)
def test_an_unexpected_query_is_422(pair: Pair, made: dict[str, str], service: str, path: str) -> None:
    client, where = find(pair, made, service, path)
    for method in ("GET", "HEAD"):
        assert client.request(method, where + "?limit=1").status_code == 422
    refused(client.get(where + "?limit=1&x=2"), 422, "validation", "/limit", "/x")
    refused(client.get(where + "?expand"), 422, "validation", "/expand")
    assert [client.get(where + query).status_code for query in ("?", "?&", "?&&")] == [200, 200, 200]  # no parameter
    refused(client.get(where + "?%ff"), 400, "malformed-request")
    refused(client.get(where + "?a=%ed%a0%80"), 400, "malformed-request")
    refused(client.get(where + "?a=%00"), 422, "validation", "/a")


def test_a_query_on_a_post_is_422_and_changes_nothing(pair: Pair, made: dict[str, str]) -> None:
    key = str(uuid.uuid4())
    for client, path, body in (
        (pair.order, "/v1/orders", ORDER),
        (pair.order, f"/v1/orders/{made['order']}/cancel", None),
        (pair.order, f"/v1/orders/{made['order']}/refunds", {"amount": 1}),
        (pair.order, "/orders", {"id": str(uuid.uuid4()), "items": ["tea"], "total": 9}),
        (pair.payment, "/v1/payments", wanted()),
        (pair.payment, f"/v1/payments/{made['payment']}/refunds", {"amount": 1}),
        (pair.payment, "/payments", {"order_id": str(uuid.uuid4()), "amount": 9}),
    ):
        refused(client.post(path + "?dry_run=true", body, key), 422, "validation", "/dry_run")
    assert pair.order.get(f"/v1/orders/{made['order']}").json()["status"] == "paid"
    assert pair.databases.query("order", "SELECT FROM idempotency_keys WHERE key = %s", key) == []


@pytest.mark.parametrize("accept", ["application/json", "text/html", "application/xml;q=1", "image/*", "*/*;q=0", "-"])
def test_the_response_is_json_whatever_accept_says(pair: Pair, made: dict[str, str], accept: str) -> None:
    found = pair.order.get(f"/v1/orders/{made['order']}", headers={"Accept": accept})
    assert (found.status_code, found.headers["Content-Type"]) == (200, "application/json")
    refused(pair.order.get(f"/v1/orders/{uuid.uuid4()}", headers={"Accept": accept}), 404, "order-not-found")


@pytest.mark.parametrize(
    "path", ["/v1//orders", "/v1/orders/", "/v1/orders//", "/V1/orders", "/v1/./orders", "/v1/orders;x"]
)
def test_a_path_has_one_spelling(pair: Pair, path: str) -> None:
    session = requests.Session()
    prepared = requests.Request("GET", pair.order.url, headers={"Authorization": f"Bearer {pair.order.key}"}).prepare()
    prepared.url = pair.order.url + path
    answer = session.send(prepared, allow_redirects=False, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_every_response_has_security_headers(pair: Pair, made: dict[str, str]) -> None:
    stranger = Client(pair.order.url, None)
    answers = [
        pair.order.get(f"/v1/orders/{made['order']}"),
        pair.order.get("/v1/orders"),
        pair.order.post("/v1/orders", ORDER),
        pair.order.post("/v1/orders", {}),
        pair.order.get("/nowhere"),
        stranger.get("/v1/orders"),
        stranger.get("/problems"),
        stranger.get("/problems.css"),
        stranger.get("/livez"),
        stranger.request("OPTIONS", "/v1/orders"),
        send(pair.order, "/v1/orders", b"{"),
        stranger.post("/v1/payment-events", {}),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff", answer.url
        assert answer.headers["X-Request-Id"]
        assert "Cache-Control" in answer.headers
    for answer in answers[:2]:
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert {"Authorization", "Tandem-Merchant"} <= set(answer.headers["Vary"].split(", "))
    for answer in answers[2:6]:
        assert answer.headers["Cache-Control"] == "no-store"


def test_events_have_the_same_limits_as_other_bodies(pair: Pair) -> None:
    huge = b" " * (256 * 1024 + 1)

    def chunks() -> object:
        yield from (huge[at : at + 8192] for at in range(0, len(huge), 8192))

    for client, path in ((pair.order, "/v1/payment-events"), (pair.payment, "/v1/provider-events/simulator")):
        for data in (huge, chunks()):
            answer = client.request("POST", path, data=data)
            assert answer.status_code in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.BAD_REQUEST)


@pytest.mark.parametrize("number", ["-0", "1e2", "1.0", "1e400", "-1", "0.1", "9" * 400, "true", '"1"', "null", "[1]"])
def test_an_amount_must_be_written_as_a_json_integer(pair: Pair, number: str) -> None:
    body = """{"currency": "EUR", "payment_method": "pm_ok",
               "items": [{"sku": "x", "quantity": NUMBER, "unit_amount": 1}]}""".replace("NUMBER", number)
    refused(send(pair.order, "/v1/orders", body.encode()), 422, "validation", "/items/0/quantity")


@pytest.mark.parametrize("number", ["1e400", "1e999999", "-1e999999", "1e-999999", "0." + "1" * 5000, "1" * 4000])
def test_a_total_of_the_sketch_has_the_decimals_and_bounds_of_its_currency(pair: Pair, number: str) -> None:
    for client, path, body in (
        (pair.order, "/orders", f'{{"id": "{uuid.uuid4()}", "items": ["x"], "total": {number}}}'),
        (pair.payment, "/payments", f'{{"order_id": "{uuid.uuid4()}", "amount": {number}}}'),
    ):
        answer = send(client, path, body.encode())
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (422, "/problems/validation"), answer.text
        assert answer.elapsed.total_seconds() < 2


@pytest.mark.parametrize("text", [r"\u0000", r"\u0085", r"\ud800", r"\u001b"])
def test_control_characters_are_rejected_in_every_text(pair: Pair, text: str) -> None:
    for body in (f'{{"a{text}": 1}}', f'{{"metadata": {{"{text}": "x"}}}}', f'{{"items": [{{"sku": "{text}"}}]}}'):
        answer = send(pair.order, "/v1/orders", body.encode())
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (422, "/problems/validation")
    for name in ("Idempotency-Key", "X-Request-Id", "Prefer", "If-Match", "traceparent", "Tandem-Merchant"):
        answer = pair.order.post("/v1/orders", ORDER, **{name: "é".encode().decode("latin-1")})
        assert answer.status_code in (201, 400, 403), (name, answer.text)
