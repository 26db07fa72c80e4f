"""Receiving webhooks: who has sent these bytes, and what do they say?

In a Flask view::

    event = webhooks.verify(request.get_data(), request.headers, secrets)

Answer 2xx once you have stored what you need, within seconds; what is not answered so is sent again, under the same
`event.id`. So the same event may come twice, and events may come late or in another order.
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
    """What a webhook tells: `type` such as `order.paid`, and in `data` the resource as it stood at `timestamp`.

    `id` is the same when the event is sent again: remember it to do nothing twice. `body` is all of it.
    """

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    body: Mapping[str, Any]


def verify(body: bytes, headers: Mapping[str, str], secrets: str | Iterable[str]) -> Event:
    """The event that a request holds, whose exact bytes one of the secrets has signed within five minutes.

    Several secrets are valid while one is being replaced: give the old one and the new one. Standard Webhooks
    (standardwebhooks.com). Raises InvalidSignature: answer 400 then, and believe nothing of it; ValueError, which
    quotes nothing, for what is not a secret ("whsec_" and base64) or none at all.
    """
    signers = [_signer(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not signers:
        raise ValueError("no secret is given: whose webhooks are to be believed?")
    signed = {name.lower(): value for name, value in headers.items() if name.lower().startswith("webhook-")}
    reason: Exception | None = None
    for signer in signers:
        try:
            signer.verify(body, signed, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # ValueError: not UTF-8, not base64, no comma
            reason = error
        else:
            return _event(signed["webhook-id"], body)
    raise InvalidSignature(f"This is not a webhook signed with one of the secrets just now: {reason}.") from reason


def _signer(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (EmptyWebhookSecretError, ValueError):
        raise ValueError("a secret of webhooks is whsec_ and base64") from None


def _event(event_id: str, body: bytes) -> Event:
    """The event; what was genuinely signed and is no event is as good as not signed."""
    try:
        members = json.loads(body)
        return Event(event_id, members["type"], datetime.fromisoformat(members["timestamp"]), members["data"], members)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSignature("The signature is good, but this is not an event of Tandem's.") from error
