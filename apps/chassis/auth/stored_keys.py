"""API keys in a service's own database, cached for a few seconds.

A key is `tandem_`, 40 random characters (238 bits) and a checksum of 6 characters, so that people and secret scanners
recognize it, and malformed keys are rejected without a query. The charts and `make run` make keys of the same format
for the setting API_KEYS. Only the SHA-256 of a key is stored; `Keyring` says why that is safe.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import LiteralString

from cachetools import TLRUCache, TTLCache

from chassis.auth.keyring import Key, digest
from chassis.postgres.database import Database, Row, Session

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORMAT = re.compile(r"tandem_([0-9A-Za-z]{40})([0-9A-Za-z]{6})")


def generate() -> str:
    """Generate a key."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return f"tandem_{body}{_checksum(body)}"


def is_well_formed(key: str) -> bool:
    """Return whether a text has the format and the checksum of a key. The key may still be unknown."""
    found = _FORMAT.fullmatch(key)
    return found is not None and found[2] in (_checksum(found[1]), _crc32(found[1]))


def _checksum(body: str) -> str:
    """Return the first six hexadecimal digits of the SHA-256, which Helm's templates can compute too."""
    return hashlib.sha256(body.encode()).hexdigest()[:6]


def _crc32(body: str) -> str:
    """Return the checksum of keys made by releases before 0.3: the CRC-32 in base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


class Keys:
    """The valid keys, each cached for `seconds` at most. A revoked key keeps working for that long.

    Unknown keys are cached too, so each is looked up once; separately, so that guesses do not evict valid keys.
    """

    def __init__(self, database: Database, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""

        def until(_: str, found: tuple[Key, float], now: float) -> float:
            return now + min(seconds, found[1])

        self._database = database
        self._known: TLRUCache[str, tuple[Key, float]] = TLRUCache(1024, until, timer=clock)
        self._unknown: TTLCache[str, bool] = TTLCache(2048, seconds, timer=clock)
        self._lock = threading.Lock()

    def find(self, key: str) -> Key | None:
        """Return a key's merchant and scopes, or None if it is unknown, expired or revoked.

        Raises one of database.UNAVAILABLE if the key is not cached and the database does not respond.
        """
        return self.find_digest(digest(key)) if is_well_formed(key) else None

    def find_digest(self, digested: str) -> Key | None:
        """Return the merchant and scopes of the key with this hexadecimal SHA-256; see `find`."""
        with self._lock:
            held = self._known.get(digested)
            if held is not None or digested in self._unknown:
                return held[0] if held else None
        row = find(self._database.session(), digested)
        with self._lock:
            if row is None:
                self._unknown[digested] = True
                return None
            found = Key(row["merchant"], frozenset(row["scopes"]), str(row["id"]))
            self._known[digested] = (found, row["seconds_left"])
            return found


_VALID: LiteralString = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


def find(session: Session, digested: str) -> Row | None:
    """Return the valid key with this hexadecimal digest, with the `seconds_left` until it expires."""
    return session.one(
        f"""SELECT id, merchant, scopes,
            COALESCE(extract(epoch FROM expires_at - now()), 'infinity')::float8 AS seconds_left
            FROM api_keys WHERE digest = decode(%s, 'hex') AND {_VALID}""",
        (digested,),
    )


def create(
    session: Session, merchant: str, scopes: Sequence[str], *, name: str = "", lifetime: timedelta | None = None
) -> tuple[int, str]:
    """Store a new key; return its id and the key. The key can't be read again later."""
    key = generate()
    row = session.one(
        """INSERT INTO api_keys (digest, last_four, name, merchant, scopes, lifetime, expires_at)
           VALUES (decode(%s, 'hex'), %s, %s, %s, %s, %s::interval, now() + %s::interval) RETURNING id""",
        (digest(key), key[-4:], name, merchant, sorted(set(scopes)), lifetime, lifetime),
    )
    assert row is not None
    return row["id"], key


def revoke(session: Session, key_id: int) -> bool:
    """Revoke a key for good. Returns False if no key has this id. A revoked key keeps the time of its revocation."""
    done = session.execute(
        "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, clock_timestamp()) WHERE id = %s", (key_id,)
    )
    return done.rowcount == 1


def rotate(session: Session, key_id: int, overlap: timedelta) -> tuple[int, str] | None:
    """Store a successor with the same name, merchant, scopes and lifetime; the old key expires after `overlap`.

    Returns None if no valid key has this id. An old key that expires earlier anyway still does.
    """
    with session.transaction():
        old = session.one(
            f"""UPDATE api_keys SET expires_at = LEAST(expires_at, now() + %s) WHERE id = %s AND {_VALID}
                RETURNING merchant, scopes, name, lifetime""",
            (overlap, key_id),
        )
        if old is None:
            return None
        return create(session, old["merchant"], old["scopes"], name=old["name"], lifetime=old["lifetime"])


def listed(session: Session) -> list[Row]:
    """Return all keys, oldest first, with their state: active, expired or revoked."""
    return session.execute(
        """SELECT id, name, last_four, merchant, scopes, created_at, expires_at,
           CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
                ELSE 'active' END AS state
           FROM api_keys ORDER BY id"""
    ).fetchall()
