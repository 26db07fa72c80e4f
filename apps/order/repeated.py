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
    """Return the change that a request makes, or None if its command was sent before.

    A capture that keeps the rest gets the id that the request stands for. Any other capture or a release can succeed
    only once, so it needs none.
    """
    if isinstance(wanted, Release) or wanted.final or wanted.amount is None:
        return wanted
    again = _id(claim)
    is_repeated = resending.existing(session, [(claim.merchant, again)])
    return None if is_repeated else structs.replace(wanted, id=again)


def refund_id(claim: Claim, amount: int | None) -> str | None:
    """Return the id that a refund of `amount` stands for; None if it refunds all that is left."""
    return None if amount is None else _id(claim)


def _id(claim: Claim) -> str:
    meaning = f"tandem\0command\0{claim.merchant}\0{claim.key}\0".encode() + claim.fingerprint
    return derived_ids.derive(claim.key, meaning)
