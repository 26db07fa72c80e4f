"""Ids of commands that follow from the request that asks for them.

If order's database is restored to an older moment, it has forgotten requests that payment has carried out. A caller
that repeats a capture of a part or a refund under its key means the same one. So the command gets the same id, and
payment, whose idempotency key that is, answers with what it has done. A request for all that is left needs no such id:
nothing is left then.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from msgspec import structs

from chassis.http.idempotency import Claim
from chassis.postgres.database import Session
from order.store import resending
from order.transition import Capture, Release

_TIME_BITS = 48


def capture(session: Session, claim: Claim, wanted: Capture | Release) -> Capture | Release | None:
    """Return what a request changes: a capture that keeps the rest gets its id. None if it was sent before.

    Any other capture or release can be done only once.
    """
    if isinstance(wanted, Release) or wanted.final or wanted.amount is None:
        return wanted
    again = _id(claim)
    is_repeated = resending.existing(session, [(claim.merchant, again)])
    return None if is_repeated else structs.replace(wanted, id=again)


def refund_id(claim: Claim, amount: int | None) -> str | None:
    """Return the id of a refund of `amount`; None if it needs a new one."""
    return None if amount is None else _id(claim)


def _id(claim: Claim) -> str:
    """Return the id that a request stands for: always the same one.

    It has the time of the key if that is a UUIDv7, so payment's provider knows how old the request is.
    """
    parts = b"tandem", claim.merchant.encode(), claim.key.encode(), claim.fingerprint
    digest = int.from_bytes(hashlib.sha256(b"\0".join(parts)).digest()[:16], "big")
    if not _is_timed(claim):
        return str(UUID(int=digest & ~(0xF000 << 64 | 0xC000 << 48) | 8 << 76 | 0x8000 << 48))
    milliseconds = UUID(claim.key).int >> 128 - _TIME_BITS
    digest = digest & (1 << 128 - _TIME_BITS) - 1 | milliseconds << 128 - _TIME_BITS
    return str(UUID(int=digest & ~(0xF000 << 64 | 0xC000 << 48) | 7 << 76 | 0x8000 << 48))


def _is_timed(claim: Claim) -> bool:
    """Return whether the key is a UUIDv7 as it is usually written: its time is that of the request."""
    try:
        value = UUID(claim.key)
    except ValueError:
        return False
    return value.version == 7 and str(value) == claim.key.lower()
