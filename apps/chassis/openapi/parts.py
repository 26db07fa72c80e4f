"""The parts of an OpenAPI document that are the same in every service: headers, refusals, security, its own paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chassis.http.facts import Signature
from chassis.http.problems import CATALOGUE, Problem
from chassis.openapi.schemas import EXAMPLE_ID

BEARER = "bearer"
TAG = {"name": "service", "description": "Of the service itself; needs no key"}

ABOUT = """\
**Keys.** Every call under `/v1`, and of the sketch's API, carries `Authorization: Bearer`, with an API key or an
access token of the operator's issuer. Either belongs to a merchant and has scopes; what belongs to another merchant is
not found. Where the operator has set limits, `RateLimit` says what is left, and 429 when it is used up.

**Sent again, done once.** Every POST under `/v1` needs an `Idempotency-Key`: a new one for each new intention, the
same one when a request is repeated, whatever became of it. It then does nothing twice and answers with what stands now.

**Errors** are `application/problem+json` (RFC 9457). Their `type` is a page of this service that says what to do;
`errors` points to each wrong field. An answer of 503 says when to try again: nothing is half done.

**Formats.** Amounts are whole numbers of minor units: 450 is 4.50 EUR. Numbers are JSON integers, written without
fraction or exponent. Times are RFC 3339 in UTC, ids are UUIDs. A body is one JSON object of at most 256 KiB in UTF-8,
without unknown members, without a key twice, and without control characters, lone surrogates or card numbers in any
string; a missing body is `{}`. Every answer has an `X-Request-Id`; every GET answers HEAD too,
and every path OPTIONS.
"""

SUCCESSES = {
    "200": "As it stands now",
    "201": "Made; or made by an earlier request with the same key, as it stands now",
    "202": "Under way: it stands as follows, and will change",
    "204": "Done; there is nothing to show",
}

WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp")


def _parameter(name: str, about: str, *, required: bool = False, example: str = "", **schema: Any) -> dict[str, Any]:
    shape = {"type": "string", **schema}
    shown = {"example": example} if example else {}
    return {"name": name, "in": "header", "required": required, "description": about, "schema": shape, **shown}


_PARAMETERS = [
    _parameter(
        "Idempotency-Key",
        "The name of this intention, such as a new UUID: repeated under the same key, a request does nothing twice.",
        required=True,
        pattern="^[!-~]+$",
        minLength=1,
        maxLength=255,
    ),
    _parameter(
        "Prefer",
        "`wait=N` waits up to N seconds, 10 at most, for the outcome (RFC 7240). Anything else is ignored.",
        example="wait=5",
    ),
    _parameter("If-None-Match", "The ETag of what is known already: if it still stands, the answer is an empty 304."),
    _parameter("If-Match", "The ETag that must still stand; if it does not, nothing is done and the answer is 412."),
    _parameter(
        "Tandem-Merchant",
        "The merchant to act for, in place of the key's own; the key needs the scope `merchants:any`. Empty is none.",
        pattern="^[A-Za-z0-9_.\\-]*$",
        maxLength=64,
    ),
    _parameter(
        "X-Request-Id",
        "A name for this request in logs and answers: 1 to 128 visible characters, or a new one is made.",
    ),
    _parameter("traceparent", "The caller's trace (W3C Trace Context), carried on to whatever this sets off."),
    _parameter("webhook-id", "The id of the event; the same when it is sent again.", required=True, example=EXAMPLE_ID),
    _parameter("webhook-timestamp", "When it was sent, in seconds since 1970.", required=True, pattern="^[0-9]+$"),
]

_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The name of this request in logs: the caller's or a new one.", {}),
    "ETag": ("The version of what is answered, for If-None-Match.", {}),
    "Location": ("Where to look for what was made.", {"format": "uri-reference"}),
    "Link": ('`rel="next"`: the next page, if there is one (RFC 8288).', {}),
    "Idempotency-Replayed": ("Only there if an earlier request with this key did it.", {"enum": ["true"]}),
    "Preference-Applied": ("Only there if the request was let wait: `wait=N`.", {"pattern": "^wait=[0-9]+$"}),
    "RateLimit": ("Only there if there are limits: what is left of each (draft-ietf-httpapi-ratelimit-headers).", {}),
    "RateLimit-Policy": ("Only there if there are limits: their quotas and windows.", {}),
    "Retry-After": ("After how many seconds to try again.", {"pattern": "^[0-9]+$"}),
    "WWW-Authenticate": ("What is asked for: `Bearer`, and what is wrong with it (RFC 6750).", {}),
}
_HEADERS_OF = {
    401: ["WWW-Authenticate"],
    403: ["WWW-Authenticate"],
    429: ["Retry-After", "RateLimit", "RateLimit-Policy"],
    503: ["Retry-After"],
}
_SOMETIMES = {
    "RateLimit",
    "RateLimit-Policy",
    "Link",
    "Idempotency-Replayed",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
}

PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "The kind of problem: a page of this service that says what to do.",
            "enum": [f"/problems/{name}" for name in CATALOGUE],
        },
        "title": {"type": "string", "description": "The kind of problem, for people."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What was wrong this time."},
        "instance": {"type": "string", "format": "uri-reference", "description": "The path that was asked for."},
        "request_id": {"type": "string", "description": "The answer's X-Request-Id, to report it by."},
        "errors": {
            "type": "array",
            "description": "Each wrong field.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer (RFC 6901) to it."},
                    "detail": {"type": "string", "description": "What is wrong with it."},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
}


def components() -> dict[str, Any]:
    """What operations refer to, by kind and name."""
    headers = {
        name: {"description": about, "required": name not in _SOMETIMES, "schema": {"type": "string", **schema}}
        for name, (about, schema) in _HEADERS.items()
    }
    unchanged = {
        "description": "It is as If-None-Match says: the answer is empty",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in ("ETag", "X-Request-Id")},
    }
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "API key or JWT",
        "description": "An API key, or an access token of the operator's issuer; of a merchant, and with scopes.",
    }
    return {
        "parameters": {parameter["name"]: parameter for parameter in _PARAMETERS},
        "headers": headers,
        "responses": {"not-modified": unchanged},
        "securitySchemes": {BEARER: bearer},
    }


def security_scheme(signature: Signature) -> dict[str, str]:
    """The security scheme of a signature."""
    return {"type": "apiKey", "in": "header", "name": signature.header, "description": signature.about}


def refusals(names: Iterable[str], responses: dict[str, Any]) -> dict[str, Any]:
    """Responses by status for the problems of these names, as references; `responses` gets what they refer to."""
    wanted = set(names)
    found: dict[int, list[str]] = {}
    for name, kind in CATALOGUE.items():
        if name in wanted:
            found.setdefault(kind.status, []).append(name)
    refused = {}
    for status, kinds in sorted(found.items()):
        component = "_".join(kinds)
        responses.setdefault(component, _refusal(status, kinds))
        refused[str(status)] = {"$ref": f"#/components/responses/{component}"}
    responses.setdefault("other", _refusal(None, list(CATALOGUE)))
    return {**refused, "default": {"$ref": "#/components/responses/other"}}


def _refusal(status: int | None, kinds: list[str]) -> dict[str, Any]:
    headers = ["X-Request-Id", *_HEADERS_OF.get(status or 0, [])]
    headers += ["Retry-After"] if "idempotency-key-in-use" in kinds and status else []
    narrow = {"properties": {"type": {"enum": [f"/problems/{name}" for name in kinds]}}}
    schema = {"$ref": "#/components/schemas/Problem"}
    shown = kinds if status else ["internal-error"]
    return {
        "description": "; ".join(f"`{name}`: {CATALOGUE[name].title}" for name in kinds)
        if status
        else "Any other problem, such as `method-not-allowed` (405) or `internal-error` (500)",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {
            "application/problem+json": {
                "schema": {"allOf": [schema, narrow]} if status else schema,
                "examples": {name: {"summary": CATALOGUE[name].title, "value": _example(name)} for name in shown},
            }
        },
    }


def _example(name: str) -> dict[str, object]:
    errors = [{"pointer": "/amount", "detail": "Not a valid integer."}] if name == "validation" else []
    return Problem(name, CATALOGUE[name].cure, errors).body("/v1/path/that/was/asked/for", EXAMPLE_ID)


def service_paths(rules: set[str]) -> dict[str, Any]:
    """The paths that every service has besides its API, those of them that are among the routes."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(CATALOGUE)}, "example": "not-found"}
    asset = {"name": "asset", "in": "path", "required": True, "schema": {"type": "string"}, "example": "docs.js"}
    missing = {"404": {"description": "There is no such page", "content": {"application/problem+json": {}}}}
    status = {"application/json": {"schema": {"type": "object", "required": ["status"]}}}
    away = {"503": {"description": "It is not; the body says what is missing", "content": status}}
    paths = {
        "/livez": _page("isAlive", "Whether the process does its work", {"application/json": {}}, away),
        "/readyz": _page("isReady", "Whether requests can be served", status, away),
        "/openapi.json": _page("openapi", "This document", {"application/json": {"schema": {"type": "object"}}}),
        "/docs": _page("docs", "This document as a page that can send requests", {"text/html": {}}),
        "/docs/{asset}": _page("docsAsset", "What that page is made of", {"*/*": {}}, missing, asset),
        "/problems": _page("problems", "All problems", {"text/html": {}}),
        "/problems.css": _page("problemsStyle", "How these pages look", {"text/css": {}}),
        "/problems/{name}": _page("problem", "What a problem means and what to do", {"text/html": {}}, missing, name),
    }
    known = {rule.replace("<", "{").replace(">", "}") for rule in rules}
    return {path: page for path, page in paths.items() if path in known}


def _page(
    identifier: str, about: str, content: dict[str, Any], more: dict[str, Any] | None = None, *parameters: Any
) -> dict[str, Any]:
    says: dict[str, Any] = {"tags": [TAG["name"]], "operationId": identifier, "summary": about, "security": []}
    if parameters:
        says["parameters"] = list(parameters)
    return {"get": {**says, "responses": {"200": {"description": "Here it is", "content": content}, **(more or {})}}}
