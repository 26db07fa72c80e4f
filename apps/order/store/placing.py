"""Placing orders: one statement commits them with their first events, their commands to payment and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
import uuid_utils

from chassis.http.idempotency import Claim
from chassis.messaging.outbox import Message
from chassis.postgres.database import Row, Session, json_time, to_json
from order.model import Order, Status
from order.store import deliveries
from order.store.steps import asked_json
from order.store.views import VIEW

_WANTED = """
wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(orders)s::jsonb) AS w (
        merchant text, key text, fingerprint bytea, id uuid, status text, currency text, total_amount bigint,
        items jsonb, customer text, reference text, payment_method text, capture text, metadata jsonb, version bigint,
        asked jsonb, state jsonb, event_id uuid, paid_event_id uuid, headers jsonb,
        command_id uuid, topic text, payload jsonb, owner text, lease float8)),
"""

_NEW = "placed o JOIN wanted w ON w.merchant = o.merchant AND w.id = o.id"

# A free order has both events, every other order the first.
_EVENTS = f"""{_NEW} CROSS JOIN LATERAL (
    VALUES (w.event_id, 'order.placed', 1, NULL, 'pending_payment', w.headers),
           (w.paid_event_id, 'order.paid', 2, 'pending_payment', 'paid', w.headers)
    ) n(id, type, version, before, status, headers)"""

# `placed` returns only what the database decides, because each of the other parts reads all of its columns.
_PLACED = f"""
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, reference, payment_method,
                        capture, metadata, command_id, asked, asked_version, version)
    SELECT w.merchant, w.id, w.status, w.currency, w.total_amount, w.items, w.customer, w.reference, w.payment_method,
           w.capture, w.metadata, w.command_id, w.asked, w.version, w.version
    {{source}}
    RETURNING merchant, id, created_at, updated_at),
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, from_status, to_status, actor, at, id, state)
    SELECT o.merchant, o.id, n.version, n.type, n.before, n.status, 'merchant', o.updated_at, n.id, w.state
    FROM {_EVENTS} WHERE n.id IS NOT NULL),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT w.command_id, o.merchant, o.id, w.topic, w.payload, w.headers,
           now() + make_interval(secs => w.lease), w.owner, (w.owner IS NOT NULL)::int
    FROM {_NEW} WHERE w.topic IS NOT NULL),
told AS ({deliveries.queue(_EVENTS)})
SELECT id::text AS id, {json_time("created_at")} AS created_at, {json_time("updated_at")} AS updated_at,
       EXISTS (SELECT FROM told t WHERE t.merchant = placed.merchant AND t.order_id = placed.id) AS told FROM placed
"""

_INSERT_UNDER_KEYS = (
    "WITH "
    + _WANTED
    + """
claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    SELECT merchant, key, fingerprint, 201, id FROM wanted
    ON CONFLICT DO NOTHING RETURNING merchant, resource_id),
"""
    + _PLACED.format(source="FROM wanted w JOIN claim c ON c.merchant = w.merchant AND c.resource_id = w.id")
)

_INSERT = "WITH " + _WANTED + _PLACED.format(source="FROM wanted w ON CONFLICT DO NOTHING")

_REFERENCE = "orders_reference"  # the unique index


class ReferenceTaken(Exception):
    """Another order of the merchant has the reference of a new order."""


def insert_under_keys(session: Session, orders: Sequence[dict[str, Any]]) -> list[Row | None]:
    """Store orders under their idempotency keys (see `under_key`), in one statement.

    Returns for each order its view with `told`, which says whether webhooks are queued, or None if the key is taken.
    Then nothing is written for it. Raises ReferenceTaken if a key is free and another order has the reference, and
    psycopg.errors.LockNotAvailable if another transaction holds a key or a reference for longer than the lock timeout.
    After an error, none of the orders is stored.
    """
    # Two statements with the same keys take them in the same sequence, so neither waits for the other forever.
    wanted = sorted(orders, key=lambda order: (order["merchant"], order["key"]))
    try:
        rows = {row["id"]: row for row in session.all(_INSERT_UNDER_KEYS, {"orders": to_json(wanted)})}
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != _REFERENCE:
            raise
        raise ReferenceTaken from error
    return [_view(order, rows[order["id"]]) if order["id"] in rows else None for order in orders]


def under_key(claim: Claim, order: dict[str, Any]) -> dict[str, Any]:
    """Return what `insert_under_keys` stores: an order (see `parameters`) and its idempotency key."""
    return {**order, "key": claim.key, "fingerprint": f"\\x{claim.fingerprint.hex()}"}


def _view(order: dict[str, Any], row: Row) -> Row:
    """Return the view of a new order. Its body is what `views.OBJECT` makes of the row, byte for byte.

    All but the times is known here, and the database would take a tenth of the time of the whole statement for it.
    """
    body = orjson.dumps(
        {
            **{name: order[name] for name in ("id", "status", "currency", "total_amount")},
            "paid_amount": 0,
            "refunded_amount": 0,
            **{
                name: order[name]
                for name in ("items", "customer", "reference", "payment_method", "capture", "metadata")
            },
            "payment": None,
            "last_error": None,
            "version": order["version"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
    )
    return {"body": body, "id": order["id"], "version": order["version"], "told": row["told"]}


def insert(session: Session, order: dict[str, Any]) -> Row | None:
    """Store an order whose own id makes it unique. Returns None if the order exists; then nothing is written.

    The row has `told`, which says whether webhooks are queued.
    """
    return session.one(_INSERT, {"orders": to_json([order])})


def id_by_reference(session: Session, merchant: str, reference: str) -> str | None:
    """Return the id of the merchant's order with this reference, or None if no order has it."""
    row = session.one("SELECT id FROM orders WHERE merchant = %s AND reference = %s", (merchant, reference))
    return None if row is None else str(row["id"])


def get_by_key(session: Session, claim: Claim) -> Row | None:
    """Return the view of the order that an earlier request with the same key and content placed, or None."""
    return session.one(
        f"""SELECT {VIEW} FROM idempotency_keys k JOIN orders o ON (o.merchant, o.id) = (k.merchant, k.resource_id)
            WHERE k.merchant = %s AND k.key = %s AND k.fingerprint = %s""",
        (claim.merchant, claim.key, claim.fingerprint),
    )


def parameters(
    merchant: str,
    order: Order,
    lines: list[dict[str, Any]],
    wanted: dict[str, Any],
    headers: dict[str, str],
    message: Message | None,
    lease: float,
) -> dict[str, Any]:
    """Return what `insert` stores for a new order after its last step.

    `wanted` has what decisions do not depend on: `customer`, `reference` and `metadata`, all optional. The message is
    leased for `lease` seconds if it has an owner.
    """
    labels = _as_stored(wanted.get("metadata", {}))
    stored = {
        "merchant": merchant,
        "id": order.id,
        "status": order.status,
        "currency": order.currency,
        "total_amount": order.total_amount,
        "items": lines,
        "customer": wanted.get("customer"),
        "reference": wanted.get("reference"),
        "payment_method": order.payment_method,
        "capture": order.capture,
        "metadata": labels,
        "state": {"payment_method": order.payment_method, "metadata": labels},
        "event_id": str(uuid_utils.uuid7()),
        "paid_event_id": str(uuid_utils.uuid7()) if order.status is Status.PAID else None,
        "headers": headers,
        "asked": asked_json(order),
        "version": order.version,
    }
    if message is None:
        return stored
    return stored | {
        "command_id": message.id,
        "topic": message.topic,
        "payload": message.payload,
        "owner": message.owner or None,
        "lease": lease or None,
    }


def _as_stored(labels: dict[str, str]) -> dict[str, str]:
    """Return labels in the order in which jsonb keeps them: short names first."""
    return dict(sorted(labels.items(), key=lambda label: (len(label[0].encode()), label[0].encode())))
