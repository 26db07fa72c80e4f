"""Orders and their events as the API shows them. A view has `body` (JSON text) and the columns that responses need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.postgres.database import Row, Session, json_time, to_json
from chassis.postgres.lists import Listing
from order import model

PAYMENT = """CASE WHEN o.payment IS NOT NULL THEN json_build_object('id', o.payment->'id',
        'status', o.payment->'status', 'captured_amount', o.payment->'captured_amount',
        'failure_reason', COALESCE(o.failure_reason, o.payment->>'failure_reason')) END"""

LAST_ERROR = """CASE WHEN o.last_error IS NOT NULL THEN json_build_object('code', o.last_error->'code',
        'detail', o.last_error->'detail', 'at', o.last_error->'at') END"""

ITEMS = """CASE WHEN o.items->0 ? 'kind' THEN o.items
    ELSE replace(o.items::text, '"sku": ', '"kind": "item", "tax_amount": null, "sku": ')::jsonb END"""
"""SQL for the lines of an order `o`. Lines without a kind, of a release before 0.3 or the sketch's API, are items.

The replaced text is always the name of a member, because a quote within a string has a backslash before it.
"""

OBJECT = f"""json_build_object(
    'id', o.id, 'status', o.status, 'currency', o.currency, 'total_amount', o.total_amount,
    'paid_amount', o.paid_amount, 'refunded_amount', o.refunded_amount, 'items', {ITEMS},
    'customer', o.customer, 'reference', o.reference, 'payment_method', o.payment_method, 'capture', o.capture,
    'metadata', o.metadata,
    'payment', {PAYMENT}, 'last_error', {LAST_ERROR},
    'version', o.version, 'created_at', {json_time("o.created_at")},
    'updated_at', {json_time("o.updated_at")})"""

# The release before this one may write orders during a rollout, without `asked`. The next release can drop the CASE.
VIEW = f"""{OBJECT}::text AS body, o.id, o.version, o.status,
    CASE WHEN o.asked_version = o.version THEN o.asked @> '[{{"command": "payment.capture"}}]'
              OR o.status = 'authorized' AND o.asked @> '[{{"command": "payment.void"}}]'
         ELSE o.status = 'authorized' END AS capturing"""


def get(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return an order's view, or None if there is no such order.

    It has body (JSON text), id, version, status, and `capturing`: whether a capture, or the release of the rest, has no
    known outcome.
    """
    return session.one(f"SELECT {VIEW} FROM orders o WHERE merchant = %s AND id = %s", (merchant, order_id))


# The merchant is in the index, so that nobody's list depends on how often another merchant uses a label.
_LABELED = """jsonb_set('{}', ARRAY[merchant], metadata) @> %(labels)s::jsonb AND metadata <> '{}'"""

_ORDERS = Listing(
    table="orders",
    alias="o",
    view=VIEW,
    statuses=tuple(model.Status),
    few={"customer": "customer = %(customer)s", "reference": "reference = %(reference)s"},
    conditions={"labels": _LABELED},
)


def find(session: Session, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
    """Return views of a merchant's orders with `created_at`, in the order of `sort`, at most `limit` + 1.

    `query` is what schemas.ListOrders loads. `after` is the time and id of the last order of the page before.
    """
    labels = to_json({merchant: query["metadata"]}) if query.get("metadata") else None
    return _ORDERS.find(session, merchant, {**query, "labels": labels}, after)


def sketch(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return items, total_amount, currency and status of an order, or None if the order does not exist."""
    return session.one(
        "SELECT items, total_amount, currency, status FROM orders WHERE merchant = %s AND id = %s",
        (merchant, order_id),
    )


def events(session: Session, merchant: str, order_id: str, after: int, limit: int) -> list[Row]:
    """Return the events of an order's history with a version above `after`, oldest first; at most `limit` + 1.

    The `id` of a row is its version as a UUID, for paging.after_number.
    """
    return session.execute(
        f"""SELECT json_build_object(
                'version', version, 'type', type, 'from', from_status, 'to', to_status, 'actor', actor,
                'data', data, 'at', {json_time("at")})::text AS body, lpad(to_hex(version), 32, '0')::uuid AS id
            FROM order_events WHERE merchant = %s AND order_id = %s AND version > %s
            ORDER BY version LIMIT %s::bigint + 1""",
        (merchant, order_id, after, limit),
    ).fetchall()
