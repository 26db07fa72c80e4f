"""Admits requests with a valid key or token, the scope, the right to act for the merchant, and quota left.

Responses follow RFC 6750. A response to an invalid key does not reveal whether the key ever existed.
"""

from __future__ import annotations

from typing import Protocol

from flask import Request, g, request

from chassis.auth import rate_limits, tokens
from chassis.auth.keyring import ANY_MERCHANT, Key, Keyring, checked_merchant
from chassis.auth.rate_limits import Limit, Limiter
from chassis.auth.stored_keys import Keys
from chassis.auth.tokens import Tokens
from chassis.http.addresses import client_network
from chassis.http.problems import Problem
from chassis.postgres.database import Database


class Settings(Protocol):
    """The settings that a guard reads. `config.Settings` has all of them."""

    @property
    def database_url(self) -> str:
        """The URL of the service's database."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The keys in the API_KEYS setting."""
        ...

    @property
    def key_cache_seconds(self) -> float:
        """Seconds for which the result of a look-up or of a verification is cached."""
        ...

    @property
    def jwt(self) -> tokens.Policy | None:
        """Which access tokens are valid; None accepts none."""
        ...

    @property
    def rate_limit(self) -> tuple[Limit, ...]:
        """The limits of each merchant."""
        ...

    @property
    def rate_limit_unauthenticated(self) -> tuple[Limit, ...]:
        """The limits of each address for requests with an invalid key."""
        ...


class Guard:
    """Identifies callers: by the keys in the settings first, then by tokens, then by the keys in the database."""

    def __init__(self, name: str, settings: Settings, database: Database) -> None:
        """`name` is the service's. Raises ValueError if `settings.jwt` has a JWKS that is not usable."""
        self._keyring = settings.keyring
        self._keys = Keys(database, settings.key_cache_seconds)
        self._tokens = Tokens(settings.jwt, settings.key_cache_seconds) if settings.jwt else None
        self._merchant_limiter = self._address_limiter = None
        self._databases = [database]
        if settings.rate_limit or settings.rate_limit_unauthenticated:
            counts = rate_limits.database(settings.database_url, name)
            self._databases.append(counts)
            if settings.rate_limit:
                self._merchant_limiter = Limiter("merchant", settings.rate_limit, counts)
            if settings.rate_limit_unauthenticated:
                self._address_limiter = Limiter("address", settings.rate_limit_unauthenticated, counts)

    def admit(self, req: Request, scope: str) -> str:
        """Return the merchant that the current request acts for.

        Raises Problem `unauthorized`, `forbidden`, `too-many-requests` or `unavailable`, and one of
        database.UNAVAILABLE.
        """
        try:
            key = self._identify(req)
        except Problem as problem:
            if problem.name == "unauthorized":
                self._count_failure()
            raise
        g.key = key.id
        # Other services have keys for any merchant, and their requests complete work that they have accepted.
        # A limit would delay that work, and they would take the burst of one merchant for an outage of this service.
        if self._merchant_limiter is not None and ANY_MERCHANT not in key.scopes:
            self._merchant_limiter.count_request(key.merchant)
        if scope not in key.scopes:
            raise _lacks(scope, f"The key lacks the scope {scope}.")
        return _merchant(req, key)

    def authenticate(self, presented: str) -> Key:
        """Return the key that a person has typed into a page. Access tokens are not accepted.

        Raises Problem `unauthorized` or `too-many-requests`, and one of database.UNAVAILABLE.
        """
        key = self._keyring.find(presented) or self._keys.find(presented)
        if key is None:
            self._count_failure()
            raise Problem("unauthorized", "The key is not valid.")
        return key

    def find_digest(self, digested: str) -> Key | None:
        """Return the key with this hexadecimal SHA-256, or None if it is not valid now.

        Raises one of database.UNAVAILABLE.
        """
        return self._keyring.find_digest(digested) or self._keys.find_digest(digested)

    def close(self) -> None:
        """Close this thread's connections."""
        for database in self._databases:
            database.close()

    def _count_failure(self) -> None:
        # Only failures count, so guessing keys does not lock out a merchant behind the same address.
        if self._address_limiter is not None:
            self._address_limiter.count_request(client_network(request.remote_addr or ""))

    def _identify(self, req: Request) -> Key:
        scheme, _, presented = req.headers.get("Authorization", "").partition(" ")
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
                "unauthorized", "The key is not valid.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return key


def _merchant(req: Request, key: Key) -> str:
    named = req.headers.get("Tandem-Merchant", "")
    if not named or named == key.merchant:
        return key.merchant
    if ANY_MERCHANT not in key.scopes:
        raise _lacks(ANY_MERCHANT, f"Only a key with the scope {ANY_MERCHANT} may name another merchant.")
    return checked_merchant(named)


def _lacks(scope: str, detail: str) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return Problem("forbidden", detail, headers={"WWW-Authenticate": challenge})
