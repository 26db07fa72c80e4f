"""An operator of NATS with one account: the server's configuration, and credentials files of users (JWT and seed)."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import nkeys

_UNLIMITED = (
    *("subs", "conn", "leaf", "imports", "exports", "data", "payload"),
    *("mem_storage", "disk_storage", "streams", "consumer"),
)


class Operator:
    """Signs the JWTs of an account and of its users."""

    def __init__(self) -> None:
        self._operator, _ = _keys(nkeys.PREFIX_BYTE_OPERATOR)
        self._account, _ = _keys(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system, _ = _keys(nkeys.PREFIX_BYTE_ACCOUNT)

    @property
    def configuration(self) -> str:
        """The part of a server's configuration that trusts this operator."""
        limits: dict[str, Any] = dict.fromkeys(_UNLIMITED, -1)
        account, system = _public(self._account), _public(self._system)
        operator_jwt = _jwt(self._operator, _public(self._operator), {"type": "operator"})
        account_jwt = _jwt(self._operator, account, {"type": "account", "limits": {**limits, "wildcards": True}})
        plain = dict.fromkeys(_UNLIMITED[:7], -1)  # without JetStream
        system_jwt = _jwt(self._operator, system, {"type": "account", "limits": {**plain, "wildcards": True}})
        return (
            f"operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}"
        )

    def credentials(self) -> str:
        """Return the credentials file of a new user."""
        user, seed = _keys(nkeys.PREFIX_BYTE_USER)
        jwt = _jwt(self._account, _public(user), {"type": "user", "subs": -1, "data": -1, "payload": -1})
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )


def _keys(kind: int) -> tuple[Any, str]:
    seed = nkeys.encode_seed(os.urandom(32), kind)
    return nkeys.from_seed(bytearray(seed)), bytes(seed).decode()


def _public(keys: Any) -> str:
    return bytes(keys.public_key).decode()


def _jwt(issuer: Any, subject: str, claims: dict[str, Any]) -> str:
    body = {
        **{"jti": os.urandom(16).hex(), "iat": int(time.time()), "iss": _public(issuer), "name": "test"},
        **{"sub": subject, "nats": {"version": 2, **claims}},
    }
    parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
    return ".".join([*parts, _encoded(issuer.sign(".".join(parts).encode()))])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
