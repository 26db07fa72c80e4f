"""Ids of commands that follow from the request that asks for them.

If order's database is restored to an older moment, it has forgotten requests that payment has carried out. A caller
that repeats a capture of a part or a refund under its key means the same one. So the command gets the same id, and
payment, whose idempotency key that is, answers with what it has done. A request for all that is left needs no such id:
nothing is left then.
"""

from __future__ import annotations

from msgspec import structs

from chassis import derived_ids
from chassis.http.idempotency import Claim
from chassis.postgres.database import Session
from order.store import resending
from order.transition import Capture, Release


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
    meaning = f"tandem\0command\0{claim.merchant}\0{claim.key}\0".encode() + claim.fingerprint
    return derived_ids.derive(claim.key, meaning)
