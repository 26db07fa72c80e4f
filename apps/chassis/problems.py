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
    """One kind of problem: its HTTP status, its title, and how a caller gets out of it."""

    status: int
    title: str
    cure: str


CATALOGUE: dict[str, Kind] = {
    "malformed-request": Kind(
        400, "The request could not be read", "Send one well-formed JSON object, encoded as UTF-8, with no key twice."
    ),
    "idempotency-key-missing": Kind(
        400,
        "The Idempotency-Key header is missing or malformed",
        "Send Idempotency-Key with 1 to 255 visible characters, a new one for each new intention, "
        "and the same one when you repeat a request.",
    ),
    "invalid-signature": Kind(
        400,
        "The signature of the event is not valid",
        "Sign the exact bytes of the body with the shared secret (Standard Webhooks), within five minutes.",
    ),
    "unauthorized": Kind(
        401, "Authentication is required", "Send Authorization: Bearer <API key> with a key that is known here."
    ),
    "forbidden": Kind(
        403, "The key may not do this", "Use a key that has the scope, or for another merchant the scope merchants:any."
    ),
    "not-found": Kind(404, "There is nothing here", "Check the path; /openapi.json lists every path of this service."),
    "order-not-found": Kind(404, "There is no such order", "Check the id, and that the key belongs to its merchant."),
    "payment-not-found": Kind(
        404, "There is no such payment", "Check the id, and that the key belongs to its merchant."
    ),
    "webhook-endpoint-not-found": Kind(
        404, "There is no such webhook endpoint", "Check the id, and that the key belongs to its merchant."
    ),
    "webhook-delivery-not-found": Kind(
        404, "There is no such webhook delivery", "Check the id; what was settled long ago has been deleted."
    ),
    "method-not-allowed": Kind(
        405, "The method is not allowed here", "Use one of the methods that the Allow header lists."
    ),
    "idempotency-key-in-use": Kind(
        409,
        "A request with this key is still being processed",
        "Repeat the request after the seconds in Retry-After, with the same key.",
    ),
    "order-exists": Kind(
        409, "The order exists with other content", "Use a new id, or repeat the first request exactly."
    ),
    "payment-exists": Kind(
        409,
        "The order already has a payment of another amount",
        "An order is charged once: look at its payment, or use another order_id.",
    ),
    "payment-state": Kind(
        409, "The payment does not allow this now", "Look at the payment: its status says what can be done with it."
    ),
    "order-state": Kind(
        409, "The order does not allow this now", "Look at the order: its status says what can be done with it."
    ),
    "amount-exceeds-captured": Kind(
        409, "More than is left to refund", "Refund at most what was captured less what was or is being refunded."
    ),
    "amount-exceeds-authorized": Kind(409, "More than is authorized", "Capture at most the authorized amount."),
    "webhook-endpoint-limit": Kind(
        409, "There are as many webhook endpoints as there may be", "Delete one that is not needed any more."
    ),
    "webhook-endpoint-disabled": Kind(
        409, "The webhook endpoint is disabled", "Enable it first, with POST to its /enable."
    ),
    "content-too-large": Kind(413, "The body is too large", "Send at most 256 KiB."),
    "uri-too-long": Kind(414, "The request line is too long", "Send a shorter URL."),
    "unsupported-media-type": Kind(
        415, "The body's media type is not supported", "Send Content-Type: application/json."
    ),
    "validation": Kind(422, "The request is not valid", "Mend the fields that `errors` points to (JSON pointers)."),
    "idempotency-key-reused": Kind(
        422,
        "The key was used for another request",
        "Use a new Idempotency-Key for a new request; repeat the old request exactly to see its outcome.",
    ),
    "card-number": Kind(
        422,
        "The body holds what looks like a card number",
        "Never send card numbers; send the token that your payment provider gave for the card.",
    ),
    "too-many-requests": Kind(
        429,
        "Too many requests",
        "Repeat the request with the same key after the seconds in Retry-After; RateLimit says how much is left.",
    ),
    "headers-too-large": Kind(431, "The header fields are too large", "Send fewer or shorter header fields."),
    "internal-error": Kind(
        500, "Something went wrong here", "Repeat the request with the same key; if it persists, report request_id."
    ),
    "not-implemented": Kind(501, "The transfer coding is not supported", "Send Content-Length or chunked bodies."),
    "unavailable": Kind(
        503,
        "The service cannot do this right now",
        "Repeat the request with the same key after the seconds in Retry-After: nothing is done twice.",
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
