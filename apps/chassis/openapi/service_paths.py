"""The paths in OpenAPI that every service has in addition to its API: health, this document, and the problem pages."""

from __future__ import annotations

from typing import Any

from chassis.http.problems import Catalogue
from chassis.openapi.parts import WEBHOOKS

TAG = {"name": "service", "description": "About the service itself; no key is needed"}
SCHEMAS: dict[str, Any] = {
    "ServiceLinks": {
        "type": "object",
        "description": "What a service is, with links to its pages.",
        "properties": {
            "title": {"type": "string", "description": "The service's name."},
            "about": {"type": "string", "description": "What it does."},
            "links": {
                "type": "object",
                "description": "Paths of this service, and what each leads to.",
                "additionalProperties": {"type": "string"},
            },
        },
        "required": ["title", "about", "links"],
    },
    "ServiceStatus": {
        "type": "object",
        "description": "Whether a service works.",
        "properties": {
            "status": {"type": "string", "description": "`alive`, `stuck`, `ready` or `not ready`."},
            "database": {"type": "string", "description": "`ok`, or what is wrong with the database."},
            "ms": {"type": "number", "description": "How long the database took to answer, in milliseconds."},
        },
        "required": ["status"],
    },
}
"""The schemas that these paths refer to, by name."""


def service_paths(rules: set[str], catalogue: Catalogue) -> dict[str, Any]:
    """Return the path items of those of these paths that are among the application's `rules`."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(catalogue)}, "example": "not-found"}
    asset = {"name": "asset", "in": "path", "required": True, "schema": {"type": "string"}, "example": "docs.js"}
    missing = {"404": {"description": "There is no such page", "content": {"application/problem+json": {}}}}
    status = {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceStatus"}}}
    failing = {"503": {"description": "No; the body says what is wrong", "content": status}}
    start = {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceLinks"}}, "text/html": {}}
    document = {"application/json": {"schema": {"type": "object"}}}
    files: dict[str, Any] = {"text/css": {}, "text/javascript": {}}
    paths = {
        "/": _page(
            "start",
            "What this service is, with links to its pages",
            "JSON, or a page for a client whose Accept header prefers HTML.",
            start,
        ),
        "/livez": _page(
            "isAlive",
            "Whether the process works",
            "For liveness probes. It does not depend on the database.",
            status,
            failing,
        ),
        "/readyz": _page(
            "isReady",
            "Whether the service can process requests",
            "For readiness probes: whether the database answers and has been migrated.",
            status,
            failing,
        ),
        "/openapi.json": _page(
            "openapi",
            "This document",
            "What the service answers to, in OpenAPI 3.1. It has an ETag and may be cached.",
            document,
        ),
        WEBHOOKS: _page(
            "webhooks",
            "The webhooks that this service sends",
            "A second OpenAPI document, for receivers. It has an ETag and may be cached.",
            document,
        ),
        "/docs": _page(
            "docs",
            "This document as a page that can send requests",
            "Swagger UI. Its files come from this service.",
            {"text/html": {}},
        ),
        "/docs/{asset}": _page(
            "docsAsset", "A file that the page needs", "A style sheet or a script.", files, missing, asset
        ),
        "/problems": _page(
            "problems",
            "All kinds of problems",
            "A list with a link to the page of each.",
            {"text/html": {}},
        ),
        "/problems.css": _page(
            "problemsStyle", "The style sheet of the problem pages", "It may be cached.", {"text/css": {}}
        ),
        "/problems/{name}": _page(
            "problem",
            "What a problem means and what to do",
            "The `type` of a problem is the address of this page.",
            {"text/html": {}},
            missing,
            name,
        ),
    }
    known = {rule.replace("<", "{").replace(">", "}") for rule in rules}
    return {path: page for path, page in paths.items() if path in known}


def _page(
    identifier: str,
    summary: str,
    about: str,
    content: dict[str, Any],
    more: dict[str, Any] | None = None,
    *parameters: Any,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [TAG["name"]],
        "operationId": identifier,
        "summary": summary,
        "description": about,
        "security": [],
    }
    if parameters:
        operation["parameters"] = list(parameters)
    responses = {"200": {"description": "OK", "content": content}, **(more or {})}
    return {"get": {**operation, "responses": responses}}
