"""Access tokens: JWTs (RFC 7519, RFC 9068) that an issuer signs and whose keys it publishes as a JWKS (RFC 7517).

What RFC 8725 asks for: algorithms are asymmetric, chosen by the operator and bound to each key, so that no token
chooses how it is verified; issuer, audience and expiry are required. PyJWT, and with it cryptography, is loaded only
where tokens are set up.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from cachetools import TLRUCache
from urllib3.exceptions import HTTPError

from chassis import cards
from chassis.auth import keyring
from chassis.auth.keyring import Key
from chassis.http.problems import Problem, unavailable
from chassis.telemetry import logs

if TYPE_CHECKING:
    from jwt import PyJWK

log = logs.get_logger()

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"}
)
LEEWAY = 10.0
"""How far our clock and the issuer's may be apart, in seconds."""
DEADLINE = 3.0
"""How long a request may wait for the issuer's keys, in seconds."""
FRESH = 300.0
"""After how many seconds the issuer's keys are fetched anew."""
COOL = 30.0
"""How many seconds must lie between two fetches for keys that are not known."""
RETRY = 2.0
"""How many seconds must lie between a fetch that failed and the next."""
_LARGEST = 256 * 1024
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class Policy:
    """Which tokens are good. Either `jwks_url` says where the issuer's keys are, or `jwks` is them, as JSON."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    merchant_claim: str
    jwks_url: str
    jwks: str


def is_token(presented: str) -> bool:
    """Whether this has the form of a signed JWT; says nothing of whether it is good."""
    return presented.count(".") == 2


def invalid(reason: str) -> Problem:
    """A token that is not good, as RFC 6750 has it; `reason` is for the caller, and quotes nothing of the token."""
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return Problem("unauthorized", f"{reason}.", headers={"WWW-Authenticate": challenge})


class KeySet:
    """The issuer's keys by their ids, fetched when they are needed; the last good ones stay while it is down."""

    def __init__(self, url: str, algorithms: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is fetched before the first token comes; `clock` is in seconds."""
        self._url, self._algorithms, self._clock = url, algorithms, clock
        self._keys: Mapping[str | None, PyJWK] | None = None
        self._tried = -float("inf")
        self._failed = False
        self._fetching = threading.Lock()

    def find(self, kid: str | None) -> PyJWK | None:
        """The key with this id, None when the issuer has none. Raises Problem `unavailable` when it does not say."""
        keys = self._keys
        if keys is not None and kid in keys:
            if self._is_due(FRESH) and not self._fetching.locked():
                # Nobody waits for what is only to be up to date.
                threading.Thread(target=self._refresh, args=(FRESH, 0.0), name="jwks", daemon=True).start()
            return keys[kid]
        # While the issuer is known to be down, one request at a time looks whether it still is.
        if not self._refresh(COOL, 0.0 if self._failed else DEADLINE):
            raise unavailable("The issuer's keys can't be had now, and without them no token can be checked.", 2)
        return (self._keys or {}).get(kid)

    def _is_due(self, rest: float) -> bool:
        return self._clock() - self._tried >= (RETRY if self._failed else rest)

    def _refresh(self, rest: float, patience: float) -> bool:
        """Fetch the keys, if that was not done in the last `rest` seconds; whether the newest fetch went well.

        Somebody else's fetch is waited for so many seconds.
        """
        if not self._fetching.acquire(timeout=patience):
            return False
        try:
            if self._is_due(rest):
                self._tried = self._clock()
                try:
                    self._keys = parse(_fetch(self._url), self._algorithms)
                    self._failed = False
                except (requests.RequestException, HTTPError, ValueError) as error:
                    self._failed = True
                    log.warning("jwks_not_fetched", error=error)
            return not self._failed
        finally:
            self._fetching.release()


def parse(text: str | bytes, algorithms: tuple[str, ...]) -> Mapping[str | None, PyJWK]:
    """The keys of a JWKS that can verify one of the algorithms; others are left out. Raises ValueError if none can.

    A key is for the algorithm that it names or else for the usual one of its kind: RS256, or its curve's.
    """
    from jwt import PyJWK, PyJWTError

    found: dict[str | None, PyJWK] = {}
    try:
        members = json.loads(text)["keys"]
        candidates = [each for each in members if isinstance(each, dict) and _may_verify(each)]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError("is not a JWKS") from error
    for each in candidates:
        try:
            key = PyJWK(each)
        except (PyJWTError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.info("jwk_left_out", error=type(error).__name__)
            continue
        if key.algorithm_name in algorithms and (key.key_id is None or isinstance(key.key_id, str)):
            found.setdefault(key.key_id, key)
    if not found:
        raise ValueError("has no key for the algorithms that are allowed")
    return found


def _may_verify(jwk: Mapping[str, Any]) -> bool:
    return jwk.get("kty") in ("RSA", "EC", "OKP") and jwk.get("use", "sig") == "sig"


def _fetch(url: str) -> bytes:
    """The body at the URL. Raises requests' and urllib3's errors, also for one that is too large or long in coming."""
    until = time.monotonic() + DEADLINE
    with requests.get(url, timeout=(1.0, 2.0), stream=True, allow_redirects=False) as response:
        if response.status_code != 200:
            raise requests.HTTPError(f"answered {response.status_code}")
        body = b""
        while chunk := response.raw.read1(65536, decode_content=True):
            body += chunk
            if len(body) > _LARGEST or time.monotonic() > until:
                raise requests.ConnectionError("too large, or too long in coming")
        return body


class Tokens:
    """Verifies tokens, and remembers good ones for `seconds`, but never past their expiry."""

    def __init__(self, policy: Policy, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds. Raises ValueError when `policy.jwks` is set and not usable."""
        import jwt

        self._policy, self._seconds = policy, seconds
        self._jwt = jwt
        self._find: Callable[[str | None], PyJWK | None]
        if policy.jwks:
            self._find = parse(policy.jwks, policy.algorithms).get
        else:
            self._find = KeySet(policy.jwks_url, policy.algorithms, clock).find

        def until(_: bytes, good: tuple[Key, float], now: float) -> float:
            return now + min(seconds, good[1] + LEEWAY - time.time())

        self._good: TLRUCache[bytes, tuple[Key, float]] = TLRUCache(1024, until, timer=clock)
        self._lock = threading.Lock()

    def verify(self, token: str) -> Key:
        """What a token stands for. Raises Problem `unauthorized` or `unavailable`."""
        digested = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        with self._lock:
            good = self._good.get(digested)
        if good is None:
            claims = self._claims(token)
            good = (self._key(claims), float(claims["exp"]))
            with self._lock:
                self._good[digested] = good
        return good[0]

    def _claims(self, token: str) -> dict[str, Any]:
        jwt, policy = self._jwt, self._policy
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ") or "jwt").lower() not in _TYPES:
                raise invalid("The token is of another type")
            key = self._find(header.get("kid"))
            if key is None:
                raise invalid("The token is not signed by a key of the issuer")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=policy.issuer,
                audience=policy.audience,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise invalid("The token has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise invalid("The token is not valid yet") from error
        except jwt.InvalidIssuerError as error:
            raise invalid("The token is of another issuer") from error
        except jwt.InvalidAudienceError as error:
            raise invalid("The token is for another audience") from error
        except jwt.MissingRequiredClaimError as error:
            raise invalid("The token must have iss, aud and exp") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise invalid("The token is not good") from error
        return claims

    def _key(self, claims: Mapping[str, Any]) -> Key:
        merchant = claims.get(self._policy.merchant_claim)
        if not isinstance(merchant, str) or not keyring.is_merchant(merchant):
            raise invalid("The token names no merchant")
        return Key(merchant, _scopes(claims), cards.mask(f"sub {claims.get('sub', 'unnamed')}"[:64]))


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes that a token grants: RFC 8693's `scope`, or else what some issuers call it."""
    granted = next((claims[name] for name in ("scope", "scp", "scopes") if name in claims), "")
    names = granted.split() if isinstance(granted, str) else granted if isinstance(granted, list) else []
    return frozenset(name for name in names if isinstance(name, str))
