"""Cross-origin requests of browsers (the Fetch standard, CORS), for the origins that the operator allows.

Cookies are not used and credentials not allowed: a page must send an API key or a token itself.
"""

from __future__ import annotations

from flask import Request, Response

_REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, Tandem-Merchant, X-Request-Id, "
    "traceparent, tracestate"
)
_RESPONSE_HEADERS = (
    "Deprecation, ETag, Idempotency-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, Sunset, Tandem-Version, WWW-Authenticate, X-Request-Id"
)
_MAX_AGE = "600"  # seconds for which a browser may keep the answer to a preflight request


def allow(origins: frozenset[str], request: Request, response: Response) -> None:
    """Let a page of an allowed origin read a response. `*` in `origins` allows every origin."""
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin", "")
    if not origin or not ("*" in origins or origin in origins):
        return
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = _MAX_AGE
