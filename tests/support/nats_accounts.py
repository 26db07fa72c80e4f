"""An operator of NATS with one account: the server's configuration, and credentials files of users (JWT and seed)."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from order.publisher import credentials

# The first byte of a public key, which makes it begin with O, A or U.
_OPERATOR, _ACCOUNT, _USER = 14 << 3, 0, 20 << 3

_UNLIMITED = (
    *("subs", "conn", "leaf", "imports", "exports", "data", "payload"),
    *("mem_storage", "disk_storage", "streams", "consumer"),
)


class Operator:
    """Signs the JWTs of an account and of its users."""

    def __init__(self) -> None:
        self._operator = (Ed25519PrivateKey.generate(), _OPERATOR)
        self._account = (Ed25519PrivateKey.generate(), _ACCOUNT)
        self._system = (Ed25519PrivateKey.generate(), _ACCOUNT)

    @property
    def configuration(self) -> str:
        """The part of a server's configuration that trusts this operator."""
        limits: dict[str, Any] = dict.fromkeys(_UNLIMITED, -1)
        account, system = _public(*self._account), _public(*self._system)
        operator_jwt = _jwt(self._operator, _public(*self._operator), {"type": "operator"})
        account_jwt = _jwt(self._operator, account, {"type": "account", "limits": {**limits, "wildcards": True}})
        plain = dict.fromkeys(_UNLIMITED[:7], -1)  # without JetStream
        system_jwt = _jwt(self._operator, system, {"type": "account", "limits": {**plain, "wildcards": True}})
        return (
            f"operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}"
        )

    def credentials(self) -> str:
        """Return the credentials file of a new user."""
        user = Ed25519PrivateKey.generate()
        seed = credentials.encode(user.private_bytes_raw(), credentials.USER_SEED)
        jwt = _jwt(self._account, _public(user, _USER), {"type": "user", "subs": -1, "data": -1, "payload": -1})
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )


def _public(key: Ed25519PrivateKey, kind: int) -> str:
    return credentials.encode(key.public_key().public_bytes_raw(), bytes([kind]))


def _jwt(issuer: tuple[Ed25519PrivateKey, int], subject: str, claims: dict[str, Any]) -> str:
    body = {
        "jti": os.urandom(16).hex(),
        "iat": int(time.time()),
        "iss": _public(*issuer),
        "name": "test",
        "sub": subject,
        "nats": {"version": 2, **claims},
    }
    parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
    return ".".join([*parts, _encoded(issuer[0].sign(".".join(parts).encode()))])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
