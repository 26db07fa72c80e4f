"""Secrets that sign: the database holds what they are derived from, the environment the key that it takes.

A secret is HMAC-SHA256(key, seed): whoever has a copy of the database has the seeds, and can't sign. Without a key
in WEBHOOK_KEYS the seed itself is the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

MOST = 5
"""So many secrets of an endpoint sign at most, if it is rotated again and again."""


class KeyMissing(Exception):
    """A secret was derived by a key that WEBHOOK_KEYS does not have any more."""


class Keys:
    """The keys that secrets are derived by; new ones by the first."""

    def __init__(self, keys: Sequence[str]) -> None:
        """None at all: secrets are kept as they are."""
        self._keys = {hashlib.sha256(key.encode()).hexdigest()[:16]: key.encode() for key in keys}

    def new(self) -> dict[str, Any]:
        """A new secret, as it is stored: its seed, the name of its key, and until when it signs (None: no end)."""
        seed = base64.b64encode(secrets.token_bytes(32)).decode()
        return {"seed": seed, "key": next(iter(self._keys), None), "until": None}

    def signing(self, stored: Sequence[dict[str, Any]], now: datetime) -> list[str]:
        """Those of an endpoint's secrets that sign now, the newest first. Raises KeyMissing."""
        return [self.secret(each) for each in stored if not _is_over(each, now)]

    def secret(self, stored: dict[str, Any]) -> str:
        """The secret itself: "whsec_" and base64. Raises KeyMissing."""
        seed = base64.b64decode(stored["seed"])
        name = stored["key"]
        if name is not None and name not in self._keys:
            raise KeyMissing(f"WEBHOOK_KEYS has no key {name}")
        derived = seed if name is None else hmac.digest(self._keys[name], seed, "sha256")
        return f"whsec_{base64.b64encode(derived).decode()}"


def rotated(
    stored: Sequence[dict[str, Any]], new: dict[str, Any], until: datetime, now: datetime
) -> list[dict[str, Any]]:
    """An endpoint's secrets with a new one in front; those that have no end yet sign until then, besides it."""
    kept = [{**each, "until": each["until"] or until.isoformat()} for each in stored]
    return [new, *(each for each in kept if not _is_over(each, now))][:MOST]


def _is_over(stored: dict[str, Any], now: datetime) -> bool:
    return stored["until"] is not None and datetime.fromisoformat(stored["until"]) <= now
