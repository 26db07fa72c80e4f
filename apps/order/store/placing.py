"""Placing an order: one statement commits the order, its first event, its command to payment and its key."""

from __future__ import annotations

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

# A free order has both events, every other order the first.
_EVENTS = """placed o CROSS JOIN (
    VALUES (%(event_id)s::uuid, 'order.placed', 1, NULL, 'pending_payment', %(headers)s::jsonb),
           (%(paid_event_id)s::uuid, 'order.paid', 2, 'pending_payment', 'paid', %(headers)s::jsonb)
    ) n(id, type, version, before, status, headers)"""

# `placed` returns only what the database decides, because each of the other parts reads all of its columns.
_PLACED = f"""
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, reference, payment_method,
                        capture, metadata, command_id, asked, asked_version, version)
    SELECT %(merchant)s::text, %(id)s::uuid, %(status)s::text, %(currency)s::text, %(total_amount)s::bigint,
           %(items)s::jsonb, %(customer)s::text, %(reference)s::text, %(payment_method)s::text, %(capture)s::text,
           %(metadata)s::jsonb, %(command_id)s::uuid, %(asked)s::jsonb, %(version)s::bigint, %(version)s::bigint
    {{source}}
    RETURNING merchant, id, created_at, updated_at),
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, from_status, to_status, actor, at, id, state)
    SELECT o.merchant, o.id, n.version, n.type, n.before, n.status, 'merchant', o.updated_at, n.id, %(state)s::jsonb
    FROM {_EVENTS} WHERE n.id IS NOT NULL),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT %(command_id)s::uuid, merchant, id, %(topic)s::text, %(command_payload)s::jsonb, %(headers)s::jsonb,
           now() + make_interval(secs => %(lease)s::float8), %(owner)s::text, (%(owner)s::text IS NOT NULL)::int
    FROM placed WHERE %(topic)s::text IS NOT NULL),
told AS ({deliveries.queue(_EVENTS)})
SELECT {json_time("created_at")} AS created_at, {json_time("updated_at")} AS updated_at,
       EXISTS (SELECT FROM told) AS told FROM placed
"""

_INSERT_UNDER_KEY = """
WITH claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    VALUES (%(merchant)s, %(key)s, %(fingerprint)s, 201, %(id)s::uuid)
    ON CONFLICT DO NOTHING RETURNING merchant),
""" + _PLACED.format(source="FROM claim")

_INSERT = "WITH " + _PLACED.format(source="ON CONFLICT DO NOTHING")

_REFERENCE = "orders_reference"  # the unique index

_NO_COMMAND = dict.fromkeys(("topic", "command_payload", "command_id", "owner", "lease"))


class ReferenceTaken(Exception):
    """Another order of the merchant has the reference of a new order."""


def insert_under_key(session: Session, claim: Claim, order: dict[str, Any]) -> Row | None:
    """Store an order under an idempotency key, in one statement.

    Returns the order's view with `told`, which says whether webhooks are queued. Returns None if the key is taken; then
    nothing is written. Raises ReferenceTaken if the key is free and another order has the reference, and
    psycopg.errors.LockNotAvailable if another transaction holds the key or the reference for longer than the lock
    timeout.
    """
    try:
        row = session.one(_INSERT_UNDER_KEY, {**order, "key": claim.key, "fingerprint": claim.fingerprint})
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != _REFERENCE:
            raise
        raise ReferenceTaken from error
    return None if row is None else _view(order, row)


def _view(order: dict[str, Any], row: Row) -> Row:
    """Return the view of a new order. Its body is what `views.OBJECT` makes of the row, byte for byte.

    All but the times is known here, and the database would take a tenth of the time of the whole statement for it.
    """
    body = orjson.dumps(
        {
            **{name: order[name] for name in ("id", "status", "currency", "total_amount")},
            "paid_amount": 0,
            "refunded_amount": 0,
            "items": orjson.Fragment(order["items"]),
            **{name: order[name] for name in ("customer", "reference", "payment_method", "capture")},
            "metadata": orjson.Fragment(order["metadata"]),
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
    return session.one(_INSERT, order)


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
    """Return the parameters of `insert` and `insert_under_key` for a new order after its last step.

    `wanted` has what decisions do not depend on: `customer`, `reference` and `metadata`, all optional. The message is
    leased for `lease` seconds if it has an owner.
    """
    labels = _as_stored(wanted.get("metadata", {}))
    parameters = {
        "merchant": merchant,
        "id": order.id,
        "status": order.status,
        "currency": order.currency,
        "total_amount": order.total_amount,
        "items": to_json(lines),
        "customer": wanted.get("customer"),
        "reference": wanted.get("reference"),
        "payment_method": order.payment_method,
        "capture": order.capture,
        "metadata": to_json(labels),
        "state": to_json({"payment_method": order.payment_method, "metadata": labels}),
        "event_id": str(uuid_utils.uuid7()),
        "paid_event_id": str(uuid_utils.uuid7()) if order.status is Status.PAID else None,
        "headers": to_json(headers),
        "asked": to_json(asked_json(order)),
        "version": order.version,
    }
    if message is None:
        return {**_NO_COMMAND, **parameters}
    return parameters | {
        "command_id": message.id,
        "topic": message.topic,
        "command_payload": to_json(message.payload),
        "owner": message.owner or None,
        "lease": lease or None,
    }


def _as_stored(labels: dict[str, str]) -> dict[str, str]:
    """Return labels in the order in which jsonb keeps them: short names first."""
    return dict(sorted(labels.items(), key=lambda label: (len(label[0].encode()), label[0].encode())))
