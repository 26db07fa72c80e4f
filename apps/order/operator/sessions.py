"""Operators' sessions: a random token in the browser; the SHA-256 of token and API key in the order database.

A token has 256 random bits, so nothing needs to be signed and pods share no secret. Neither the browser nor the
database stores the API key. Every request checks that the key is still valid: revoking a key ends its sessions within
KEY_CACHE_SECONDS. Signing out deletes the session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from chassis.auth.guard import Guard
from chassis.auth.keyring import Key, digest
from chassis.postgres.database import Database

LIFETIME = 3600
"""Seconds after which a session ends, even if it is in use."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The signed-in operator. `name` identifies the API key in logs and on the page."""

    name: str
    scopes: frozenset[str]

    @property
    def may_act(self) -> bool:
        """Whether the key has the scope `operator:write`."""
        return "operator:write" in self.scopes

    @property
    def may_change_orders(self) -> bool:
        """Whether the key has the scope `operator:orders`: refund, capture and cancel orders of all merchants."""
        return "operator:orders" in self.scopes


def new_token() -> str:
    """Return a random session token: 43 characters, 256 bits."""
    return secrets.token_urlsafe(32)


def form_token(token: str) -> str:
    """Return the token that every form of this session must contain (protection against CSRF)."""
    return _code(token, "form")


def is_form_token(token: str, given: str) -> bool:
    """Return whether `given` is the form token of the session `token`."""
    return _are_equal(form_token(token), given)


def proof(token: str, message: str, path: str) -> str:
    """Return the proof that the page at this path may show a message: nobody without the session can make it."""
    return _code(token, f"message {message} {path}")[:32]


def is_proof(token: str, message: str, path: str, given: str) -> bool:
    """Return whether `given` is what `proof` returns."""
    return _are_equal(proof(token, message, path), given)


def _code(token: str, text: str) -> str:
    """Return a code that authenticates a text (HMAC-SHA256, hexadecimal): only who has the token can make it."""
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


def _are_equal(code: str, given: str) -> bool:
    return hmac.compare_digest(code.encode(), given.encode(errors="replace"))


class Sessions:
    """The sessions in the order database."""

    def __init__(self, database: Database, guard: Guard) -> None:
        """`guard` looks up API keys."""
        self._database, self._guard = database, guard

    def begin(self, api_key: str) -> tuple[str, Operator] | None:
        """Create a session and return its token. Returns None if the key lacks the scope `operator:read`.

        Raises Problem `unauthorized`, `too-many-requests`.
        """
        key = self._guard.authenticate(api_key)
        operator = Operator(self._key_name(key, digest(api_key)), key.scopes)
        if "operator:read" not in key.scopes:
            return None
        token = new_token()
        with self._database.transaction() as session:
            session.execute("DELETE FROM operator_sessions WHERE expires_at < now()")
            session.execute(
                """INSERT INTO operator_sessions (digest, key_digest, who, expires_at)
                   VALUES (decode(%s, 'hex'), decode(%s, 'hex'), %s, now() + make_interval(secs => %s))""",
                (digest(token), digest(api_key), operator.name, LIFETIME),
            )
        return token, operator

    def find(self, token: str) -> Operator | None:
        """Return the operator of a session, or None if it has ended or its API key is no longer valid."""
        row = self._database.session().one(
            """SELECT encode(key_digest, 'hex') AS key, who FROM operator_sessions
               WHERE digest = decode(%s, 'hex') AND expires_at > now()""",
            (digest(token),),
        )
        key = self._guard.find_digest(row["key"]) if row else None
        if row is None or key is None or "operator:read" not in key.scopes:
            return None
        return Operator(row["who"], key.scopes)

    def end(self, token: str) -> None:
        """Delete a session, if it exists."""
        self._database.session().execute(
            "DELETE FROM operator_sessions WHERE digest = decode(%s, 'hex')", (digest(token),)
        )

    def _key_name(self, key: Key, key_digest: str) -> str:
        if key.id is None:
            return f"key {key_digest[:8]} of API_KEYS, of {key.merchant}"
        row = self._database.session().one("SELECT name FROM api_keys WHERE id = %s", (int(key.id),))
        name = row["name"] if row else ""
        return f"key {key.id}{f' ({name})' if name else ''}, of {key.merchant}"
