"""Events: the steps of orders, each stored once in `order_events`, and shown with the order as it was after the step.

A row holds what the step changed. What never changes of an order, such as its items, is read from the order's row.
"""

from __future__ import annotations

from chassis.postgres.database import json_time
from order.store import refunds
from order.store.views import ITEMS, LAST_ERROR, OBJECT, PAYMENT

_STATE = f"""'payment_method', o.payment_method, 'paid_amount', NULLIF(o.paid_amount, 0),
    'refunded_amount', NULLIF(o.refunded_amount, 0), 'payment', {PAYMENT}, 'last_error', {LAST_ERROR}"""

# An order can have 100 KB of labels and thousands of steps, so labels that a step does not change are not stored again.
# Small ones are: that is cheaper than to look them up.
_LABELS_OF = """CASE WHEN s.metadata IS NULL AND pg_column_size(o.metadata) > 256 THEN
    COALESCE((before.state->>'labels_of')::bigint, CASE WHEN before.state ? 'metadata' THEN before.version END) END"""

NEXT_STATE = f"""jsonb_strip_nulls(jsonb_build_object({_STATE},
    'labels_of', {_LABELS_OF}, 'metadata', CASE WHEN ({_LABELS_OF}) IS NULL THEN o.metadata END))"""
"""SQL for the column `state` of the event of a step `s`, after which the order's row is `o`.

`before` is the event of the version before. `labels_of` is the version of the event that has the order's labels, if
this one does not.
"""

POSITION = "GREATEST(order_events_base() + pg_current_xact_id()::text::bigint, before.position)"
"""SQL for the position in the feed of the event that follows the event `before` of the same order.

A transaction may have got its id before the one that wrote `before`, and have read the order after it. With its own id
as position, its event would come first.
"""

# The release before this one may write events during a rollout, without `state` or without `metadata` in it: what is
# missing is shown as it is now.
_ORDER = f"""CASE WHEN n.state IS NULL THEN {OBJECT} ELSE json_build_object(
    'id', o.id, 'status', n.to_status, 'currency', o.currency, 'total_amount', o.total_amount,
    'paid_amount', COALESCE(n.state->'paid_amount', '0'),
    'refunded_amount', COALESCE(n.state->'refunded_amount', '0'), 'items', {ITEMS}, 'customer', o.customer,
    'reference', o.reference, 'payment_method', n.state->'payment_method', 'capture', o.capture,
    'metadata', COALESCE(n.state->'metadata', (
        SELECT labeled.state->'metadata' FROM order_events labeled WHERE labeled.merchant = n.merchant
        AND labeled.order_id = n.order_id AND labeled.version = (n.state->>'labels_of')::bigint), o.metadata),
    'payment', CASE WHEN n.state ? 'payment' THEN json_build_object('id', n.state->'payment'->'id',
        'status', n.state->'payment'->'status', 'captured_amount', n.state->'payment'->'captured_amount',
        'failure_reason', n.state->'payment'->'failure_reason') END,
    'last_error', n.state->'last_error', 'version', n.version, 'created_at', {json_time("o.created_at")},
    'updated_at', {json_time("n.at")}) END"""

_REFUND = f"CASE WHEN r.id IS NOT NULL THEN {refunds.OBJECT} END"

SOURCE = """LEFT JOIN orders o ON o.merchant = n.merchant AND o.id = n.order_id
    LEFT JOIN refunds r ON r.merchant = n.merchant AND r.id = (n.data->>'refund_id')::uuid"""
"""SQL: the joins that `OBJECT` and `BODY` need, to an event `n`."""

EVENT = f"""json_build_object(
    'id', n.id, 'type', n.type, 'order_id', n.order_id, 'version', n.version, 'created_at', {json_time("n.at")},
    'data', {_ORDER}, 'refund', {_REFUND})"""
"""SQL for an event `n` as the feed shows it."""

BODY = f"""CASE WHEN r.id IS NULL
    THEN json_build_object('type', n.type, 'timestamp', {json_time("n.at")}, 'data', {_ORDER})
    ELSE json_build_object('type', n.type, 'timestamp', {json_time("n.at")}, 'data', {_ORDER}, 'refund', {_REFUND})
    END"""
"""SQL for the body of an event `n` as it is sent to webhook endpoints."""
