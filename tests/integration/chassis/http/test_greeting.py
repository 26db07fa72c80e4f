"""`GET /` on the API, admin and operator ports says what the port is and links to its pages."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from werkzeug.test import Client as Caller

import order
from chassis.server import admin
from tests.support.pair import Pair

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(params=["order", "payment"])
def app(request: pytest.FixtureRequest, pair: Pair) -> Flask:
    found: Flask = getattr(pair, f"{request.param}_app")
    return found


@pytest.fixture(params=["api", "admin"])
def port(request: pytest.FixtureRequest, app: Flask) -> Caller:
    return Caller(app if request.param == "api" else app.extensions["tandem"].admin)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html", "text/plain", "?"])
def test_programs_get_json_whose_links_lead_somewhere(port: Caller, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = port.get("/", headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    body: dict[str, Any] = answer.json or {}
    assert body["title"].startswith("Tandem ")
    assert {"/livez", "/readyz"} <= body["links"].keys()
    for path in body["links"]:
        assert port.get(path).status_code in (200, 303), path


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/html, application/json;q=0.9"])
def test_browsers_get_a_page_whose_links_lead_somewhere(port: Caller, accept: str) -> None:
    answer = port.get("/", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Vary"] == "Accept"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for element in ('<html lang="en">', "<title>Tandem ", "<main>", "<h1>Tandem "):
        assert answer.text.count(element) == 1
    paths = re.findall(r'href="([^"]+)"', answer.text)
    assert len(paths) >= 3
    for path in paths:
        assert port.get(path).status_code in (200, 303), path


def test_the_api_names_its_reference_and_the_admin_port_of_order_its_page(pair: Pair) -> None:
    assert "/docs" in pair.order.get("/").json()["links"]
    links = (Caller(pair.order_app.extensions["tandem"].admin).get("/").json or {})["links"]
    assert {"/operator", "/metrics"} <= links.keys()


def test_a_port_of_the_operator_page_alone_links_to_it(pair: Pair) -> None:
    settings = replace(pair.order_app.extensions["tandem"].settings, operator_port=9092)
    service = order.create_app(settings).extensions["tandem"]
    assert (Caller(service.pages).get("/").json or {})["links"].keys() == {"/operator"}
    assert Caller(service.pages).post("/").status_code == 405
    assert "/operator" not in (Caller(service.admin).get("/").json or {})["links"]
    assert Caller(admin.pages_application("order", {})).get("/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/4539578763621486", "/4539%E2%80%8B5787%E2%80%8B6362%E2%80%8B1486"])
def test_no_port_repeats_a_card_number_of_a_path(port: Caller, path: str) -> None:
    body: dict[str, Any] = port.get(path).json or {}
    assert (body["status"], unquote(body["instance"])) == (404, "/[card ...1486]")


def test_no_port_repeats_a_long_path(port: Caller) -> None:
    body: dict[str, Any] = port.get(f"/{'x' * 4000}").json or {}
    assert (body["status"], len(body["instance"])) == (404, len("/...") + 499)
