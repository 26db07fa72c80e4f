"""Verifying the webhooks that Tandem sends you.

In a Flask view::

    event = webhooks.verify(request.get_data(), request.headers, secrets)

Store what you need, then respond with 2xx within seconds. Otherwise Tandem sends the event again with the same
`event.id`. An event may therefore arrive twice, late, or out of order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from tandem_client.answers import Answer, parse_time, read
from tandem_client.errors import InvalidSignature, UnexpectedAnswer
from tandem_client.model import Order, Refund
from tandem_client.values import DeliveryEventType, Unknown, value_of


@dataclass(frozen=True, slots=True)
class Event:
    """The event in a webhook: `type`, such as `order.paid`, and what happened at `timestamp`.

    `order` is the order as it was then, and `refund` the refund if `type` is `refund.succeeded` or `refund.failed`.
    Both are None for `webhook.test`, and for a type that this client does not know: then use `data`. `id` stays the
    same when the event is sent again: store it to recognize duplicates. `body` is the whole JSON body, and `data` its
    member `data`, as received.
    """

    id: str
    type: DeliveryEventType | Unknown
    timestamp: datetime
    data: Mapping[str, Any]
    body: Mapping[str, Any]
    order: Order | None = None
    refund: Refund | None = None


def verify(body: bytes, headers: Mapping[str, str], secrets: str | Iterable[str]) -> Event:
    """Verify the signature of a webhook (Standard Webhooks, standardwebhooks.com) and return its event.

    `body` is the request's body, byte for byte. One of `secrets` must have signed it, not more than five minutes ago or
    ahead. Pass the old and the new secret while you replace one.

    Raises InvalidSignature: respond with 400 and do not use the body. Raises ValueError, without quoting it, if a
    secret is not "whsec_" and base64, or if there is none.
    """
    verifiers = [_verifier(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not verifiers:
        raise ValueError("no secret is given: pass the secret of the webhook endpoint")
    signed = {name.lower(): value for name, value in headers.items() if name.lower().startswith("webhook-")}
    reason: Exception | None = None
    for verifier in verifiers:
        try:
            verifier.verify(body, signed, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # ValueError: not UTF-8, not base64, no comma
            reason = error
        else:
            return _parse_event(signed["webhook-id"], body)
    raise InvalidSignature(f"None of the secrets signed this webhook within five minutes: {reason}.") from reason


def _verifier(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, ValueError):
        raise ValueError("a webhook secret is whsec_ followed by base64") from None


def _parse_event(event_id: str, body: bytes) -> Event:
    """Parse a signed body. A body that is not an event raises InvalidSignature too."""
    try:
        members = json.loads(body)
        data, refund = members["data"], members.get("refund")
        kind = value_of(DeliveryEventType)(members["type"])
        # An event of a later release can be of something else than an order.
        has_order = kind != "webhook.test" and not isinstance(kind, Unknown)
        return Event(
            event_id,
            kind,
            parse_time(members["timestamp"]),
            data,
            members,
            order=read(Order, Answer(200, data)) if has_order else None,
            refund=read(Refund, Answer(200, refund)) if has_order and refund is not None else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, UnexpectedAnswer) as error:
        raise InvalidSignature("The signature is valid, but the body is not an event of Tandem.") from error
