"""Reading refunds, and the limit of their number. `service.Orders.refund` makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.http.problems import Problem
from chassis.postgres.database import Database, Row, Session
from chassis.replica import Replica
from order.changes import found
from order.model import Command, Order
from order.store import refunds, views

MOST_REFUNDS = 1000
"""The most refunds of an order, those that failed included. A cancel returns what is left, whatever their number."""

MOST_PENDING = 100
"""The most refunds of an order without a known outcome. All of them are in the order's row, which each step writes."""


class Refunds:
    """The use cases that read refunds."""

    def __init__(self, database: Database, lists: Replica) -> None:
        """`lists` is where the list of all refunds is read."""
        self._database, self._lists = database, lists

    def get(self, merchant: str, order_id: str, refund_id: str) -> Row:
        """Return the view of an order's refund. Raises Problem `order-not-found` or `refund-not-found`."""
        session = self._database.session()
        row = refunds.get(session, merchant, order_id, refund_id)
        if row is None:
            found(views.get(session, merchant, order_id))
            raise Problem("refund-not-found", "This order has no refund with this id.")
        return row

    def of_order(self, merchant: str, order_id: str, after: str | None, limit: int) -> list[Row]:
        """Return views of an order's refunds, newest first; see refunds.of_order. Raises Problem `order-not-found`."""
        session = self._database.session()
        found(views.get(session, merchant, order_id))
        return refunds.of_order(session, merchant, order_id, after, limit)

    def find(self, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
        """Return views of a merchant's refunds, in the order of `sort`, after the time and id of the last one.

        `query` is what schemas.ListRefunds loads. The newest come first by default.
        """
        return self._lists.read(lambda session: refunds.find(session, merchant, query, after))


def refuse_many(session: Session, merchant: str, order: Order) -> None:
    """Raise Problem `refund-limit` if the order has the largest allowed number of refunds, or of pending ones.

    They are counted after the order was read. A refund that was added since changes the order's version, so the step
    that is planned here is not written but planned again: concurrent requests cannot exceed the limit.
    """
    if sum(asked.command is Command.REFUND for asked in order.asked) >= MOST_PENDING:
        raise Problem("refund-limit", f"{MOST_PENDING} refunds of the order are pending: wait until some have ended.")
    if refunds.count(session, merchant, order.id) >= MOST_REFUNDS:
        raise Problem("refund-limit", f"The order has {MOST_REFUNDS:,} refunds already.")
