"""What a caller can read about a service: its problems and its OpenAPI document, without a key."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from flask import Flask

from chassis import problems
from tests.integration.chassis.refusals import refused
from tests.integration.pair import Client, Pair

APPS = Path(problems.__file__).parent.parent


@pytest.fixture(params=["order", "payment"])
def stranger(request: pytest.FixtureRequest, pair: Pair) -> Client:
    return Client(getattr(pair, request.param).url, None)


@pytest.fixture
def app(stranger: Client, pair: Pair) -> Flask:
    return pair.order_app if stranger.url == pair.order.url else pair.payment_app


def test_every_problem_has_a_page_that_says_what_to_do(stranger: Client) -> None:
    for name, kind in problems.CATALOGUE.items():
        page = stranger.get(f"/problems/{name}")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        text = html.unescape(page.text)
        assert f"<h1>{kind.title}</h1>" in text
        assert kind.cure in text
        assert f"HTTP status {kind.status}" in text


@pytest.mark.parametrize("name", ["nonsense", "Validation", "%3Cscript%3E"])
def test_a_problem_that_is_none_has_no_page(stranger: Client, name: str) -> None:
    refused(stranger.get(f"/problems/{name}"), 404, "not-found")


def test_every_problem_that_the_code_names_is_in_the_catalogue() -> None:
    sources = [path.read_text() for path in APPS.rglob("*.py")]
    raised = {name for text in sources for name in re.findall(r'(?:Problem|_at)\(\s*"([a-z-]+)"', text)}
    typed = {name for text in sources for name in re.findall(r'"/problems/([a-z-]+)"', text)}
    assert len(raised) > 10
    assert raised | typed <= set(problems.CATALOGUE)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_is_some_problem(status: int) -> None:
    assert problems.name_for(status) in problems.CATALOGUE


def test_the_openapi_document_describes_every_path_and_method(stranger: Client, app: Flask) -> None:
    document = stranger.get("/openapi.json")
    assert (document.status_code, document.headers["Content-Type"]) == (200, "application/json")
    described = document.json()
    assert described["openapi"] == "3.1.0"
    assert described["info"]["title"]
    apart = {"/openapi.json", "/livez", "/readyz"}
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule not in apart and not rule.rule.startswith("/problems/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes <= {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert {"/v1/orders", "/v1/payments"} & set(described["paths"])


def test_the_openapi_document_refers_to_nothing_that_it_lacks(stranger: Client) -> None:
    document = stranger.get("/openapi.json")
    schemas = document.json()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', document.text)) <= set(schemas)
