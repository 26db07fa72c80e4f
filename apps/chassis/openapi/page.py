"""The service's OpenAPI document at /openapi.json, and at /docs as a page from which requests can be sent.

The page is Swagger UI, with its files served from here, under a policy that lets the browser run and reach nothing
that is not of this service. The key that is typed into it stays in the page's memory.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request, send_file

from chassis.http.answers import to_json
from chassis.http.problems import Problem

OURS = Path(__file__).parent / "docs_page"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
ASSETS = {
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}


def blueprint(make: Callable[[], dict[str, Any]]) -> Blueprint:
    """The routes; the document is made once, when it is first asked for."""
    pages = Blueprint("docs", __name__)
    made: list[bytes] = []
    making = threading.Lock()

    def text() -> bytes:
        with making:
            if not made:
                made.append(to_json(make()))
            return made[0]

    def document() -> Response:
        response = Response(text(), mimetype="application/json")
        response.add_etag()
        response.make_conditional(request)
        return response

    pages.add_url_rule("/openapi.json", "document", document)
    pages.add_url_rule("/docs", "page", lambda: _file("index.html", "text/html"))
    pages.add_url_rule("/docs/<asset>", "asset", _asset)
    return pages


def _asset(asset: str) -> Response:
    if asset not in ASSETS:
        raise Problem("not-found", "The page has no such part.")
    return _file(asset, ASSETS[asset])


def _file(name: str, media_type: str) -> Response:
    # A browser asks each time whether what it has is still the same: an ETag of size and time says so.
    ours = OURS / name
    response = send_file(ours if ours.exists() else _swagger_ui() / name, media_type, max_age=0)
    response.headers.update(HEADERS)
    return response


@functools.cache
def _swagger_ui() -> Path:
    # Found, not imported: of that package we want the files, not what its own Python layer does with them.
    package = importlib.util.find_spec("flask_swagger_ui")
    if package is None or package.origin is None:
        raise RuntimeError("the package flask-swagger-ui is not installed")
    return Path(package.origin).parent / "dist"
