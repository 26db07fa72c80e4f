"""The OpenAPI document and the documentation page, which can be read without a key."""

from __future__ import annotations

import re

import pytest

from tests.support.pair import Client
from tests.support.problems import refused


def test_the_openapi_document_needs_no_key_and_is_sent_once(stranger: Client) -> None:
    document = stranger.get("/openapi.json")
    assert (document.status_code, document.headers["Content-Type"]) == (200, "application/json")
    assert document.json()["openapi"] == "3.1.0"
    known = {"If-None-Match": document.headers["ETag"]}
    assert stranger.get("/openapi.json", headers=known).status_code == 304


def test_the_documentation_page_needs_no_key_and_trusts_nothing_but_the_service(stranger: Client) -> None:
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


@pytest.mark.parametrize("asset", ["index.html", "nonsense", "..%2Fopenapi.py", "swagger-ui.js", "%2e%2e%2f"])
def test_the_documentation_page_has_no_other_parts(stranger: Client, asset: str) -> None:
    refused(stranger.get(f"/docs/{asset}"), 404, "not-found")


@pytest.mark.adversarial
@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/swagger-ui.css"])
def test_a_condition_for_changes_or_a_range_does_not_change_the_response(stranger: Client, path: str) -> None:
    whole = stranger.get(path)
    for headers in ({"If-Match": '"x"'}, {"If-Match": '"x"', "If-None-Match": '"y"'}, {"Range": "bytes=9999999-"}):
        response = stranger.get(path, headers=headers)
        assert (response.status_code, response.content) == (200, whole.content), headers
    assert stranger.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
