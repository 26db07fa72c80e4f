"""The SQL of authorizations that have expired, for the loop that voids them: to find and to postpone them."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.messaging import leases
from chassis.messaging.leases import Share
from chassis.postgres.database import Row, Session
from payment.store import NEXT_VERSION, VIEW

# The condition of the index payments_expiring_turns.
_HELD = "payments.status = 'authorized' AND payments.busy IS NULL"

_TURNS = leases.by_turns(
    "payments", _HELD, "merchant, id", time="expires_at", due="payments.expires_at <= now()", lock=""
)

_EXPIRED = f"""
SELECT p.merchant, {VIEW} FROM ({_TURNS}) AS expired
JOIN payments p ON p.merchant = expired.merchant AND p.id = expired.id"""


POSTPONED = 60
"""Seconds after which the provider is asked again what it has recorded for an expired authorization."""

_POSTPONE = f"""
UPDATE payments p SET expires_at = now() + make_interval(secs => %s), version = {NEXT_VERSION}
WHERE merchant = %s AND id = %s AND version = %s"""


@dataclass(frozen=True, slots=True)
class Expired:
    """A payment whose authorization has expired. `view` is its view."""

    merchant: str
    view: Row


def find(session: Session, limit: int, share: Share | None = None) -> list[Expired]:
    """Return up to `limit` authorized payments whose authorization has expired, of each merchant as `share` allows.

    Merchants take turns (leases.by_turns). Nothing is leased: the reservation of the void decides who carries it out.
    """
    rows = session.execute(_EXPIRED, leases.turns(limit, share), prepare=False)
    return [Expired(row["merchant"], row) for row in rows]


def postpone(session: Session, expired: Expired) -> None:
    """Have the authorization found again after POSTPONED seconds, unless the payment has changed."""
    key = expired.merchant, expired.view["id"], expired.view["version"]
    session.execute(_POSTPONE, (POSTPONED, *key))
