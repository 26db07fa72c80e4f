"""The secrets that sign webhooks, derived from a seed in the database and a key in the environment.

A secret is HMAC-SHA256(key, seed), so a copy of the database is not enough to sign. Without a key in WEBHOOK_KEYS the
seed itself is the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

MAX_SECRETS = 5
"""The most secrets of an endpoint that sign at the same time, however often it is rotated."""


class KeyMissing(Exception):
    """A secret was derived with a key that is no longer in WEBHOOK_KEYS."""


class Keys:
    """The keys with which secrets are derived. New secrets use the first; without keys, a seed is the secret."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {hashlib.sha256(key.encode()).hexdigest()[:16]: key.encode() for key in keys}

    def new(self, request: str) -> dict[str, Any]:
        """Return a new secret in its stored form: its seed, its key's name, and until when it signs (None: no end).

        `request` is the idempotency key of the request that makes it (see `is_made_by`).
        """
        seed = base64.b64encode(secrets.token_bytes(32)).decode()
        return {"seed": seed, "key": next(iter(self._keys), None), "until": None, "request": _digest(request)}

    def signing_secrets(self, stored: Sequence[dict[str, Any]], now: datetime) -> list[str]:
        """Return the secrets of an endpoint that sign now, newest first. Raises KeyMissing."""
        return [self.secret(each) for each in stored if not _has_ended(each, now)]

    def secret(self, stored: dict[str, Any]) -> str:
        """Derive a stored secret: "whsec_" and base64. Raises KeyMissing."""
        seed = base64.b64decode(stored["seed"])
        name = stored["key"]
        if name is not None and name not in self._keys:
            raise KeyMissing(f"WEBHOOK_KEYS has no key {name}")
        derived = seed if name is None else hmac.digest(self._keys[name], seed, "sha256")
        return f"whsec_{base64.b64encode(derived).decode()}"


def is_made_by(stored: dict[str, Any], request: str) -> bool:
    """Return whether the request with this idempotency key made the secret.

    False for secrets of releases before 0.3, which did not store it.
    """
    return stored.get("request") == _digest(request)


def _digest(request: str) -> str:
    return hashlib.sha256(request.encode()).hexdigest()


def rotated(
    stored: Sequence[dict[str, Any]], new: dict[str, Any], until: datetime, now: datetime
) -> list[dict[str, Any]]:
    """Return an endpoint's stored secrets after a rotation: the new one first.

    The others sign until `until` at most. Secrets that have ended are removed.
    """
    kept = [{**each, "until": each["until"] or until.isoformat()} for each in stored]
    return [new, *(each for each in kept if not _has_ended(each, now))][:MAX_SECRETS]


def _has_ended(stored: dict[str, Any], now: datetime) -> bool:
    return stored["until"] is not None and datetime.fromisoformat(stored["until"]) <= now
