"""API keys that a service keeps in its own database, and what it remembers of them for a few seconds.

A key is `tandem_`, 40 random characters (238 bits) and 6 that check them, so that people and secret scanners know
one when they see one, and nobody is asked about what cannot be one. Only its SHA-256 is kept: see `auth.Keyring`
for why that is enough, and why finding a key by its digest compares no secret with another.
"""

from __future__ import annotations

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
    """A new key."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return f"tandem_{body}{_check(body)}"


def is_well_formed(key: str) -> bool:
    """Whether this may be one of our keys; says nothing of whether it is."""
    found = _FORMAT.fullmatch(key)
    return found is not None and _check(found[1]) == found[2]


def _check(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


class Keys:
    """The valid keys, each remembered for `seconds` at most: so long may one be used after it was revoked.

    What is not known is remembered too, apart, so that guesses push out no known key and ask the database once each.
    """

    def __init__(self, database: Database, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""

        def until(_: str, found: tuple[Key, float], now: float) -> float:
            return now + min(seconds, found[1])

        self._database = database
        self._known: TLRUCache[str, tuple[Key, float]] = TLRUCache(1024, until, timer=clock)
        self._unknown: TTLCache[str, bool] = TTLCache(2048, seconds, timer=clock)
        self._lock = threading.Lock()

    def find(self, key: str) -> Key | None:
        """What a key stands for; None when it is unknown, expired or revoked.

        Raises one of database.DOWN when the database has to be asked and does not answer.
        """
        return self.find_digest(digest(key)) if is_well_formed(key) else None

    def find_digest(self, digested: str) -> Key | None:
        """The same by the hexadecimal SHA-256 of a key."""
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
    """The valid key with this hexadecimal digest, and for how many seconds it will be."""
    return session.one(
        f"""SELECT id, merchant, scopes,
            COALESCE(extract(epoch FROM expires_at - now()), 'infinity')::float8 AS seconds_left
            FROM api_keys WHERE digest = decode(%s, 'hex') AND {_VALID}""",
        (digested,),
    )


def create(
    session: Session, merchant: str, scopes: Sequence[str], *, name: str = "", lifetime: timedelta | None = None
) -> tuple[int, str]:
    """Store a new key; its id, and the key itself, which nobody can tell ever after."""
    key = generate()
    row = session.one(
        """INSERT INTO api_keys (digest, last_four, name, merchant, scopes, lifetime, expires_at)
           VALUES (decode(%s, 'hex'), %s, %s, %s, %s, %s::interval, now() + %s::interval) RETURNING id""",
        (digest(key), key[-4:], name, merchant, sorted(set(scopes)), lifetime, lifetime),
    )
    assert row is not None
    return row["id"], key


def revoke(session: Session, key_id: int) -> bool:
    """End a key, for ever; False when there is none with this id. One that is revoked stays as it is."""
    done = session.execute(
        "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, clock_timestamp()) WHERE id = %s", (key_id,)
    )
    return done.rowcount == 1


def rotate(session: Session, key_id: int, overlap: timedelta) -> tuple[int, str] | None:
    """Store a successor with the same name, merchant, scopes and lifetime, and let the old key end after `overlap`.

    None when there is no valid key with this id. An old key that ends sooner anyway still does.
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
    """All keys there ever were, oldest first, with their state: active, expired or revoked."""
    return session.execute(
        """SELECT id, name, last_four, merchant, scopes, created_at, expires_at,
           CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
                ELSE 'active' END AS state
           FROM api_keys ORDER BY id"""
    ).fetchall()
