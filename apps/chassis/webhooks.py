"""Signed events between services and to merchants, as Standard Webhooks (standardwebhooks.com) has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError


def sign(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    """The headers that prove who sent these bytes, and when. `secret` is "whsec_" and base64."""
    now = datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body.decode()),
    }


def is_genuine(secrets: Iterable[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of the secrets signed these bytes within the last five minutes."""
    relevant = {name: value for name, value in headers.items() if name.lower().startswith("webhook-")}
    for secret in secrets:
        try:
            Webhook(secret).verify(body, relevant, json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: not base64, not UTF-8, no comma
            continue
        return True
    return False
