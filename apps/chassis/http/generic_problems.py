"""The kinds of problems that every service can answer with."""

from __future__ import annotations

from chassis.http.problems import Catalogue, Kind, Problem

GENERIC: Catalogue = {
    "malformed-request": Kind(
        400,
        "The request could not be read",
        "Send one well-formed JSON object, encoded as UTF-8, without duplicate keys.",
        "The body is not JSON, is not an object, is not UTF-8, is incomplete, or has a key twice; or the request is "
        "not valid HTTP/1.1, for example because of a space before the colon of a header.",
    ),
    "idempotency-key-missing": Kind(
        400,
        "The Idempotency-Key header is missing or malformed",
        "Send Idempotency-Key with 1 to 255 visible ASCII characters, with or without quotes around them: a new key "
        "for each new operation, and the same key when you retry a request.",
        "A POST under /v1 creates or changes something and may reach the service twice. Without a key, a retry looks "
        "like a new request.",
    ),
    "invalid-signature": Kind(
        400,
        "The signature of the event is not valid",
        "Sign the exact bytes of the body with the shared secret (Standard Webhooks), and send the event within five "
        "minutes.",
        "The signature does not match the bytes of the body, was made with another secret, or is more than five "
        "minutes old.",
    ),
    "unauthorized": Kind(
        401,
        "Authentication is required",
        "Send Authorization: Bearer <API key> with a valid key.",
        "The Authorization header is missing, is not a bearer token, or has a key or token that is unknown or no "
        "longer valid.",
    ),
    "forbidden": Kind(
        403,
        "The key may not do this",
        "Use a key that has the scope, or for another merchant a key with the scope merchants:any.",
        "The key is valid, but it lacks the scope that this operation needs, or Tandem-Merchant names a merchant that "
        "the key may not act for.",
    ),
    "not-found": Kind(
        404,
        "There is nothing here",
        "Check the path; /openapi.json lists every path of this service.",
        "No path of this service is spelled exactly like this. A trailing slash, two slashes in a row and capital "
        "letters make a different path.",
    ),
    "method-not-allowed": Kind(
        405,
        "The method is not allowed here",
        "Use one of the methods in the Allow header.",
        "The path exists, but it does not support this method.",
    ),
    "request-timeout": Kind(
        408,
        "The request did not arrive in time",
        "Send the whole request within 20 seconds. A retry with the same key does nothing twice.",
        "The connection was open, but the request on it was incomplete: the network lost a part of it, or the client "
        "stopped sending.",
    ),
    "idempotency-key-in-use": Kind(
        409,
        "A request with this key is still being processed",
        "Retry the request with the same key after the number of seconds in Retry-After.",
        "An earlier request with the same key, or for the same resource, was still being processed after a second.",
    ),
    "precondition-failed": Kind(
        412,
        "The resource has another version now",
        "Read the resource, decide again, and send the request with the new ETag in If-Match and a new "
        "Idempotency-Key.",
        "If-Match names the versions that you want to change, and the resource has another one: it has changed since "
        "you read it.",
    ),
    "content-too-large": Kind(
        413,
        "The body is too large",
        "Send at most 256 KiB.",
        "The body has more than 256 KiB.",
    ),
    "uri-too-long": Kind(
        414,
        "The request line is too long",
        "Send a shorter URL.",
        "The method, path and query together are longer than 4094 bytes.",
    ),
    "unsupported-media-type": Kind(
        415,
        "The body's media type is not supported",
        "Send Content-Type: application/json, and no Content-Encoding.",
        "The request has a body, and its Content-Type is missing or is not JSON; or it has a Content-Encoding.",
    ),
    "expectation-failed": Kind(
        417,
        "The expectation can't be met",
        "Send no Expect header, or Expect: 100-continue.",
        "The Expect header asks for something that this service does not support.",
    ),
    "validation": Kind(
        422,
        "The request is not valid",
        "Correct the fields that `errors` points to (JSON pointers).",
        "The request could be read, but a field of its body or a parameter of its query is unknown, missing or has "
        "an invalid value.",
    ),
    "idempotency-key-reused": Kind(
        422,
        "The key was used for another request",
        "Use a new Idempotency-Key for a new request. To see the outcome of the earlier request, repeat it exactly.",
        "An earlier request with this key had another body or another path. Answering with its outcome would hide "
        "that this request was not processed.",
    ),
    "card-number": Kind(
        422,
        "The request holds what looks like a card number",
        "Never send card numbers. Send the token that stands for the card.",
        "Free text in the body or the query has a card number, or a code, such as the Idempotency-Key, is written as "
        "one: in groups of digits or beside a word such as card. Nothing was stored or logged.",
    ),
    "too-many-requests": Kind(
        429,
        "Too many requests",
        "Retry the request with the same key after the number of seconds in Retry-After; RateLimit says how much of "
        "the quota is left.",
        "The merchant has used up its quota, or too many requests with invalid keys came from this address.",
    ),
    "headers-too-large": Kind(
        431,
        "The header fields are too large",
        "Send fewer or shorter header fields.",
        "There are more than 100 header fields, one of them has more than 8 KiB, or all have more than 64 KiB.",
    ),
    "internal-error": Kind(
        500,
        "An unexpected error",
        "Retry the request with the same key. If the error persists, report the request_id.",
        "An unforeseen fault of this service. The request has either taken effect completely or not at all.",
    ),
    "not-implemented": Kind(
        501,
        "The transfer coding is not supported",
        "Send a body with Content-Length, or chunked.",
        "Transfer-Encoding names something other than chunked.",
    ),
    "unavailable": Kind(
        503,
        "The service cannot do this right now",
        "Retry the request with the same key after the number of seconds in Retry-After. Nothing is done twice.",
        "The database of this service does not answer, or the service is shutting down.",
    ),
}


def with_own(own: Catalogue) -> Catalogue:
    """Return the generic kinds and a service's own, ordered by status. Raises ValueError for a generic one's name."""
    if twice := GENERIC.keys() & own.keys():
        raise ValueError(f"these kinds of problems are generic: {', '.join(sorted(twice))}")
    return dict(sorted({**GENERIC, **own}.items(), key=lambda item: item[1].status))


def name_for(status: int) -> str:
    """Return the name of the generic kind with this HTTP status, or that of the fallback for 4xx or 5xx."""
    names = (name for name, kind in GENERIC.items() if kind.status == status)
    return next(names, "malformed-request" if status < 500 else "internal-error")


_DETAILS = {
    400: "The request is malformed.",
    404: "This service has no such path.",
    405: "This path does not support the method.",
    413: "The body has more than 256 KiB.",
}


def from_status(status: int) -> Problem:
    """Return the problem for an error status that Flask or Werkzeug chose, such as 404 for an unknown path."""
    name = name_for(status)
    return Problem(name, _DETAILS.get(status, GENERIC[name].cause))
