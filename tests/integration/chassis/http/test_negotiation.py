"""Compression, CORS, OPTIONS *, announced removals, the release's version, and details in the service's own words."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from chassis import __version__
from chassis.http.deprecation import Deprecation
from chassis.http.facts import Facts
from order import api
from tests.support.applications import SERVICES, make
from tests.support.databases import Databases
from tests.support.pair import ORDER, Pair

MANY = [{"sku": f"tea-{number}", "name": "Green tea", "quantity": 1, "unit_amount": 5} for number in range(30)]
SHOP = "https://shop.example"


def raw(pair: Pair, path: str, **headers: str) -> requests.Response:
    """GET without Accept-Encoding, unless it is given, and without decompressing the body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent: dict[str, Any] = {"Accept-Encoding": None, **named}
    answer = pair.order.request("GET", path, headers=sent, stream=True)
    answer._content = answer.raw.read(decode_content=False)
    return answer


@pytest.fixture(scope="module")
def large(pair: Pair) -> str:
    """Return the path of an order of more than 1 KiB that no longer changes."""
    made = pair.order.post("/v1/orders", {**ORDER, "items": MANY}, Prefer="wait=10")
    assert made.json()["status"] == "paid"
    return made.headers["Location"]


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "*", "GZIP", "gzip;q=1, identity;q=0.1"])
def test_a_large_response_is_compressed_for_who_accepts_it(pair: Pair, large: str, accepted: str) -> None:
    plain, packed = raw(pair, large), raw(pair, large, Accept_Encoding=accepted)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert int(packed.headers["Content-Length"]) == len(packed.content) < len(plain.content) / 2
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["Vary"].split(", ")


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "identity", "identity;q=1, gzip;q=0.5", "*;q=0"])
def test_a_response_is_not_compressed_for_others(pair: Pair, large: str, accepted: str) -> None:
    answer = raw(pair, large, Accept_Encoding=accepted)
    assert "Content-Encoding" not in answer.headers
    assert answer.content == raw(pair, large).content


def test_a_small_response_is_not_compressed(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER).headers["Location"]
    assert "Content-Encoding" not in raw(pair, order, Accept_Encoding="gzip").headers
    assert "Content-Encoding" not in raw(pair, "/livez", Accept_Encoding="gzip").headers


PUBLIC = ["/openapi.json", "/webhooks.json", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"]


@pytest.mark.parametrize("path", [*PUBLIC, "/problems"])
def test_public_documents_are_compressed_and_may_be_cached(pair: Pair, path: str) -> None:
    plain, packed = raw(pair, path), raw(pair, path, Accept_Encoding="gzip")
    assert gzip.decompress(packed.content) == plain.content
    assert int(packed.headers["Content-Length"]) == len(packed.content) < len(plain.content) / 2
    assert "Accept-Encoding" in packed.headers["Vary"]
    for answer in (plain, packed):
        assert {"public"} < set(answer.headers["Cache-Control"].split(", "))
        assert "no-cache" not in answer.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/docs", *PUBLIC])
def test_a_public_document_that_is_current_is_304(pair: Pair, path: str) -> None:
    tags = [raw(pair, path, Accept_Encoding=accepted).headers["ETag"] for accepted in ("identity", "gzip")]
    assert (tags[0] == tags[1]) == (path == "/docs")  # it is too small to be compressed
    for tag in tags:
        unchanged = raw(pair, path, Accept_Encoding="gzip", If_None_Match=tag)
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert raw(pair, path, If_None_Match='"other"').status_code == 200


def test_each_representation_has_its_own_tag_and_either_names_the_version(pair: Pair, large: str) -> None:
    plain, packed = raw(pair, large), raw(pair, large, Accept_Encoding="gzip")
    tags = [answer.headers["ETag"] for answer in (plain, packed)]
    assert tags[0] != tags[1]
    for tag in tags:
        for accepted in ("identity", "gzip"):
            unchanged = raw(pair, large, Accept_Encoding=accepted, If_None_Match=tag)
            assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert raw(pair, large, Accept_Encoding="gzip", If_None_Match=tags[1]).headers["ETag"] == tags[1]
    labeled = pair.order.request("PATCH", large, json={"metadata": {"a": "1"}}, headers={"If-Match": tags[1]})
    assert labeled.status_code == 200
    again = pair.order.request("PATCH", large, json={"metadata": {"a": "2"}}, headers={"If-Match": tags[1]})
    assert again.status_code == 412


def test_head_has_the_headers_of_the_compressed_response(pair: Pair, large: str) -> None:
    head, get = (pair.order.request(method, large, headers={"Accept-Encoding": "gzip"}) for method in ("HEAD", "GET"))
    for name in ("Content-Encoding", "Content-Length", "ETag", "Vary"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("service", SERVICES)
def test_every_response_names_the_release(databases: Databases, service: str) -> None:
    client = make(databases, service).test_client()
    for path in ("/livez", "/openapi.json", "/docs", "/problems", "/nowhere", f"/v1/{service}s", "//"):
        assert client.get(path).headers["Tandem-Version"] == __version__, path


@pytest.mark.parametrize("service", SERVICES)
def test_options_of_the_whole_service_lists_methods_without_a_key(databases: Databases, service: str) -> None:
    answer = make(databases, service).test_client().options("*", environ_overrides={"PATH_INFO": "*"})
    assert (answer.status_code, answer.data) == (204, b"")
    own = {"order": {"PATCH", "DELETE"}, "payment": {"PUT"}}[service]  # PUT is of the simulator
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"} | own
    assert "Content-Type" not in answer.headers
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize("service", SERVICES)
def test_problems_are_in_the_services_own_words(databases: Databases, service: str) -> None:
    client = make(databases, service).test_client()
    details = [client.get("/nowhere").json["detail"], client.put("/problems").json["detail"]]  # type: ignore[index]
    assert details == ["This service has no such path.", "This path does not support the method."]


@pytest.mark.parametrize("service", SERVICES)
def test_the_type_of_a_problem_is_the_address_of_its_page(pair: Pair, service: str) -> None:
    client = getattr(pair, service)
    address = client.get("/nowhere").json()["type"]
    assert address == f"{client.url}/problems/not-found"
    assert requests.get(address, timeout=30).status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_the_base_of_the_types_can_be_set_and_an_invalid_host_is_never_in_them(
    databases: Databases, service: str
) -> None:
    client = make(databases, service, PUBLIC_URL="https://api.shop.example/pay/").test_client()
    answer = client.get("/nowhere", headers={"Host": "other.example"})
    assert answer.get_json()["type"] == "https://api.shop.example/pay/problems/not-found"
    client = make(databases, service).test_client()
    assert (
        client.get("/nowhere", headers={"Host": "a.example:81"}).get_json()["type"].startswith("http://a.example:81/")
    )
    for host in ("a.example/x?", "a b", '"', "x" * 300, "[::1", "a.example:port"):
        answer = client.get("/nowhere", headers={"Host": host})
        assert answer.get_json()["type"].startswith("http://localhost:80/problems/"), host


def cors(databases: Databases, origins: str) -> FlaskClient:
    return make(databases, "order", CORS_ORIGINS=origins).test_client()


def allowed(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control")}


def test_no_origin_is_allowed_by_default(databases: Databases) -> None:
    client = make(databases, "order").test_client()
    headers = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    assert (
        allowed(client.get("/livez", headers=headers)) == allowed(client.options("/v1/orders", headers=headers)) == {}
    )


def test_an_allowed_origin_may_call_and_read(databases: Databases) -> None:
    client = cors(databases, f"{SHOP}, http://localhost:3000")
    answer = client.get("/v1/orders", headers={"Origin": SHOP})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert {"ETag", "Location", "Link"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    preflight = client.options("/v1/orders", headers=asked)
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"].split(", ")
    wanted = {"Authorization", "Content-Type", "Idempotency-Key", "If-Match"}
    assert wanted <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in preflight.headers


@pytest.mark.parametrize("written", ["https://Shop.Example", f"{SHOP}:443", f"{SHOP}:00443"])
def test_an_origin_may_be_written_in_another_way_than_browsers_do(databases: Databases, written: str) -> None:
    client = cors(databases, written)
    assert client.get("/livez", headers={"Origin": SHOP}).headers["Access-Control-Allow-Origin"] == SHOP
    for other in ("http://shop.example", f"{SHOP}:80", f"{SHOP}:8443"):
        assert allowed(client.get("/livez", headers={"Origin": other})) == {}


def test_another_origin_is_not_allowed_and_caches_keep_them_apart(databases: Databases) -> None:
    client = cors(databases, SHOP)
    for origin in ("https://other.example", f"{SHOP}.evil.example", "http://shop.example", "null", "*"):
        answer = client.get("/livez", headers={"Origin": origin})
        assert allowed(answer) == {}
        assert "Origin" in ", ".join(answer.headers.getlist("Vary")).split(", ")


def test_every_origin_can_be_allowed(databases: Databases) -> None:
    answer = cors(databases, "*").get("/livez", headers={"Origin": "https://any.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_deprecated_path_announces_its_removal_in_every_response(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: Facts = api.get_order.facts  # type: ignore[attr-defined]
    ends = datetime(2028, 1, 1, tzinfo=UTC)
    about = Deprecation(datetime(2027, 1, 1, tzinfo=UTC), ends, "https://shop.example/changes")
    monkeypatch.setattr(facts, "deprecated", about)
    client = make(databases, "order").test_client()
    answer = client.get("/v1/orders/0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70")
    assert answer.status_code == 401
    assert answer.headers["Deprecation"] == "@1798761600"
    assert answer.headers["Sunset"] == "Sat, 01 Jan 2028 00:00:00 GMT"
    assert answer.headers["Link"] == '<https://shop.example/changes>; rel="deprecation"; type="text/html"'
    assert "Deprecation" not in client.get("/v1/orders").headers
    document = json.loads(client.get("/openapi.json").data)
    deprecated = [path for path, item in document["paths"].items() for part in item.values() if "deprecated" in part]
    assert deprecated == ["/v1/orders/{order_id}"]
