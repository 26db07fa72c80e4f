"""The service's OpenAPI documents at /openapi.json and /webhooks.json, and a page at /docs that can send requests.

The page is Swagger UI. Its files are served by the service itself, and its Content-Security-Policy lets the browser
run scripts of, and connect to, this service only. An API key that is typed into the page stays in the page's memory.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request

from chassis.http.answers import to_json
from chassis.http.compression import Document
from chassis.http.problems import Problem
from chassis.openapi.parts import WEBHOOKS, divide

FOLDER = Path(__file__).parent / "docs_page"
MAX_AGE = 300
"""Seconds for which a document or file may be kept without a question. It changes with a release only."""
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
    """Return the routes. `make` builds the whole document; it is called once, at the first request for a part of it."""
    pages = Blueprint("docs", __name__)
    cached: list[Document] = []
    lock = threading.Lock()

    def document(part: int) -> Response:
        with lock:
            if not cached:
                texts = [to_json(document) for document in divide(make()) if document is not None]
                cached.extend(Document(text, "application/json", MAX_AGE) for text in texts)
        if part >= len(cached):
            raise Problem("not-found", "This service sends no webhooks.")
        return cached[part].response(request)

    pages.add_url_rule("/openapi.json", "document", lambda: document(0))
    pages.add_url_rule(WEBHOOKS, "webhooks", lambda: document(1))
    pages.add_url_rule("/docs", "page", lambda: _file("index.html", "text/html"))
    pages.add_url_rule("/docs/<asset>", "asset", _asset)
    return pages


def _asset(asset: str) -> Response:
    if asset not in ASSETS:
        raise Problem("not-found", "The page has no such file.")
    return _file(asset, ASSETS[asset])


def _file(name: str, media_type: str) -> Response:
    response = _document(name, media_type).response(request)
    response.headers.update(HEADERS)
    return response


@functools.cache
def _document(name: str, media_type: str) -> Document:
    own = FOLDER / name
    return Document((own if own.exists() else _swagger_ui() / name).read_bytes(), media_type, MAX_AGE)


@functools.cache
def _swagger_ui() -> Path:
    # The package is located, not imported: only its files are needed.
    package = importlib.util.find_spec("flask_swagger_ui")
    if package is None or package.origin is None:
        raise RuntimeError("the package flask-swagger-ui is not installed")
    return Path(package.origin).parent / "dist"
