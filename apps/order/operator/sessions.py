"""Who is signed in: a random token in the browser, its digest in the database, and which key it stands for.

Nothing is signed, so there is no secret to share among pods and none to lose: a token is 256 random bits, and only
who has it has its digest's preimage. The key itself is in neither place. Each request asks anew whether the key is
still good, so revoking a key ends its sessions within KEY_CACHE_SECONDS; signing out ends one for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from chassis.auth.guard import Guard
from chassis.auth.keyring import Key, digest
from chassis.postgres.database import Database

SECONDS = 3600
"""How long a session lasts, whatever is done in it."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who is signed in; `who` names the key in logs and on the page."""

    who: str
    scopes: frozenset[str]

    @property
    def may_act(self) -> bool:
        """Whether more than looking is allowed."""
        return "operator:write" in self.scopes


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


def form_token(token: str) -> str:
    """What each form of a page has to carry: known to who has the token, and of no use for anything else."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def is_form_token(token: str, given: str) -> bool:
    """Whether a form came from a page that was made for this token."""
    return hmac.compare_digest(form_token(token).encode(), given.encode(errors="replace"))


class Sessions:
    """Sessions in the order database."""

    def __init__(self, database: Database, guard: Guard) -> None:
        """`guard` knows the keys."""
        self._database, self._guard = database, guard

    def begin(self, presented: str) -> tuple[str, Operator] | None:
        """A new session's token for the bearer of a key; None when the key may not see these pages.

        Raises Problem `unauthorized`, `too-many-requests`.
        """
        key = self._guard.authenticate(presented)
        operator = Operator(self._name(key, digest(presented)), key.scopes)
        if "operator:read" not in key.scopes:
            return None
        token = new_token()
        with self._database.transaction() as session:
            session.execute("DELETE FROM operator_sessions WHERE expires_at < now()")
            session.execute(
                """INSERT INTO operator_sessions (digest, key_digest, who, expires_at)
                   VALUES (decode(%s, 'hex'), decode(%s, 'hex'), %s, now() + make_interval(secs => %s))""",
                (digest(token), digest(presented), operator.who, SECONDS),
            )
        return token, operator

    def find(self, token: str) -> Operator | None:
        """Who has this session, if it is not over and its key still allows it."""
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
        """Forget a session."""
        self._database.session().execute(
            "DELETE FROM operator_sessions WHERE digest = decode(%s, 'hex')", (digest(token),)
        )

    def _name(self, key: Key, digested: str) -> str:
        if key.id is None:
            return f"key {digested[:8]} of API_KEYS, of {key.merchant}"
        row = self._database.session().one("SELECT name FROM api_keys WHERE id = %s", (int(key.id),))
        name = row["name"] if row else ""
        return f"key {key.id}{f' ({name})' if name else ''}, of {key.merchant}"
