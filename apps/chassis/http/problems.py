"""Problem details for HTTP APIs (RFC 9457): every error answer of a service has this shape.

Raise a `Problem` by its name anywhere below a request::

    raise Problem("order-not-found", "No order has this id.")

The catalogue below is the single list of what can go wrong; `/problems/<name>` renders it for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status, its title, how a caller gets out of it, and how one gets into it."""

    status: int
    title: str
    cure: str
    cause: str


CATALOGUE: dict[str, Kind] = {
    "malformed-request": Kind(
        400,
        "The request could not be read",
        "Send one well-formed JSON object, encoded as UTF-8, with no key twice.",
        "The body is not JSON, not an object, not UTF-8, breaks off, or says something twice; or the "
        "request is not one that HTTP/1.1 allows, such as a header with a space before its colon.",
    ),
    "idempotency-key-missing": Kind(
        400,
        "The Idempotency-Key header is missing or malformed",
        "Send Idempotency-Key with 1 to 255 visible characters, a new one for each new intention, "
        "and the same one when you repeat a request.",
        "Every POST under /v1 makes or changes something, and could reach us twice: without a key it "
        "can't be told from a new one.",
    ),
    "invalid-signature": Kind(
        400,
        "The signature of the event is not valid",
        "Sign the exact bytes of the body with the shared secret (Standard Webhooks), within five minutes.",
        "The signature does not fit the bytes of the body, was made with another secret, or is more "
        "than five minutes old.",
    ),
    "unauthorized": Kind(
        401,
        "Authentication is required",
        "Send Authorization: Bearer <API key> with a key that is known here.",
        "The Authorization header is missing, is no bearer token, or has one that is not known or no longer valid.",
    ),
    "forbidden": Kind(
        403,
        "The key may not do this",
        "Use a key that has the scope, or for another merchant the scope merchants:any.",
        "The key is known, but lacks the scope that this path asks for, or names a merchant that it does not act for.",
    ),
    "not-found": Kind(
        404,
        "There is nothing here",
        "Check the path; /openapi.json lists every path of this service.",
        "No path of this service is spelled like this one: a slash at its end, two slashes in a row, "
        "and capital letters count.",
    ),
    "order-not-found": Kind(
        404,
        "There is no such order",
        "Check the id, and that the key belongs to its merchant.",
        "No order has this id, or the order is another merchant's, which looks the same.",
    ),
    "payment-not-found": Kind(
        404,
        "There is no such payment",
        "Check the id, and that the key belongs to its merchant.",
        "No payment has this id, or the payment is another merchant's, which looks the same.",
    ),
    "webhook-endpoint-not-found": Kind(
        404,
        "There is no such webhook endpoint",
        "Check the id, and that the key belongs to its merchant.",
        "No endpoint has this id, or it was deleted, or it is another merchant's, which looks the same.",
    ),
    "webhook-delivery-not-found": Kind(
        404,
        "There is no such webhook delivery",
        "Check the id; what was settled long ago has been deleted.",
        "No delivery of this endpoint has this id.",
    ),
    "method-not-allowed": Kind(
        405,
        "The method is not allowed here",
        "Use one of the methods that the Allow header lists.",
        "The path exists, but does not know this method.",
    ),
    "request-timeout": Kind(
        408,
        "The request did not arrive in time",
        "Send the whole request within 20 seconds; with the same key, nothing is done twice.",
        "The connection was open, but the request on it was not complete: a network that loses it, or a client that "
        "stopped in the middle.",
    ),
    "idempotency-key-in-use": Kind(
        409,
        "A request with this key is still being processed",
        "Repeat the request after the seconds in Retry-After, with the same key.",
        "A request with the same key, or about the same thing, came first and has not been answered after a second.",
    ),
    "order-exists": Kind(
        409,
        "The order exists with other content",
        "Use a new id, or repeat the first request exactly.",
        "POST /orders takes the order's id from the caller, and an order with this id exists whose "
        "items or total are others.",
    ),
    "payment-exists": Kind(
        409,
        "The order already has a payment of another amount",
        "An order is charged once: look at its payment, or use another order_id.",
        "POST /payments was asked for another amount than what the order's payment is about.",
    ),
    "payment-state": Kind(
        409,
        "The payment does not allow this now",
        "Look at the payment: its status says what can be done with it.",
        "The payment's status does not allow it, such as a capture of what is captured, or something "
        "else is under way with it.",
    ),
    "order-state": Kind(
        409,
        "The order does not allow this now",
        "Look at the order: its status says what can be done with it.",
        "The order's status does not allow it, such as a refund of what is not paid.",
    ),
    "amount-exceeds-captured": Kind(
        409,
        "More than is left to refund",
        "Refund at most what was captured less what was or is being refunded.",
        "What was refunded, what is being refunded and what was asked for now are more together than "
        "what was captured.",
    ),
    "amount-exceeds-authorized": Kind(
        409,
        "More than is authorized",
        "Capture at most the authorized amount.",
        "A capture may take less than what was authorized, and never more.",
    ),
    "precondition-failed": Kind(
        412,
        "The resource is another version by now",
        "Read it again, decide again, and repeat the request with its new ETag in If-Match and a new Idempotency-Key.",
        "If-Match names the versions that you would change, and the order or payment is at another: somebody, or the "
        "payment itself, has changed it since you looked.",
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
    "webhook-endpoint-limit": Kind(
        409,
        "There are as many webhook endpoints as there may be",
        "Delete one that is not needed any more.",
        "Each event is sent to every endpoint that wants it, so a merchant has a limited number of them.",
    ),
    "webhook-endpoint-disabled": Kind(
        409,
        "The webhook endpoint is disabled",
        "Enable it first, with POST to its /enable.",
        "The endpoint answered 410 Gone, which says that it wants nothing more, and nothing is sent to it since.",
    ),
    "unsupported-media-type": Kind(
        415,
        "The body's media type is not supported",
        "Send Content-Type: application/json.",
        "There is a body, and its Content-Type is not application/json, or there is none.",
    ),
    "expectation-failed": Kind(
        417,
        "The expectation can't be met",
        "Send no Expect header, or Expect: 100-continue.",
        "The Expect header asks for something that this service does not know.",
    ),
    "validation": Kind(
        422,
        "The request is not valid",
        "Mend the fields that `errors` points to (JSON pointers).",
        "The request could be read, but a field, or a parameter of its query, is unknown, missing, or "
        "not what it must be.",
    ),
    "idempotency-key-reused": Kind(
        422,
        "The key was used for another request",
        "Use a new Idempotency-Key for a new request; repeat the old request exactly to see its outcome.",
        "The key stands for a request that had another body or went to another path. It would hide "
        "that this one was never done.",
    ),
    "card-number": Kind(
        422,
        "The body holds what looks like a card number",
        "Never send card numbers; send the token that your payment provider gave for the card.",
        "A string in the body, the query or the Idempotency-Key has 13 to 19 digits that look like a "
        "card's number: it was neither stored nor logged.",
    ),
    "headers-too-large": Kind(
        431,
        "The header fields are too large",
        "Send fewer or shorter header fields.",
        "There are more than 100 header fields, one of them has more than 8 KiB, or all have more than 64 KiB.",
    ),
    "too-many-requests": Kind(
        429,
        "Too many requests",
        "Repeat the request with the same key after the seconds in Retry-After; RateLimit says how much is left.",
        "The merchant, or the address that sends keys that are not known, has used up what it may send in this time.",
    ),
    "internal-error": Kind(
        500,
        "Something went wrong here",
        "Repeat the request with the same key; if it persists, report request_id.",
        "A fault of this service that it did not foresee. Whatever the request wanted was done wholly or not at all.",
    ),
    "not-implemented": Kind(
        501,
        "The transfer coding is not supported",
        "Send Content-Length or chunked bodies.",
        "Transfer-Encoding names something other than chunked.",
    ),
    "unavailable": Kind(
        503,
        "The service cannot do this right now",
        "Repeat the request with the same key after the seconds in Retry-After: nothing is done twice.",
        "The database of this service does not answer, or it was told to stop.",
    ),
}

_BY_STATUS = {400: "malformed-request", 409: "idempotency-key-in-use", 422: "validation"}


def name_for(status: int) -> str:
    """The name of the most general problem with this HTTP status (unknown ones: by class, 4xx or 5xx)."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    names = [name for name, kind in CATALOGUE.items() if kind.status == status]
    return names[0] if names else ("malformed-request" if status < 500 else "internal-error")


@dataclass(slots=True)
class Problem(Exception):
    """An answer that is not a success.

    `name` is a key of `CATALOGUE`; `detail` says what was wrong this time, for the caller's eyes;
    `errors` holds `{"pointer": <JSON pointer (RFC 6901)>, "detail": <text>}` for each offending field;
    `headers` are added to the answer.
    """

    name: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of this kind of problem."""
        return CATALOGUE[self.name].status

    def body(self, instance: str, request_id: str, status: int | None = None) -> dict[str, object]:
        """The problem+json members; `status` overrides the catalogue's where HTTP itself chose it."""
        members: dict[str, object] = {
            "type": f"/problems/{self.name}",
            "title": CATALOGUE[self.name].title,
            "status": status or self.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
        }
        if self.errors:
            members["errors"] = self.errors
        return members


def unavailable(detail: str, retry_after: int = 1) -> Problem:
    """A fault on our side that passes: 503 with Retry-After in seconds."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after)})


def invalid(pointer: str, detail: str) -> Problem:
    """One field is wrong: 422 with a JSON pointer to it."""
    return Problem("validation", detail, errors=[{"pointer": pointer, "detail": detail}])


def from_status(status: int, detail: str | None) -> Problem:
    """What HTTP itself refused (404, 405, 413, ...), as a problem."""
    return Problem(name_for(status), detail or HTTPStatus(status).description or HTTPStatus(status).phrase)
