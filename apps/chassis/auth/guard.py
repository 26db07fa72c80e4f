"""Who may come in: the bearer of a key or a token, with the scope, for its merchant, within the rate limits.

Answers are those of RFC 6750. Of a key that is not good nobody learns whether it ever was.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from flask import Request, g, request

from chassis.auth import rate_limits, tokens
from chassis.auth.keyring import ANY_MERCHANT, Key, Keyring, is_merchant
from chassis.auth.rate_limits import Limit, Limiter
from chassis.auth.stored_keys import Keys
from chassis.auth.tokens import Tokens
from chassis.http.problems import Problem
from chassis.postgres.database import Database


class Settings(Protocol):
    """The settings that a guard reads; `config.Settings` has them all."""

    @property
    def database_url(self) -> str:
        """The service's database."""
        ...

    @property
    def keyring(self) -> Keyring:
        """The keys named in the environment."""
        ...

    @property
    def key_cache_seconds(self) -> float:
        """How long a key or token that was found valid is remembered, in seconds."""
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
        """The limits of each address that presents invalid keys."""
        ...


class Guard:
    """Asks the settings' keys first, then tokens, then the database's keys."""

    def __init__(self, name: str, settings: Settings, database: Database) -> None:
        """`name` is the service's. Raises ValueError when the settings have a JWKS that is not usable."""
        self._keyring = settings.keyring
        self._keys = Keys(database, settings.key_cache_seconds)
        self._tokens = Tokens(settings.jwt, settings.key_cache_seconds) if settings.jwt else None
        self._merchants = self._strangers = None
        self._databases = [database]
        if settings.rate_limit or settings.rate_limit_unauthenticated:
            counts = rate_limits.database(settings.database_url, name)
            self._databases.append(counts)
            if settings.rate_limit:
                self._merchants = Limiter("merchant", settings.rate_limit, counts)
            if settings.rate_limit_unauthenticated:
                self._strangers = Limiter("address", settings.rate_limit_unauthenticated, counts)

    def admit(self, req: Request, scope: str) -> str:
        """The merchant for whom the request that is being served acts.

        Raises Problem `unauthorized`, `forbidden`, `too-many-requests` or `unavailable`, and one of database.DOWN.
        """
        try:
            key = self._identify(req)
        except Problem as problem:
            if problem.name == "unauthorized":
                self._count_failure()
            raise
        g.key = key.id
        # A key for any merchant belongs to another service, whose requests complete work that it has accepted.
        # A limit would delay that work, and that service would take a merchant's burst for an outage of this one.
        if self._merchants is not None and ANY_MERCHANT not in key.scopes:
            self._merchants.pass_or_refuse(key.merchant)
        if scope not in key.scopes:
            raise _lacks(scope, f"The key lacks the scope {scope}.")
        return _merchant(req, key)

    def recognize(self, presented: str) -> Key:
        """What a key stands for that somebody has typed into a page; tokens are not taken there.

        Raises Problem `unauthorized` or `too-many-requests`, and one of database.DOWN.
        """
        key = self._keyring.find(presented) or self._keys.find(presented)
        if key is None:
            self._count_failure()
            raise Problem("unauthorized", "The key is not known.")
        return key

    def recall(self, digested: str) -> Key | None:
        """What the key with this hexadecimal SHA-256 stands for by now. Raises one of database.DOWN."""
        return self._keyring.find_digest(digested) or self._keys.find_digest(digested)

    def close(self) -> None:
        """Close this thread's connections."""
        for database in self._databases:
            database.close()

    def _count_failure(self) -> None:
        # Only failures count, so nobody can shut out a merchant by guessing keys from the same address.
        if self._strangers is not None:
            self._strangers.pass_or_refuse(_address())

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
                "unauthorized", "The key is not known.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return key


def _merchant(req: Request, key: Key) -> str:
    named = req.headers.get("Tandem-Merchant", "")
    if not named or named == key.merchant:
        return key.merchant
    if ANY_MERCHANT not in key.scopes:
        raise _lacks(ANY_MERCHANT, f"Only a key with the scope {ANY_MERCHANT} may name another merchant.")
    if not is_merchant(named):
        raise Problem("forbidden", "No merchant can have the name in Tandem-Merchant.")
    return named


def _lacks(scope: str, detail: str) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return Problem("forbidden", detail, headers={"WWW-Authenticate": challenge})


def _address() -> str:
    """The client's address; for IPv6 its network, of which one client has 2^64 addresses."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
