"""Signatures of events, by Standard Webhooks (standardwebhooks.com)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError


def sign(secret: str, message_id: str, body: bytes, *others: str) -> dict[str, str]:
    """Return the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` for a body that is sent now.

    `secret` is "whsec_" and base64. While a secret is being replaced, `others` sign too: the receiver may know any of
    them.
    """
    now = datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(each).sign(message_id, now, body.decode()) for each in (secret, *others)),
    }


def is_secret(text: str) -> bool:
    """Return whether a text is a secret of Standard Webhooks: "whsec_" and the base64 of at least 24 bytes."""
    prefix, _, encoded = text.rpartition("whsec_")
    try:
        return prefix == "" and text.startswith("whsec_") and len(base64.b64decode(encoded, validate=True)) >= 24
    except ValueError:
        return False


def is_genuine(secrets: Iterable[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether one of the secrets signed these bytes within the last five minutes."""
    relevant = {name: value for name, value in headers.items() if name.lower().startswith("webhook-")}
    for secret in secrets:
        try:
            Webhook(secret).verify(body, relevant, json_parse=False)
        except (WebhookVerificationError, EmptyWebhookSecretError, ValueError):  # not base64, not UTF-8, no comma
            continue
        return True
    return False
