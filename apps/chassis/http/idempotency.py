"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a key stands for a resource, not a stored response.

The key, the fingerprint of its request, the status code and the id of the resource commit in one transaction with the
effect of the request. A request that fails stores nothing, so its key stays free. A retry is answered with the stored
status code and the current state of the resource.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import uuid_utils
from flask import current_app, g, request

from chassis import cards
from chassis.http import parsing
from chassis.http.if_match import ANY, Condition, if_match
from chassis.http.problems import Problem
from chassis.postgres.database import Database, Session
from chassis.postgres.durability import confirmed

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPED = re.compile(r"\\(.)")
_ATTEMPTS = 5  # each waits for the lock timeout of a second

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """The idempotency key of a request, the fingerprint of its content, and the versions that it may change.

    The condition is checked only when a request takes effect. A retry is answered whatever version the resource has
    now: otherwise a request that has changed its version could never be retried.

    `record` is called in the transaction in which the request takes effect, after the effect has been written.
    """

    merchant: str
    key: str
    fingerprint: bytes
    condition: Condition = ANY
    record: Callable[[Session], object] | None = field(default=None, compare=False)


class Recent:
    """The keys that this process has seen most recently: a hint that a request is a retry, never proof of it.

    Retries mostly arrive soon after the first request. For a retry, looking up the key first costs half as much as
    trying to insert it; a new request is spared that look-up. It remembers the last `size` keys, and up to
    twice as many.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._newer: set[tuple[str, str]] = set()
        self._older: set[tuple[str, str]] = set()

    def add(self, claim: Claim) -> None:
        """Remember a key."""
        if len(self._newer) >= self._size:
            self._newer, self._older = set(), self._newer
        self._newer.add((claim.merchant, claim.key))

    def __contains__(self, claim: Claim) -> bool:
        key = (claim.merchant, claim.key)
        return key in self._newer or key in self._older


@dataclass(frozen=True, slots=True)
class Earlier:
    """The outcome of an earlier request with the same key: its status code and the id of the resource."""

    status: int
    resource_id: str


def claim(*, optional: bool = False) -> Claim:
    """Return the claim of the current request; its body must have been parsed.

    With `optional`, a request without a key gets a new one, which no other request has.

    Raises Problem `idempotency-key-missing` if the Idempotency-Key header is missing or malformed, and Problem
    `card-number` if it holds something that is written as a card number.
    """
    req, context = request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined]
    header = req.headers.get("Idempotency-Key", str(uuid_utils.uuid7()) if optional else "")
    key = unquoted(header) if header.startswith('"') else header
    if not is_key(key):
        wrong = "must have 1 to 255 visible ASCII characters" if header else "is missing"
        raise Problem("idempotency-key-missing", f"The Idempotency-Key header {wrong}.")
    if cards.is_written_as_card(key):
        raise Problem("card-number", "The Idempotency-Key must not hold a card number.")
    if key != header and is_key(header):
        key = _stored_name(context.merchant, header, key)
    content = fingerprint(req.method, req.path, context.body)
    return Claim(context.merchant, key, content, if_match(req.headers.get("If-Match")))


def unquoted(header: str) -> str:
    r"""Return the key in an Idempotency-Key header: what a quoted string holds, and any other text as it is.

    The draft defines the header as a string of Structured Fields (RFC 9651, section 3.3.3). So `"abc"` is the key
    `abc`, and `"a\"b"` is the key `a"b`. A text that is no such string, such as `"abc`, is a key with its quotes.
    """
    string = _QUOTED.fullmatch(header)
    return _ESCAPED.sub(r"\1", string.group(1)) if string else header


def _stored_name(merchant: str, header: str, key: str) -> str:
    """Return the name under which a key that was sent in quotes is stored: `key`, or `header` if that is stored.

    Releases up to 0.2 stored such a key with its quotes. Its retry must find it, or the work would be done twice.
    """
    row = (
        current_app.extensions["tandem"]
        .database.session()
        .one("SELECT key FROM idempotency_keys WHERE merchant = %s AND key = %s", (merchant, header))
    )
    return key if row is None else header


def is_key(text: str) -> bool:
    """Return whether a text can be an idempotency key: 1 to 255 visible ASCII characters."""
    return _VISIBLE.fullmatch(text) is not None


def fingerprint(method: str, path: str, body: dict[str, Any]) -> bytes:
    """Return the SHA-256 of the method, the path and the canonical body."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), parsing.canonical(body)))).digest()


def _take(session: Session, claim: Claim, resource_id: str, status: int) -> bool:
    """Store a key with its resource and status code, in the caller's transaction.

    Returns False if the key is already taken; then nothing is written. Raises psycopg.errors.LockNotAvailable if
    another transaction holds the key for longer than the lock timeout.
    """
    done = session.execute(
        "INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (claim.merchant, claim.key, claim.fingerprint, status, resource_id),
    )
    return done.rowcount == 1


def earlier(session: Session, claim: Claim) -> Earlier | None:
    """Return the outcome of the earlier request with this key, or None if the key is free.

    Raises Problem `idempotency-key-reused` if that request had other content.
    """
    row = session.one(
        "SELECT fingerprint, status, resource_id FROM idempotency_keys WHERE merchant = %s AND key = %s",
        (claim.merchant, claim.key),
    )
    if row is None:
        return None
    if row["fingerprint"] != claim.fingerprint:
        raise reused()
    return Earlier(row["status"], str(row["resource_id"]))


def required(session: Session, claim: Claim) -> Earlier:
    """Return the outcome of the earlier request with a key that could not be taken.

    Raises Problem `idempotency-key-reused` if that request had other content, and Problem `idempotency-key-in-use` if
    the key has become free in the meantime, so that the caller retries.
    """
    found = earlier(session, claim)
    if found is None:  # the other transaction was rolled back, or the key has just been purged
        raise in_use()
    return found


@contextmanager
def once(database: Database, claim: Claim, resource_id: str, status: int) -> Iterator[tuple[Session, Earlier | None]]:
    """Run a block once per idempotency key, in one transaction with the key.

    Yields the session and the outcome of the earlier request with this key. That is None for a new key: the block then
    does the work, and the key, its status code and its resource commit with it. An exception rolls both back.

        with idempotency.once(database, claim, resource_id, 200) as (session, earlier):
            if earlier is None:
                ...  # write what the request asks for

    Raises Problem `idempotency-key-reused` if an earlier request with this key had other content, and Problem
    `idempotency-key-in-use` while another transaction holds the key or a row that the block needs.
    """
    try:
        with database.transaction() as session:
            taken = _take(session, claim, resource_id, status)
            if not taken:
                confirmed.wait(session)
            yield session, None if taken else required(session, claim)
            if taken and claim.record is not None:
                claim.record(session)
    except psycopg.errors.LockNotAvailable as error:
        raise in_use() from error


def inserted(insert: Callable[[], T]) -> T:
    """Call `insert`, which executes one statement that only inserts, and return what it returns.

    Raises Problem `idempotency-key-in-use` if another transaction holds the key for longer than the lock timeout: the
    error then has a context, which names the row. Any other lock is one of PostgreSQL itself, such as the lock of a
    table that VACUUM truncates. The statement is repeated then. Raises psycopg.errors.LockNotAvailable after
    `_ATTEMPTS`.
    """
    attempt = 1
    while True:
        try:
            return insert()
        except psycopg.errors.LockNotAvailable as error:
            if error.diag.context:
                raise in_use() from error
            if attempt == _ATTEMPTS:
                raise
            attempt += 1


def reused() -> Problem:
    """Return the problem that an earlier request with the key had other content."""
    return Problem("idempotency-key-reused", "This Idempotency-Key was used for a request with other content.")


def in_use() -> Problem:
    """Return the problem that another request has not committed within the lock timeout.

    It has the key, or it changes what this request changes.
    """
    detail = "Another request with this Idempotency-Key, or on the same resource, is still being processed."
    return Problem("idempotency-key-in-use", detail, headers={"Retry-After": "1"})
