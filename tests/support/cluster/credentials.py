"""A Secret for both services with keys that the tests know."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field

from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY

NAME = "tandem-keys"
_WRITES = ["orders:read", "orders:write", "payments:read", "payments:write"]


def new_key() -> str:
    """Return a new API key."""
    return f"tdm_{secrets.token_urlsafe(30)}"


def new_secret() -> str:
    """Return a new secret for signing events."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Credentials:
    """The valid keys and secrets. The first of each kind is used, the others are accepted too.

    `people` are API keys of a merchant, `order` keys of order at payment, `events` signing secrets.
    """

    people: list[str] = field(default_factory=lambda: [KEY])
    order: list[str] = field(default_factory=lambda: [INTERNAL_KEY])
    events: list[str] = field(default_factory=lambda: [new_secret()])

    def content(self) -> dict[str, str]:
        """Return the content of the Secret."""
        keys = [{"key": key, "merchant": "demo", "scopes": _WRITES} for key in self.people]
        keys += [{"key": OTHER_KEY, "merchant": "other", "scopes": _WRITES}]
        scopes = ["payments:read", "payments:write", "merchants:any"]
        keys += [{"key": key, "merchant": "tandem", "scopes": scopes} for key in self.order]
        return {
            "api-key": self.people[0],
            "payment-api-key": self.order[0],
            "api-keys": json.dumps(keys),
            "events-secrets": " ".join(self.events),
        }


VALUES = {service: {"credentials": {"existingSecret": NAME}} for service in ("order", "payment")}
"""Values that make both services read this Secret."""


def database_secret(service: str) -> dict[str, str]:
    """Return the content of the Secret of an embedded database, as docs/gitops.md describes it."""
    owner, serving, host = secrets.token_hex(16), secrets.token_hex(16), f"tandem-{service}-postgresql:5432/{service}"
    return {
        "password": owner,
        "service-password": serving,
        "postgres-password": secrets.token_hex(16),
        "url": f"postgresql://{service}:{owner}@{host}",
        "service-url": f"postgresql://{service}_service:{serving}@{host}",
    }
