"""The SQL of settlements: the outcomes of operations, and all that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uuid_utils

from chassis.messaging.leases import RELEASED
from chassis.postgres.database import Row, Session, json_time, to_json
from payment import ledger
from payment.model import Operation, Outcome, Settlement
from payment.store import NEXT_VERSION, OBJECT, VIEW

EVENT = f"""jsonb_build_object(
        'type', 'payment.updated', 'timestamp', {json_time("clock_timestamp()")}, 'merchant', p.merchant,
        'data', {OBJECT}, 'operation', json_build_object('id', settled.id, 'kind', settled.kind,
            'status', settled.status, 'amount', settled.amount, 'reason', settled.reason,
            'idempotency_key', settled.idempotency_key))"""
"""SQL: the event `payment.updated` of a payment `p` and its operation `settled`."""

# `answered` becomes false if the lease has ended. The subquery reads the lease as it was before the statement.
# The planner expects one row of each table, so a join of all payments with all operations would be a nested loop.
_SETTLE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(settled)s::jsonb) AS g (
        merchant text, id uuid, owner text, result text, reference text, refusal text, next text, authorized bigint,
        captured bigint, refunded bigint, refunding bigint, failure text, entries jsonb, event_id uuid,
        answered boolean)),
settled AS (
    UPDATE operations o SET status = g.result, provider_reference = g.reference, reason = g.refusal,
           settled_at = clock_timestamp(), {RELEASED}, last_error = NULL
    FROM given g
    WHERE o.merchant = g.merchant AND o.id = g.id AND o.lease_owner = g.owner AND o.status = 'pending'
    RETURNING o.*, g.reference, g.next, g.authorized, g.captured, g.refunded, g.refunding, g.failure, g.entries,
              g.event_id,
              g.answered AND (SELECT before.leased_until > clock_timestamp() FROM operations before
                              WHERE before.merchant = o.merchant AND before.id = o.id) AS answered),
p AS (
    UPDATE payments p SET status = COALESCE(s.next, p.status),
           authorized_amount = p.authorized_amount + s.authorized,
           captured_amount = p.captured_amount + s.captured, refunded_amount = p.refunded_amount + s.refunded,
           refunding_amount = p.refunding_amount + s.refunding,
           busy = CASE WHEN s.kind = 'refund' THEN p.busy END,
           failure_reason = COALESCE(s.failure, p.failure_reason),
           provider_reference = COALESCE(p.provider_reference, s.reference),
           version = {NEXT_VERSION}, updated_at = clock_timestamp()
    FROM settled s WHERE p.merchant = s.merchant AND p.id = s.payment_id
    RETURNING p.*, s.id AS operation_id, s.event_id, s.answered),
entries AS ({ledger.INSERT_FOR_SETTLED}),
event AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers)
    SELECT p.event_id, p.merchant, p.order_id, 'payment.updated', {EVENT}, p.headers
    FROM p JOIN settled ON settled.merchant = p.merchant AND settled.id = p.operation_id
    WHERE NOT p.answered
       OR EXISTS (SELECT FROM outbox waiting WHERE waiting.merchant = p.merchant AND waiting.aggregate_id = p.order_id
                    AND waiting.delivered_at IS NULL)
       OR EXISTS (SELECT FROM payments other WHERE other.merchant = p.merchant AND other.order_id = p.order_id
                    AND other.id <> p.id))
SELECT {VIEW}, p.operation_id FROM p
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """An operation with its outcome, and what follows from it.

    `answered` is true if order gets the outcome in the response to its command. Then there is an event of it in three
    cases only. An earlier event of this order still waits: a response must not overtake what happened before it. The
    order has another payment: the same command may have been answered with that one, so order ignores this response.
    Or the lease has ended: the same command, sent again, may have been answered that the outcome is not known yet.
    """

    operation: Operation
    outcome: Outcome
    settlement: Settlement
    answered: bool = False


def settle(session: Session, each: Sequence[Settled]) -> dict[str, Row]:
    """Commit outcomes, the payments' next states, the ledger entries and the events in one statement.

    No two of the operations belong to the same payment. Returns the payments' views by operation id, without those
    whose lease was lost: for these nothing is written, because the worker that holds the lease now settles the
    operation, with the same outcome.
    """
    rows = session.all(_SETTLE, {"settled": to_json([_parameters(settled) for settled in each])})
    return {str(row["operation_id"]): row for row in rows}


def _parameters(settled: Settled) -> dict[str, Any]:
    operation, outcome, settlement = settled.operation, settled.outcome, settled.settlement
    return {
        "merchant": operation.merchant,
        "id": operation.id,
        "owner": operation.owner,
        "result": outcome.result,
        "reference": outcome.reference,
        "refusal": outcome.reason,
        "next": settlement.status,
        "authorized": settlement.authorized,
        "captured": settlement.captured,
        "refunded": settlement.refunded,
        "refunding": settlement.refunding,
        "failure": settlement.failure_reason,
        "entries": ledger.parameter(settlement.entries),
        "event_id": str(uuid_utils.uuid7()),
        "answered": settled.answered,
    }
