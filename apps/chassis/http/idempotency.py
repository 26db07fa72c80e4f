"""Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a key names a resource, not a recording.

The key, the fingerprint of its request, the status code and the id of what it made commit together with
the effect, so nothing is ever half claimed; an error stores nothing. Each service's `store` has the SQL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from flask import g, request

from chassis import cards
from chassis.http import parsing
from chassis.http.if_match import ANY, Condition, if_match
from chassis.http.problems import Problem
from chassis.postgres.database import Database, Session

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request wants its key to stand for, and which version it would change.

    The condition is for those who do something: a key that stands for something already answers as before,
    whatever the resource has become since, or nobody could repeat a request that has changed it.
    """

    merchant: str
    key: str
    fingerprint: bytes
    condition: Condition = ANY


class Recent:
    """The keys that this process has seen last: a hint at what is likely a repetition, and never an answer.

    Who repeats a request mostly does so at once. Looking first costs a repetition half of what trying to do it again
    does; a new request never pays for it.
    """

    def __init__(self, most: int = 4096) -> None:
        """Remember so many at least, and twice as many at most."""
        self._most = most
        self._newer: set[tuple[str, str]] = set()
        self._older: set[tuple[str, str]] = set()

    def add(self, claim: Claim) -> None:
        """Remember a key."""
        if len(self._newer) >= self._most:
            self._newer, self._older = set(), self._newer
        self._newer.add((claim.merchant, claim.key))

    def __contains__(self, claim: Claim) -> bool:
        named = (claim.merchant, claim.key)
        return named in self._newer or named in self._older


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a key already stands for: the status code it was answered with, and the resource's id."""

    status: int
    resource_id: str


def claim() -> Claim:
    """The claim of the request being served, whose body has been parsed. Raises Problem `idempotency-key-missing`."""
    req, context = request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined]
    key = req.headers.get("Idempotency-Key", "")
    if not _VISIBLE.fullmatch(key):
        said = "has characters or a length that it may not have" if key else "is missing"
        raise Problem("idempotency-key-missing", f"The Idempotency-Key header {said}.")
    if cards.has_card_number(key):
        raise Problem("card-number", "The Idempotency-Key must not hold a card number.")
    of = fingerprint(req.method, req.path, context.body)
    return Claim(context.merchant, key, of, if_match(req.headers.get("If-Match")))


def fingerprint(method: str, path: str, body: dict[str, Any]) -> bytes:
    """SHA-256 of the method, the path and the canonical body."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), parsing.canonical(body)))).digest()


def take(session: Session, claim: Claim, resource_id: str, status: int) -> bool:
    """Let the key stand for a resource, within the caller's transaction; False when it stands for one already.

    Raises psycopg.errors.LockNotAvailable when another transaction holds it for longer than the lock time-out.
    """
    done = session.execute(
        "INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (claim.merchant, claim.key, claim.fingerprint, status, resource_id),
    )
    return done.rowcount == 1


def earlier(session: Session, claim: Claim) -> Earlier | None:
    """What the key stands for, or None if it is free. Raises Problem `idempotency-key-reused`."""
    row = session.one(
        "SELECT fingerprint, status, resource_id FROM idempotency_keys WHERE merchant = %s AND key = %s",
        (claim.merchant, claim.key),
    )
    if row is None:
        return None
    if row["fingerprint"] != claim.fingerprint:
        raise Problem("idempotency-key-reused", "This Idempotency-Key was used for a request with other content.")
    return Earlier(row["status"], str(row["resource_id"]))


def required(session: Session, claim: Claim) -> Earlier:
    """What a key that could not be taken stands for. Raises Problem also when it has just been given up."""
    there = earlier(session, claim)
    if there is None:  # whoever held the key has rolled back, or the key was purged in this moment
        raise in_use()
    return there


@contextmanager
def once(database: Database, claim: Claim, resource_id: str, status: int) -> Iterator[tuple[Session, Earlier | None]]:
    """Run a block once per idempotency key, in one transaction with the key.

    Yields the session and what the key already stands for. It is None for a new key: the block then does the work,
    and the key, its status code and its resource commit with it. An exception rolls both back.

        with idempotency.once(database, claim, order_id, 200) as (session, earlier):
            if earlier is None:
                ...  # write what the request asks for

    Raises Problem `idempotency-key-reused` for another request's key, and `idempotency-key-in-use` while another
    transaction holds the key or a row that the block needs.
    """
    with not_in_use(), database.transaction() as session:
        taken = take(session, claim, resource_id, status)
        yield session, None if taken else required(session, claim)


class not_in_use:  # noqa: N801
    """Raise Problem `idempotency-key-in-use` where another transaction holds what is wanted for too long."""

    def __enter__(self) -> None:
        """Nothing has to be done before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say it in the caller's terms."""
        if isinstance(error, psycopg.errors.LockNotAvailable):
            raise in_use() from error


def in_use() -> Problem:
    """The first request with the key has not committed within the lock time-out."""
    detail = "Another request with this Idempotency-Key has not ended yet."
    return Problem("idempotency-key-in-use", detail, headers={"Retry-After": "1"})
