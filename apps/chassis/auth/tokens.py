"""Access tokens: JWTs (RFC 7519, RFC 9068) signed by an issuer that publishes its keys as a JWKS (RFC 7517).

As RFC 8725 recommends, algorithms are asymmetric, allowed by the operator and bound to a key, so a token does not
choose how it is verified; issuer, audience and expiry are required. PyJWT and cryptography are imported only if tokens
are configured.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from cachetools import TLRUCache
from urllib3.exceptions import HTTPError

from chassis import cards, outgoing
from chassis.auth import keyring
from chassis.auth.keyring import Key
from chassis.http import authorities
from chassis.http.problems import Problem, unavailable
from chassis.telemetry import logs

if TYPE_CHECKING:
    from jwt import PyJWK

log = logs.get_logger()

ByAlgorithm = Mapping[str, "PyJWK"]
"""The keys with one id, each by the one algorithm that it verifies."""

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)
LEEWAY = 10.0
"""Seconds that our clock and the issuer's may differ."""
FETCH_TIMEOUT = 3.0
"""Seconds that a request may wait for the issuer's keys."""
REFRESH_AGE = 240.0
"""Seconds after which the issuer's keys are fetched again in the background."""
MAX_AGE = 300.0
"""Seconds after which a request waits until the issuer's keys have been fetched again, or could not be."""
UNKNOWN_KEY_INTERVAL = 30.0
"""Seconds between two fetches because of unknown key ids."""
RETRY_INTERVAL = 2.0
"""Seconds between a failed fetch and the next one."""
PLACES = 3
"""How many requests with unknown key ids fetch the issuer's keys or wait for them, if others are known.

Anybody can send such requests, so they must not occupy all threads while the issuer is slow.
"""
_MAX_JWKS = 256 * 1024  # bytes
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class Policy:
    """Which tokens are valid. The issuer's keys are in `jwks`, as JSON, or at `jwks_url`; one of these is empty."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    merchant_claim: str
    jwks_url: str
    jwks: str
    allow_any_merchant: bool = False
    """Whether tokens may have the scope `merchants:any`. Otherwise it is ignored."""


def is_token(presented: str) -> bool:
    """Return whether a text has the form of a signed JWT. It may still be invalid."""
    return presented.count(".") == 2


def invalid(reason: str) -> Problem:
    """Return the problem for an invalid token (RFC 6750). `reason` is for the caller, and must not quote the token."""
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return Problem("unauthorized", f"{reason}.", headers={"WWW-Authenticate": challenge})


class KeySet:
    """The issuer's keys by their ids, fetched when needed. While the issuer is down, the last fetched keys are used."""

    def __init__(self, url: str, algorithms: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        """The first token triggers the first fetch. `clock` returns seconds."""
        self._url, self._algorithms, self._clock = url, algorithms, clock
        self._keys: Mapping[str | None, ByAlgorithm] | None = None
        self._fetched_at = self._checked_at = -float("inf")
        self._failed = False
        self._fetching = threading.Lock()
        self._places = threading.Semaphore(PLACES)

    def find(self, kid: str | None) -> ByAlgorithm | None:
        """Return the keys with this id, or None if the issuer has none.

        Raises Problem `unavailable` if the key is unknown and the issuer does not respond, or if too many requests wait
        for it already.
        """
        keys = self._keys
        if keys is not None and kid in keys:
            if self._clock() - self._checked_at >= MAX_AGE:
                # No token came for minutes, so nothing was fetched in the background. The key may have been withdrawn.
                self._refresh(MAX_AGE, FETCH_TIMEOUT)
                return (self._keys or {}).get(kid)
            if self._is_due(REFRESH_AGE) and not self._fetching.locked():
                # In the background: the request can use the key that is known.
                threading.Thread(target=self._refresh, args=(REFRESH_AGE, 0.0), name="jwks", daemon=True).start()
            return keys[kid]
        has_place = keys is not None and self._places.acquire(blocking=False)
        try:
            # After a failed fetch, only one request at a time tries again, and the others do not wait for it.
            waits = not self._failed and (keys is None or has_place)
            if not self._refresh(UNKNOWN_KEY_INTERVAL, FETCH_TIMEOUT if waits else 0.0):
                raise unavailable("The issuer's keys are not available, so the token can't be verified.", 2)
        finally:
            if has_place:
                self._places.release()
        return (self._keys or {}).get(kid)

    def _is_due(self, interval: float) -> bool:
        return self._clock() - self._fetched_at >= (RETRY_INTERVAL if self._failed else interval)

    def _refresh(self, interval: float, timeout: float) -> bool:
        """Fetch the keys unless the last fetch is less than `interval` seconds ago. Returns whether it succeeded.

        Waits up to `timeout` seconds for a fetch of another thread.
        """
        if not self._fetching.acquire(timeout=timeout):
            return False
        try:
            if self._is_due(interval):
                self._fetched_at, failed = self._clock(), True
                try:
                    self._keys = parse(_fetch(self._url), self._algorithms)
                    failed = False
                except (OSError, HTTPError, ValueError) as error:  # OSError: of requests, or no file of authorities
                    log.warning("jwks_not_fetched", error=error)
                finally:
                    self._failed, self._checked_at = failed, self._fetched_at
            return not self._failed
        finally:
            self._fetching.release()


def parse(text: str | bytes, algorithms: tuple[str, ...]) -> Mapping[str | None, ByAlgorithm]:
    """Return the keys of a JWKS for these algorithms; others are left out. Raises ValueError if there are none.

    Keys for different algorithms may have the same id (RFC 7517, section 4.5).

    Private keys are left out, too. A key without an algorithm is used with the default one for its type: RS256, or that
    of its curve.
    """
    from jwt import PyJWK, PyJWTError

    found: dict[str | None, dict[str, PyJWK]] = {}
    left_out: Counter[str] = Counter()
    try:
        members = json.loads(text)["keys"]
        candidates = [each for each in members if isinstance(each, dict) and _may_verify(each, algorithms)]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError("is not a JWKS") from error
    for each in candidates:
        if "d" in each:  # a private key: anyone who can read the JWKS could sign with it
            left_out["PrivateKey"] += 1
            continue
        try:
            key = PyJWK(each)
        except (PyJWTError, ValueError, LookupError, TypeError, AttributeError) as error:
            left_out[type(error).__name__] += 1
            continue
        if key.algorithm_name in algorithms and (key.key_id is None or isinstance(key.key_id, str)):
            found.setdefault(key.key_id, {}).setdefault(key.algorithm_name, key)
    if left_out:
        log.info("jwks_left_out", errors=dict(left_out))
    if not found:
        raise ValueError("has no public key for the algorithms that are allowed")
    return found


def _may_verify(jwk: Mapping[str, Any], algorithms: tuple[str, ...]) -> bool:
    is_for_signatures = jwk.get("kty") in ("RSA", "EC", "OKP") and jwk.get("use", "sig") == "sig"
    return is_for_signatures and jwk.get("alg") in (None, *algorithms)


def _fetch(url: str) -> bytes:
    """Return the body at the URL. Raises errors of requests and urllib3, also if it is too large or takes too long."""
    verify = authorities.verify()
    with outgoing.limit(requests.Session(), _MAX_JWKS) as session:
        connecting = FETCH_TIMEOUT / 3
        times = (connecting, FETCH_TIMEOUT - connecting)
        response = session.get(url, timeout=times, allow_redirects=False, verify=verify)
        if response.status_code != 200:
            raise requests.HTTPError(f"answered {response.status_code}")
        return response.content


class Tokens:
    """Verifies tokens. Valid ones are cached for `seconds`, but not past their expiry."""

    def __init__(self, policy: Policy, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds. Raises ValueError if `policy.jwks` is set and not usable."""
        import jwt

        self._policy, self._seconds = policy, seconds
        self._jwt = jwt
        self._find: Callable[[str | None], ByAlgorithm | None]
        if policy.jwks:
            self._find = parse(policy.jwks, policy.algorithms).get
        else:
            self._find = KeySet(policy.jwks_url, policy.algorithms, clock).find

        def until(_: bytes, entry: tuple[Key, float], now: float) -> float:
            return now + min(seconds, entry[1] + LEEWAY - time.time())

        self._verified: TLRUCache[bytes, tuple[Key, float]] = TLRUCache(1024, until, timer=clock)
        self._lock = threading.Lock()

    def verify(self, token: str) -> Key:
        """Return the merchant and scopes of a token. Raises Problem `unauthorized` or `unavailable`."""
        digested = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        with self._lock:
            entry = self._verified.get(digested)
        if entry is None:
            claims = self._claims(token)
            entry = (self._key(claims), float(claims["exp"]))
            with self._lock:
                self._verified[digested] = entry
        return entry[0]

    def _claims(self, token: str) -> dict[str, Any]:
        jwt, policy = self._jwt, self._policy
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ") or "jwt").lower() not in _TYPES:
                raise invalid("The token has the wrong type")
            keys = self._find(header.get("kid"))
            if keys is None:
                raise invalid("The token is not signed by a key of the issuer")
            key = keys.get(header.get("alg", ""))
            if key is None:
                raise invalid("The token is not valid")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=policy.issuer,
                audience=policy.audience,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp"], "enforce_minimum_key_length": True},
            )
            _check_times(claims)
        except jwt.ExpiredSignatureError as error:
            raise invalid("The token has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise invalid("The token is not valid yet") from error
        except jwt.InvalidIssuerError as error:
            raise invalid("The token has the wrong issuer") from error
        except jwt.InvalidAudienceError as error:
            raise invalid("The token is for another audience") from error
        except jwt.MissingRequiredClaimError as error:
            raise invalid("The token must have iss, aud and exp") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise invalid("The token is not valid") from error
        return claims

    def _key(self, claims: Mapping[str, Any]) -> Key:
        merchant = claims.get(self._policy.merchant_claim)
        if not isinstance(merchant, str) or not keyring.is_merchant(merchant):
            raise invalid("The token does not name a merchant")
        scopes = _scopes(claims)
        if not self._policy.allow_any_merchant:
            scopes -= {keyring.ANY_MERCHANT}
        name = cards.masked_start(f"sub {claims.get('sub', 'unnamed')}", 64)
        # It is logged: a line break or a lone surrogate must not get there.
        return Key(merchant, scopes, "".join(char if char.isprintable() else "?" for char in name))


def _check_times(claims: Mapping[str, Any]) -> None:
    """Raise TypeError if a time is no number (RFC 7519, section 2), and OverflowError if no time has this number."""
    for name in ("exp", "nbf", "iat"):
        if name in claims:
            if isinstance(claims[name], bool) or not isinstance(claims[name], int | float):
                raise TypeError(f"{name} is no number")
            float(claims[name])


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of a token: the claim `scope` (RFC 8693), or `scp` or `scopes`, which some issuers use."""
    granted = next((claims[name] for name in ("scope", "scp", "scopes") if name in claims), "")
    names = granted.split() if isinstance(granted, str) else granted if isinstance(granted, list) else []
    return frozenset(name for name in names if isinstance(name, str))
