"""References: the shops' own order numbers, each unique among the orders of a merchant.

The unique index `orders_reference` decides, so there is no look-up before an order is stored.
"""

from __future__ import annotations

from chassis.http import idempotency
from chassis.http.problems import Problem
from chassis.postgres.database import Session
from chassis.postgres.durability import confirmed
from order.store import placing


def taken(session: Session, merchant: str, reference: str) -> Problem:
    """Return the problem that another order has a reference.

    It names that order, which is then as durable as an acknowledged one: its own request may still be waiting for that.
    """
    order_id = placing.id_by_reference(session, merchant, reference)
    if order_id is None:  # the order has been deleted in the meantime: the reference is free
        return idempotency.in_use()
    confirmed.wait(session)
    detail = f"The order {order_id} has this reference, and was placed with another Idempotency-Key."
    return Problem("reference-taken", detail, extensions={"order_id": order_id})
