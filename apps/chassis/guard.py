"""Who may come in: the bearer of a key or a token, with the scope, for its merchant.

Answers are those of RFC 6750. Of a key that is not good nobody learns whether it ever was.
"""

from __future__ import annotations

from flask import g, request

from chassis import tokens
from chassis.auth import Key, is_merchant
from chassis.config import Settings
from chassis.database import Database
from chassis.keys import Keys
from chassis.problems import Problem
from chassis.tokens import Tokens


class Guard:
    """Asks the settings' keys first, then tokens, then the database's keys."""

    def __init__(self, name: str, settings: Settings, database: Database) -> None:
        """`name` is the service's. Raises ValueError when the settings have a JWKS that is not usable."""
        self._keyring = settings.keyring
        self._keys = Keys(database, settings.key_cache_seconds)
        self._tokens = Tokens(settings.jwt, settings.key_cache_seconds) if settings.jwt else None

    def admit(self, scope: str) -> str:
        """The merchant for whom this request acts.

        Raises Problem `unauthorized`, `forbidden` or `unavailable`, and one of database.DOWN.
        """
        key = self._identify()
        g.key = key.id
        if scope not in key.scopes:
            raise _lacks(scope, f"The key lacks the scope {scope}.")
        return _merchant(key)

    def _identify(self) -> Key:
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise Problem(
                "unauthorized", "No bearer key in the Authorization header.", headers={"WWW-Authenticate": "Bearer"}
            )
        key = self._keyring.find(presented)
        if key is None and self._tokens is not None and tokens.is_token(presented):
            key = self._tokens.verify(presented)
        if key is None:
            key = self._keys.find(presented)
        if key is None:
            raise Problem(
                "unauthorized", "The key is not known.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return key


def _merchant(key: Key) -> str:
    named = request.headers.get("Tandem-Merchant", "")
    if not named or named == key.merchant:
        return key.merchant
    if "merchants:any" not in key.scopes:
        raise _lacks("merchants:any", "Only a key with the scope merchants:any may name another merchant.")
    if not is_merchant(named):
        raise Problem("forbidden", "No merchant can have the name in Tandem-Merchant.")
    return named


def _lacks(scope: str, detail: str) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return Problem("forbidden", detail, headers={"WWW-Authenticate": challenge})
