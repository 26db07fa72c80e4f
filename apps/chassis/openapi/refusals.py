"""The error responses of operations in OpenAPI, made from a service's catalogue of problems."""

from __future__ import annotations

import http
from collections.abc import Iterable
from typing import Any

from chassis.http.problems import MAX_ERRORS, Catalogue, Problem, members
from chassis.openapi.components import header_references
from chassis.openapi.schemas import EXAMPLE_ID

_HEADERS_BY_STATUS = {
    401: ["WWW-Authenticate"],
    403: ["WWW-Authenticate"],
    409: ["Retry-After"],
    429: ["Retry-After", "RateLimit", "RateLimit-Policy"],
    503: ["Retry-After"],
}


def problem_schemas(catalogue: Catalogue) -> dict[str, Any]:
    """Return the schemas of the body of every error response by name."""
    return {"Problem": _problem(catalogue), "ProblemError": _ERROR}


_ERROR = {
    "type": "object",
    "description": "An invalid field.",
    "properties": {
        "pointer": {"type": "string", "description": "A JSON pointer (RFC 6901) to the field."},
        "detail": {"type": "string", "description": "What is wrong with it."},
    },
    "required": ["pointer", "detail"],
}


def _problem(catalogue: Catalogue) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "An error (RFC 9457).",
        "properties": {
            "type": {
                "type": "string",
                "format": "uri",
                "description": "The kind of problem: the address of a page of this service that says what to do. Its "
                f"last segment is the name of the kind: {', '.join(catalogue)}, or another one in the future.",
                "pattern": "^.*/problems/[a-z-]+$",
            },
            "title": {"type": "string", "description": "The kind of problem, for people."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What was wrong with this request."},
            "instance": {"type": "string", "format": "uri-reference", "description": "The path of the request."},
            "request_id": {"type": "string", "description": "The response's X-Request-Id, for reports."},
            "errors": {
                "type": "array",
                "description": "The invalid fields.",
                "items": {"$ref": "#/components/schemas/ProblemError"},
                "maxItems": MAX_ERRORS,
            },
            "more_errors": {
                "type": "integer",
                "minimum": 1,
                "description": "How many more errors there are than `errors` lists; absent if it lists all.",
            },
        },
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
    }


def refusals(names: Iterable[str], catalogue: Catalogue, responses: dict[str, Any]) -> dict[str, Any]:
    """Return the error responses of an operation by status, as references to components.

    `names` are the problems that it can answer with; they are in the description of each reference. All operations
    share one component for each status; a new one is added to `responses`. Raises ValueError for a problem that the
    catalogue lacks.
    """
    by_status: dict[int, list[str]] = {}
    for name in sorted(set(names), key=list(catalogue).index):
        by_status.setdefault(catalogue[name].status, []).append(name)
    found: dict[str, Any] = {}
    for status, same_status in by_status.items():
        component = http.HTTPStatus(status).phrase.replace(" ", "")
        responses.setdefault(component, _refusal(status, catalogue))
        described = "; ".join(f"`{name}`: {catalogue[name].title}" for name in same_status)
        found[str(status)] = {"$ref": f"#/components/responses/{component}", "description": described}
    responses.setdefault("Other", _any_other(catalogue))
    return {**found, "default": {"$ref": "#/components/responses/Other"}}


def _refusal(status: int, catalogue: Catalogue) -> dict[str, Any]:
    names = [name for name in catalogue if catalogue[name].status == status]
    headers = ["X-Request-Id", *_HEADERS_BY_STATUS.get(status, [])]
    return {
        "description": "One of these problems: " + ", ".join(f"`{name}`" for name in names),
        "headers": header_references(*headers),
        "content": _content(names[0], catalogue),
    }


def _any_other(catalogue: Catalogue) -> dict[str, Any]:
    return {
        "description": "Any other problem, such as `method-not-allowed` (405) or `internal-error` (500)",
        "headers": header_references("X-Request-Id"),
        "content": _content("internal-error", catalogue),
    }


_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def _content(name: str, catalogue: Catalogue) -> dict[str, Any]:
    return {"application/problem+json": {"schema": _SCHEMA, "example": _example(name, catalogue)}}


def _example(name: str, catalogue: Catalogue) -> dict[str, object]:
    errors = [{"pointer": "/amount", "detail": "Not a valid integer."}] if name == "validation" else []
    problem = Problem(name, catalogue[name].cure, errors)
    return members(
        problem,
        catalogue[name],
        base="https://api.shop.example",
        instance="/v1/path/of/the/request",
        request_id=EXAMPLE_ID,
    )
