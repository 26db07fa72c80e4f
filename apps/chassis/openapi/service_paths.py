"""The paths in OpenAPI that every service has in addition to its API: health, this document, and the problem pages."""

from __future__ import annotations

from typing import Any

from chassis.http.problems import Catalogue
from chassis.openapi.parts import WEBHOOKS

TAG = {"name": "service", "description": "About the service itself; no key is needed"}


def service_paths(rules: set[str], catalogue: Catalogue) -> dict[str, Any]:
    """Return the path items of those of these paths that are among the application's `rules`."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(catalogue)}, "example": "not-found"}
    asset = {"name": "asset", "in": "path", "required": True, "schema": {"type": "string"}, "example": "docs.js"}
    missing = {"404": {"description": "There is no such page", "content": {"application/problem+json": {}}}}
    status = {"application/json": {"schema": {"type": "object", "required": ["status"]}}}
    failing = {"503": {"description": "No; the body says what is wrong", "content": status}}
    links = {"type": "object", "required": ["title", "about", "links"]}
    start = {"application/json": {"schema": links}, "text/html": {}}
    files: dict[str, Any] = {"text/css": {}, "text/javascript": {}}
    paths = {
        "/": _page("start", "What this service is, with links to its pages", start),
        "/livez": _page("isAlive", "Whether the process works", {"application/json": {}}, failing),
        "/readyz": _page("isReady", "Whether the service can process requests", status, failing),
        "/openapi.json": _page("openapi", "This document", {"application/json": {"schema": {"type": "object"}}}),
        WEBHOOKS: _page(
            "webhooks", "The webhooks that this service sends", {"application/json": {"schema": {"type": "object"}}}
        ),
        "/docs": _page("docs", "This document as a page that can send requests", {"text/html": {}}),
        "/docs/{asset}": _page("docsAsset", "A file that the page needs", files, missing, asset),
        "/problems": _page("problems", "All kinds of problems", {"text/html": {}}),
        "/problems.css": _page("problemsStyle", "The style sheet of the problem pages", {"text/css": {}}),
        "/problems/{name}": _page("problem", "What a problem means and what to do", {"text/html": {}}, missing, name),
    }
    known = {rule.replace("<", "{").replace(">", "}") for rule in rules}
    return {path: page for path, page in paths.items() if path in known}


def _page(
    identifier: str, about: str, content: dict[str, Any], more: dict[str, Any] | None = None, *parameters: Any
) -> dict[str, Any]:
    operation: dict[str, Any] = {"tags": [TAG["name"]], "operationId": identifier, "summary": about, "security": []}
    if parameters:
        operation["parameters"] = list(parameters)
    responses = {"200": {"description": "OK", "content": content}, **(more or {})}
    return {"get": {**operation, "responses": responses}}
