"""The components that the OpenAPI documents of all services share: parameters, headers and security schemes."""

from __future__ import annotations

from typing import Any

from chassis.http.facts import Signature
from chassis.openapi.schemas import EXAMPLE_ID

BEARER = "bearer"
OPTIONAL_KEY = "Optional-Idempotency-Key"
"""The name of the component for an Idempotency-Key that may be left out."""
WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp")


def parameter_references(*names: str) -> list[dict[str, str]]:
    """Return references to header parameters by their names."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def header_references(*names: str) -> dict[str, dict[str, str]]:
    """Return references to response headers by their names."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str, about: str, *, required: bool = False, example: str = "", **schema: Any) -> dict[str, Any]:
    shape = {"type": "string", **schema}
    shown = {"example": example} if example else {}
    return {"name": name, "in": "header", "required": required, "description": about, "schema": shape, **shown}


_PARAMETERS = [
    _parameter(
        "Idempotency-Key",
        "A name for this operation that the client chooses, such as a new UUID. A request that is repeated with the "
        'same key does nothing twice. A quoted string (RFC 9651) is the key that it holds: `"abc"` is the key `abc`.',
        required=True,
        pattern="^[!-~]+$",
        minLength=1,
        maxLength=255,
    ),
    _parameter(
        "Prefer",
        "`wait=N` waits for the outcome, for up to N seconds and at most 10 (RFC 7240). Anything else is ignored.",
        example="wait=5",
    ),
    _parameter("If-None-Match", "The ETag of a known response. If it is still current, the response is an empty 304."),
    _parameter(
        "If-Match", "The ETag that must still be current. If it is not, nothing is changed and the response is 412."
    ),
    _parameter(
        "Tandem-Merchant",
        "The merchant to act for instead of the key's own; the key needs the scope `merchants:any`. An empty header "
        "is ignored.",
        pattern="^[A-Za-z0-9_.\\-]*$",
        maxLength=64,
    ),
    _parameter(
        "X-Request-Id",
        "A name for this request in logs and responses: 1 to 128 visible ASCII characters. The service makes one if "
        "the header is missing or invalid.",
    ),
    _parameter("traceparent", "The caller's trace (W3C Trace Context). Requests that this one causes carry it on."),
    _parameter(
        "webhook-id", "The id of the event, which is the same in each attempt.", required=True, example=EXAMPLE_ID
    ),
    _parameter("webhook-timestamp", "When it was sent, in seconds since 1970.", required=True, pattern="^[0-9]+$"),
]

_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The name of this request in logs: the caller's or a new one.", {}),
    "ETag": ("The version of the response: for If-None-Match, and for If-Match in operations that have it.", {}),
    "Location": ("The path of what was created.", {"format": "uri-reference"}),
    "Link": ('`rel="next"`: the next page, if there is one (RFC 8288).', {}),
    "Idempotency-Replayed": ("Present if an earlier request with this key did the work.", {"enum": ["true"]}),
    "Preference-Applied": ("Present if the request was allowed to wait: `wait=N`.", {"pattern": "^wait=[0-9]+$"}),
    "RateLimit": (
        "Present if there are rate limits: what is left of each (draft-ietf-httpapi-ratelimit-headers).",
        {},
    ),
    "RateLimit-Policy": ("Present if there are rate limits: their quotas and windows.", {}),
    "Retry-After": ("After how many seconds to retry.", {"pattern": "^[0-9]+$"}),
    "WWW-Authenticate": ("The required scheme, `Bearer`, and what is wrong with the given token (RFC 6750).", {}),
}

_OPTIONAL = {
    "RateLimit",
    "RateLimit-Policy",
    "Link",
    "Idempotency-Replayed",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
}


def components() -> dict[str, Any]:
    """Return the components that operations refer to, by kind and name."""
    headers = {
        name: {"description": about, "required": name not in _OPTIONAL, "schema": {"type": "string", **schema}}
        for name, (about, schema) in _HEADERS.items()
    }
    not_modified = {
        "description": "Not modified: If-None-Match names the current version, and the response is empty",
        "headers": header_references("ETag", "X-Request-Id"),
    }
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an access token of the issuer that the operator trusts. It belongs to a "
        "merchant and has scopes.",
    }
    return {
        "parameters": {parameter["name"]: parameter for parameter in _PARAMETERS},
        "headers": headers,
        "responses": {"not-modified": not_modified},
        "securitySchemes": {BEARER: bearer},
    }


def security_scheme(signature: Signature) -> dict[str, str]:
    """Return the security scheme of a signature."""
    return {"type": "apiKey", "in": "header", "name": signature.header, "description": signature.about}
