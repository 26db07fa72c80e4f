"""The Secret that both services read, with keys that tests know."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field

from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY

NAME = "tandem-keys"
_WRITES = ["orders:read", "orders:write", "payments:read", "payments:write"]


def new_key() -> str:
    """An API key."""
    return f"tdm_{secrets.token_urlsafe(30)}"


def new_secret() -> str:
    """A secret that events are signed with."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Credentials:
    """What is good: of each kind the first is used, those behind it are accepted too."""

    people: list[str] = field(default_factory=lambda: [KEY])
    order: list[str] = field(default_factory=lambda: [INTERNAL_KEY])
    events: list[str] = field(default_factory=lambda: [new_secret()])

    def content(self) -> dict[str, str]:
        """What the Secret holds."""
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
"""Values that have both services read that Secret."""
