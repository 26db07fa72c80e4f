"""Pages that need no key: problems, the OpenAPI document, and the documentation page."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from chassis.http import problems
from tests.integration.chassis.refusals import refused
from tests.integration.pair import Client, Pair

APPS = Path(problems.__file__).parent.parent


@pytest.fixture(params=["order", "payment"])
def stranger(request: pytest.FixtureRequest, pair: Pair) -> Client:
    return Client(getattr(pair, request.param).url, None)


def test_every_problem_has_a_page_that_says_what_to_do(stranger: Client) -> None:
    for name, kind in problems.CATALOGUE.items():
        page = stranger.get(f"/problems/{name}")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        text = html.unescape(page.text)
        assert f"<h1>{kind.title}</h1>" in text
        assert kind.cure in text
        assert kind.cause in text
        assert f"HTTP status {kind.status}" in text


def test_every_link_of_a_page_works_and_all_pages_are_listed(stranger: Client) -> None:
    seen, follow = set(), {"/problems"}
    while follow:
        path = follow.pop()
        seen.add(path)
        page = stranger.get(path)
        assert page.status_code == 200, path
        follow |= set(re.findall(r'href="([^"]+)"', page.text)) - seen
    assert seen == {"/problems", "/problems.css", *(f"/problems/{name}" for name in problems.CATALOGUE)}


@pytest.mark.parametrize("path", ["/problems", "/problems/validation"])
def test_pages_run_no_scripts_and_load_nothing_from_other_hosts(stranger: Client, path: str) -> None:
    page = stranger.get(path)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|style=|<script|\son\w+=|//", page.text.replace("</", ""))
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert stranger.get("/problems.css").headers["Content-Type"].startswith("text/css")


@pytest.mark.parametrize("name", ["nonsense", "Validation", "%3Cscript%3E"])
def test_an_unknown_problem_has_no_page(stranger: Client, name: str) -> None:
    refused(stranger.get(f"/problems/{name}"), 404, "not-found")


def test_every_problem_that_the_code_names_is_in_the_catalogue() -> None:
    sources = [path.read_text() for path in APPS.rglob("*.py")]
    raised = {name for text in sources for name in re.findall(r'(?:Problem|_at)\(\s*"([a-z-]+)"', text)}
    typed = {name for text in sources for name in re.findall(r'"/problems/([a-z-]+)"', text)}
    assert len(raised) > 10
    assert raised | typed <= set(problems.CATALOGUE)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_maps_to_a_problem(status: int) -> None:
    assert problems.name_for(status) in problems.CATALOGUE


def test_the_openapi_document_needs_no_key_and_is_sent_once(stranger: Client) -> None:
    document = stranger.get("/openapi.json")
    assert (document.status_code, document.headers["Content-Type"]) == (200, "application/json")
    assert document.json()["openapi"] == "3.1.0"
    known = {"If-None-Match": document.headers["ETag"]}
    assert stranger.get("/openapi.json", headers=known).status_code == 304


def test_the_documentation_page_needs_no_key_and_loads_only_from_the_service(stranger: Client) -> None:
    page = stranger.get("/docs")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    named = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(named) == 4
    for asset in named:
        answer = stranger.get(f"/{asset}")
        assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert answer.headers["Content-Type"] in ("text/css; charset=utf-8", "text/javascript; charset=utf-8")
        known = {"If-None-Match": answer.headers["ETag"]}
        assert stranger.get(f"/{asset}", headers=known).status_code == 304


@pytest.mark.parametrize("asset", ["index.html", "nonsense", "..%2Fopenapi.py", "swagger-ui.js", ".."])
def test_other_files_of_the_documentation_page_are_404(stranger: Client, asset: str) -> None:
    refused(stranger.get(f"/docs/{asset}"), 404, "not-found")
