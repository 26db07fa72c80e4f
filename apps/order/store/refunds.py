"""Refunds as the API shows them. A view has `body` (JSON text) and the columns that responses need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.postgres import lists
from chassis.postgres.database import Row, Session, json_time
from chassis.postgres.lists import Listing
from order.schemas import REFUND_STATUSES

# Releases before 0.3 wrote no payment_id: an order that was refunded keeps its payment.
OBJECT = f"""json_build_object(
    'id', r.id, 'order_id', r.order_id, 'payment_id', COALESCE(r.payment_id, (
        SELECT (paid.payment->>'id')::uuid FROM orders paid WHERE paid.merchant = r.merchant AND paid.id = r.order_id)),
    'status', r.status, 'amount', r.amount, 'currency', r.currency, 'reason', r.reason,
    'failure_reason', r.failure_reason, 'metadata', r.metadata, 'created_at', {json_time("r.created_at")},
    'updated_at', {json_time("COALESCE(r.updated_at, r.created_at)")})"""
"""SQL for the refund `r` as a JSON object."""

_VIEW = f"{OBJECT}::text AS body, r.id, r.status"

# If the refund `after` is not there, the list begins with the newest one.
_IDS = """SELECT id, created_at AS made_at FROM refunds WHERE merchant = %(merchant)s AND order_id = %(order_id)s
    AND (%(after)s::uuid IS NULL OR (created_at, id) < (COALESCE((
        SELECT last.created_at FROM refunds last WHERE last.merchant = %(merchant)s AND last.id = %(after)s::uuid),
        'infinity'), %(after)s::uuid))
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint + 1"""

_ONE = f"SELECT {_VIEW} FROM refunds r WHERE r.merchant = %(merchant)s AND r.id = page.id"


def get(session: Session, merchant: str, order_id: str, refund_id: str) -> Row | None:
    """Return the view of an order's refund: body (JSON text), id, status. None if the order has no such refund."""
    return session.one(
        f"SELECT {_VIEW} FROM refunds r WHERE merchant = %s AND id = %s AND order_id = %s",
        (merchant, refund_id, order_id),
    )


def of_order(session: Session, merchant: str, order_id: str, after: str | None, limit: int) -> list[Row]:
    """Return views of an order's refunds, newest first; at most `limit` + 1.

    `after` is the id of the last refund of the previous page, if there is one. Refunds that do not fit into the page
    have no `body`; see `lists.bounded`.
    """
    return session.execute(
        lists.bounded(_IDS, "made_at DESC, id DESC", _ONE, limit),
        {"merchant": merchant, "order_id": order_id, "after": after, "limit": limit},
    ).fetchall()


_REFUNDS = Listing(table="refunds", alias="r", view=_VIEW, statuses=REFUND_STATUSES, few={}, conditions={})


def find(session: Session, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
    """Return views of a merchant's refunds with `created_at`, in the order of `sort`, at most `limit` + 1.

    `query` is what schemas.ListRefunds loads. `after` is the time and id of the last refund of the page before.
    """
    return _REFUNDS.find(session, merchant, query, after)


def count(session: Session, merchant: str, order_id: str) -> int:
    """Return the number of an order's refunds, whatever their status."""
    row = session.one("SELECT count(*) AS n FROM refunds WHERE merchant = %s AND order_id = %s", (merchant, order_id))
    return int(row["n"]) if row else 0
