"""What callers may do about one order. Commands of the order service are not limited: it must be able to return money.

Without these limits, one order could have any number of payments, each of which the order service keeps in the order's
row, and any number of waiting events, which are delivered one after the other.
"""

from __future__ import annotations

from typing import Any

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, unavailable
from chassis.postgres.database import Session
from payment import store

MOST_PAYMENTS = 100
"""The most payments of an order that have failed, or were voided or have expired."""

MOST_EVENTS = 100
"""The most events of an order that wait for the order service."""

RETRY_AFTER = 5
"""Seconds after which a caller may retry while too many events wait."""


def refuse_payment(session: Session, claim: Claim, payment: dict[str, Any]) -> None:
    """Refuse a new payment of an order that has too many payments or waiting events.

    A retry of an earlier request is not refused. Raises Problem `payment-limit` or `unavailable`.
    """
    try:
        ended = store.count_ended(session, claim.merchant, payment["order_id"])
        refuse_attempt(session, claim.merchant, payment["order_id"], ended)
    except Problem:
        if (
            idempotency.earlier(session, claim) is None
            and store.get(session, claim.merchant, payment["id"]) is None
            and store.find_live(session, claim.merchant, payment["order_id"]) is None
        ):
            raise


def refuse_attempt(session: Session, merchant: str, order_id: str, ended: int) -> None:
    """Refuse a new payment of an order of which `ended` payments are no longer live.

    Raises Problem `payment-limit` or `unavailable`. The first payment is never refused.
    """
    if ended:
        refuse_event(session, merchant, order_id)
    if ended >= MOST_PAYMENTS:
        raise Problem("payment-limit", f"{MOST_PAYMENTS} payments of the order have failed: place a new order.")


def refuse_event(session: Session, merchant: str, order_id: str) -> None:
    """Raise Problem `unavailable` if an order has too many waiting events to add one."""
    waiting = session.one(
        """SELECT count(*) AS n FROM (
               SELECT FROM outbox WHERE merchant = %s AND aggregate_id = %s AND delivered_at IS NULL
               LIMIT %s::bigint) AS events""",
        (merchant, order_id, MOST_EVENTS),
    )
    if waiting is not None and waiting["n"] >= MOST_EVENTS:
        raise unavailable(f"{MOST_EVENTS} events of this order wait for the order service.", RETRY_AFTER)
