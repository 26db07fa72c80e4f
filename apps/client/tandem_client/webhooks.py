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

from tandem_client.errors import InvalidSignature


@dataclass(frozen=True, slots=True)
class Event:
    """The event in a webhook: `type`, such as `order.paid`, and `data`, the resource as it was at `timestamp`.

    `id` stays the same when the event is sent again: store it to recognize duplicates. `body` is the whole JSON body.
    """

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    body: Mapping[str, Any]


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
        return Event(event_id, members["type"], datetime.fromisoformat(members["timestamp"]), members["data"], members)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSignature("The signature is valid, but the body is not an event of Tandem.") from error
