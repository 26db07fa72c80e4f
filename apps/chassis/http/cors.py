"""Cross-origin requests of browsers (the Fetch standard, CORS), for the origins that the operator allows.

Cookies are not used and credentials not allowed: a page must send an API key or a token itself.
"""

from __future__ import annotations

import re

from flask import Request, Response

_ORIGIN = re.compile(r"(https?)://([A-Za-z0-9.\-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Prefer, Tandem-Merchant, X-Request-Id, "
    "traceparent, tracestate"
)
_RESPONSE_HEADERS = (
    "Deprecation, ETag, Idempotency-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, Sunset, Tandem-Version, WWW-Authenticate, X-Request-Id"
)
_MAX_AGE = "600"  # seconds for which a browser may keep the answer to a preflight request


def parse(text: str) -> frozenset[str]:
    """Return the origins that a text names, separated by commas, as browsers write them. Raises ValueError."""
    origins = set()
    for each in filter(None, (part.strip() for part in text.split(","))):
        found = _ORIGIN.fullmatch(each)
        port = int(found[3] or _DEFAULT_PORTS[found[1]]) if found else 0
        if found and 1 <= port <= 65535:
            written = "" if port == _DEFAULT_PORTS[found[1]] else f":{port}"
            origins.add(f"{found[1]}://{found[2].lower()}{written}")
        elif each == "*":
            origins.add(each)
        else:
            raise ValueError(f"{each} is no origin, such as https://shop.example")
    return frozenset(origins)


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
