"""API keys in the settings, scopes, and the decorator that makes a view require one (see guard.py)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from flask import current_app, g, request

from chassis import cards
from chassis.http.facts import record
from chassis.http.problems import Problem

View = TypeVar("View", bound=Callable[..., Any])

_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]{8,255}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SCOPE = re.compile(r"[a-z]+:[a-z]+")

ANY_MERCHANT = "merchants:any"
"""The scope that lets a key act for the merchant that the header Tandem-Merchant names. All services have it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A valid API key or token: the merchant it acts for, and its scopes. `id` names it in logs."""

    merchant: str
    scopes: frozenset[str]
    id: str | None = None


class Keyring:
    """The keys in the API_KEYS setting, by their SHA-256 digests.

    Keys are random and long, so an unsalted digest is safe at rest. A look-up by digest leaks nothing through its
    timing, because a caller cannot choose the digest of a guess.
    """

    def __init__(self, keys: dict[str, Key]) -> None:
        """`keys` maps the hexadecimal SHA-256 of each key to its merchant and scopes."""
        self._keys = keys

    @classmethod
    def parse(cls, text: str, scopes: frozenset[str]) -> Keyring:
        """Read the API_KEYS setting: a JSON list of {"key" or "sha256", "merchant", "scopes"}.

        `scopes` are this service's. Services may share one list, so an entry may also name scopes of another service.
        Raises ValueError; its message never quotes a key.
        """
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError("is not JSON") from error
        if not isinstance(entries, list):
            raise ValueError("must be a JSON list")
        keys: dict[str, Key] = {}
        for number, entry in enumerate(entries):
            try:
                digested, key = _entry(entry, scopes)
            except ValueError as error:
                raise ValueError(f"entry {number} {error}") from error
            if digested in keys:
                raise ValueError(f"entry {number} has the same key as an earlier one")
            keys[digested] = key
        return cls(keys)

    def find(self, key: str) -> Key | None:
        """Return the merchant and scopes of a key, or None if it is unknown."""
        return self.find_digest(digest(key))

    def find_digest(self, digested: str) -> Key | None:
        """Return the merchant and scopes of the key with this hexadecimal SHA-256, or None if it is unknown."""
        return self._keys.get(digested)


def is_merchant(name: str) -> bool:
    """Return whether a merchant name is valid: 1 to 64 letters, digits, dots, dashes and underscores.

    It is logged, so nothing that is written as a card number is a merchant name.
    """
    return _MERCHANT.fullmatch(name) is not None and not cards.is_written_as_card(name)


def checked_merchant(named: str) -> str:
    """Return the merchant that a request names. Raises Problem `forbidden` if its name is not valid."""
    if not is_merchant(named):
        raise Problem("forbidden", "The name in Tandem-Merchant is not a valid merchant name.")
    return named


def _may_be_scope(scope: object, known: frozenset[str]) -> bool:
    """Return whether `scope` is one of `known`, or may be a scope of another service.

    With `books:read` known, `books:reed` is a mistake, and `shelves:read` may be a scope of another service.
    """
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        return False
    resource = scope.partition(":")[0]
    return scope in known or resource not in {each.partition(":")[0] for each in known}


def _entry(entry: object, known: frozenset[str]) -> tuple[str, Key]:
    """Return the digest of an entry's key, and the key. Raises ValueError; its message never quotes a secret."""
    if not isinstance(entry, dict) or ("key" in entry) == ("sha256" in entry):
        raise ValueError('must be an object with "merchant", "scopes" and either "key" or "sha256"')
    merchant, scopes = entry.get("merchant"), entry.get("scopes")
    if not isinstance(merchant, str) or not is_merchant(merchant):
        raise ValueError('must have a "merchant" of 1 to 64 letters, digits, dots, dashes and underscores')
    if not isinstance(scopes, list) or not all(_may_be_scope(scope, known) for scope in scopes):
        raise ValueError(
            f'must have "scopes", a list of some of {", ".join(sorted(known))}, or scopes of other services (word:word)'
        )
    if "key" in entry:
        if not isinstance(entry["key"], str) or not _KEY.fullmatch(entry["key"]):
            raise ValueError('must have a "key" of 8 to 255 visible characters')
        return digest(entry["key"]), Key(merchant, frozenset(scopes))
    if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
        raise ValueError('must have a "sha256" of 64 hexadecimal digits')
    return entry["sha256"].lower(), Key(merchant, frozenset(scopes))


def digest(key: str) -> str:
    """Return the hexadecimal SHA-256 of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def requires(scope: str) -> Callable[[View], View]:
    """Make a view require a key with this scope. It finds the merchant that the request acts for in `g.merchant`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            service, req = current_app.extensions["tandem"], request._get_current_object()  # type: ignore[attr-defined]
            if service.settings.auth_off:
                g.merchant = checked_merchant(req.headers.get("Tandem-Merchant") or "demo")
            else:
                g.merchant = service.guard.admit(req, scope)
            return view(*args, **kwargs)

        record(guarded).scope = scope
        return cast(View, guarded)

    return decorate
