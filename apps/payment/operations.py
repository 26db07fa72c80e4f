"""The SQL of operations: what the provider is asked to do, from the reservation of the amount to the settlement."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from psycopg.types.json import Jsonb

from chassis.messaging import leases
from chassis.messaging.leases import DUE, RELEASED, UNTIL, Queue
from chassis.postgres.database import Row, Session, json_time
from payment import ledger
from payment.model import Kind, Operation, Outcome, Settlement
from payment.store import OBJECT, VIEW

OPERATIONS = Queue(
    table="operations",
    key=("merchant", "id"),
    pending="operations.status = 'pending'",
    due=f"""
        SELECT o.merchant, o.id, p.payment_method, p.provider_reference AS reference, p.headers, p.provider, p.order_id
        FROM (SELECT merchant, id, payment_id FROM operations
              WHERE status = 'pending' AND {DUE}
              ORDER BY available_at LIMIT %(limit)s
              FOR UPDATE SKIP LOCKED) o
        JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id""",
    returning="""operations.merchant, operations.id, payment_id, kind, amount, currency, due.payment_method, attempts,
        due.reference, note, due.headers, due.provider, due.order_id,
        extract(epoch FROM now() - operations.created_at)::float8 AS age""",
)

_OPERATION = f"""json_build_object(
    'id', o.id, 'kind', o.kind, 'amount', o.amount, 'currency', o.currency, 'status', o.status,
    'attempts', o.attempts, 'provider_reference', o.provider_reference, 'reason', o.reason,
    'created_at', {json_time("o.created_at")}, 'settled_at', {json_time("o.settled_at")})"""

_REFUND = f"""json_build_object(
    'id', o.id, 'status', CASE o.status WHEN 'declined' THEN 'failed' ELSE o.status END, 'amount', o.amount,
    'currency', o.currency, 'reason', o.note, 'failure_reason', o.reason,
    'created_at', {json_time("o.created_at")})::text AS body, o.id, o.status"""

_NEW_ID = "NOT EXISTS (SELECT FROM operations WHERE merchant = %(merchant)s AND id = %(id)s::uuid)"
"""SQL condition: no operation has this id. A key that was purged and is used again stands for the same id."""

_RESERVE = {
    "refund": """refunding_amount = refunding_amount + %(wanted)s
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'captured'
          AND captured_amount - refunded_amount - refunding_amount >= %(wanted)s""",
    "capture": """busy = 'capture'
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'authorized' AND busy IS NULL
          AND authorized_amount >= %(wanted)s""",
    "void": """busy = 'void'
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'authorized' AND busy IS NULL""",
}


def reserve(
    session: Session,
    operation: Operation,
    lease: float,
    idempotency_key: str | None,
    headers: dict[str, str] | None,
) -> Row | None:
    """Reserve the amount of a capture, void or refund in its payment, and store the operation, leased to its owner.

    The guarded UPDATE decides whether the payment allows the operation, so concurrent operations never exceed what was
    authorized or captured. `lease` is in seconds. `headers` are those of the request; they are sent with the event of
    the outcome. Returns the payment's view, or None if the payment does not allow it or the operation's id exists; then
    nothing is written.
    """
    return session.one(
        f"""
        WITH p AS (
            UPDATE payments SET version = version + 1, updated_at = clock_timestamp(),
                   headers = COALESCE(%(headers)s::jsonb, headers), {_RESERVE[operation.kind]} AND {_NEW_ID}
            RETURNING *),
        operation AS (
            INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until,
                                    lease_owner, note, idempotency_key)
            SELECT merchant, %(id)s::uuid, id, %(kind)s::text, %(wanted)s::bigint, currency, 1,
                   {UNTIL}, %(owner)s::text, %(note)s::text, %(key)s::text
            FROM p)
        SELECT {VIEW} FROM p""",
        {
            "merchant": operation.merchant,
            "payment_id": operation.payment_id,
            "wanted": operation.amount,
            "id": operation.id,
            "kind": operation.kind,
            "lease": lease,
            "owner": operation.owner,
            "note": operation.note,
            "key": idempotency_key,
            "headers": None if headers is None else Jsonb(headers),
        },
    )


def claim(session: Session, lease: float, limit: int) -> list[Operation]:
    """Lease up to `limit` due operations without a known outcome for `lease` seconds."""
    expires = time.monotonic() + lease
    rows = leases.claim(session, OPERATIONS, lease, limit)
    return [replace(_operation(row, row["owner"]), expires=expires) for row in rows]


def release(session: Session, operation: Operation, delay: float, error: str) -> bool:
    """End the lease of an operation whose outcome is still unknown; see leases.release."""
    return leases.release(session, OPERATIONS, operation, delay, error)


def retry_now(session: Session, operation_id: str | None, reference: str | None) -> int:
    """Make pending operations due now: the one with this id, and those of the payment with this provider reference.

    Returns how many of them were not due yet. Only pending operations are read, by their index; they are few.
    """
    return leases.retry_now(
        session,
        OPERATIONS,
        """available_at > now() AND p.merchant = operations.merchant AND p.id = operations.payment_id
           AND (operations.id = %(id)s::uuid OR p.provider_reference = %(reference)s::text)""",
        {"id": operation_id, "reference": reference},
        using="payments p",
    )


def retry_all_now(session: Session) -> None:
    """Make all pending operations due now."""
    leases.retry_now(session, OPERATIONS, "available_at > now()", {})


EVENT = f"""jsonb_build_object(
        'type', 'payment.updated', 'timestamp', {json_time("clock_timestamp()")}, 'merchant', p.merchant,
        'data', {OBJECT}, 'operation', json_build_object('id', settled.id, 'kind', settled.kind,
            'status', settled.status, 'amount', settled.amount, 'reason', settled.reason,
            'idempotency_key', settled.idempotency_key))"""
"""SQL: the event `payment.updated` of a payment `p` and its operation `settled`."""

_SETTLE = f"""
WITH settled AS (
    UPDATE operations SET status = %(result)s, provider_reference = %(reference)s, reason = %(reason)s,
           settled_at = clock_timestamp(), {RELEASED}, last_error = NULL
    WHERE {OPERATIONS.held}
    RETURNING *),
p AS (
    UPDATE payments p SET status = COALESCE(%(next)s, p.status),
           authorized_amount = authorized_amount + %(authorized)s,
           captured_amount = captured_amount + %(captured)s, refunded_amount = refunded_amount + %(refunded)s,
           refunding_amount = refunding_amount + %(refunding)s,
           busy = CASE WHEN kind = 'refund' THEN busy END,
           failure_reason = COALESCE(%(failure_reason)s, failure_reason),
           provider_reference = COALESCE(p.provider_reference, %(reference)s),
           version = version + 1, updated_at = clock_timestamp()
    FROM settled WHERE p.merchant = settled.merchant AND p.id = settled.payment_id
    RETURNING p.*),
entries AS ({ledger.INSERT_FOR_SETTLED}),
event AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers)
    SELECT %(event_id)s::uuid, p.merchant, order_id, 'payment.updated', {EVENT}, p.headers
    FROM p, settled)
SELECT {VIEW} FROM p
"""


def settle(
    session: Session, operation: Operation, outcome: Outcome, settlement: Settlement, event_id: str
) -> Row | None:
    """Commit an operation's outcome, its payment's next state, the ledger entries and the event in one statement.

    Returns the payment's view, or None if the lease was lost. Then nothing is written: the worker that holds the lease
    now settles the operation, with the same outcome.
    """
    return session.one(
        _SETTLE,
        {
            **OPERATIONS.holding(operation),
            "result": outcome.result,
            "reference": outcome.reference,
            "reason": outcome.reason,
            "next": settlement.status,
            "authorized": settlement.authorized,
            "captured": settlement.captured,
            "refunded": settlement.refunded,
            "refunding": settlement.refunding,
            "failure_reason": settlement.failure_reason,
            "entries": ledger.parameter(settlement.entries),
            "event_id": event_id,
        },
    )


def find(session: Session, merchant: str, payment_id: str) -> list[Row]:
    """Return views of a payment's operations, oldest first: body (JSON text)."""
    return session.execute(
        f"""SELECT {_OPERATION}::text AS body FROM operations o WHERE merchant = %s AND payment_id = %s
            ORDER BY created_at, id""",
        (merchant, payment_id),
    ).fetchall()


def get_refund(session: Session, merchant: str, refund_id: str) -> Row | None:
    """Return a refund's view: body (JSON text), id, status of its operation."""
    return session.one(
        f"SELECT {_REFUND} FROM operations o WHERE merchant = %s AND id = %s AND kind = 'refund'",
        (merchant, refund_id),
    )


def find_refunds(session: Session, merchant: str, payment_id: str) -> list[Row]:
    """Return views of a payment's refunds, newest first."""
    return session.execute(
        f"""SELECT {_REFUND} FROM operations o WHERE merchant = %s AND payment_id = %s AND kind = 'refund'
            ORDER BY created_at DESC, id DESC""",
        (merchant, payment_id),
    ).fetchall()


_WITH_STATUS = """
SELECT o.merchant, o.id, o.payment_id, o.kind, o.amount, o.currency, p.payment_method, o.attempts,
       p.provider_reference AS reference, o.note, o.status, p.provider, p.order_id,
       extract(epoch FROM now() - o.created_at)::float8 AS age
FROM operations o JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
"""


def find_between(session: Session, since: str, until: str) -> Iterator[tuple[Operation, str]]:
    """Yield the operations created or settled in a period, oldest first, each with its status. Times in RFC 3339."""
    with session.transaction(), session.cursor("reconcile") as cursor:
        cursor.execute(
            _WITH_STATUS
            + """WHERE (o.created_at >= %(since)s AND o.created_at < %(until)s)
                    OR (o.settled_at >= %(since)s AND o.settled_at < %(until)s) ORDER BY o.created_at""",
            {"since": since, "until": until},
        )
        for row in cursor:
            yield _operation(row, ""), row["status"]


def find_of_payment(session: Session, merchant: str, payment_id: str) -> list[tuple[Operation, str]]:
    """Return all operations of a payment, each with its status."""
    rows = session.execute(_WITH_STATUS + "WHERE o.merchant = %s AND o.payment_id = %s", (merchant, payment_id))
    return [(_operation(row, ""), row["status"]) for row in rows]


def get(session: Session, merchant: str, operation_id: str) -> tuple[Operation, str] | None:
    """Return an operation with its status, or None."""
    row = session.one(_WITH_STATUS + "WHERE o.merchant = %s AND o.id = %s", (merchant, operation_id))
    return (_operation(row, ""), row["status"]) if row else None


def pending(session: Session) -> Row | None:
    """Return how many operations have no known outcome (`count`), and the age of the oldest in seconds (`oldest`)."""
    return session.one(
        """SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM operations WHERE status = 'pending'"""
    )


def _operation(row: Row, owner: str) -> Operation:
    return Operation(
        row["merchant"],
        str(row["id"]),
        str(row["payment_id"]),
        Kind(row["kind"]),
        row["amount"],
        row["currency"],
        row["payment_method"],
        row["attempts"],
        owner,
        row["reference"],
        row["note"],
        row.get("headers"),
        row["provider"],
        order_id=str(row["order_id"]),
        age=row["age"],
    )
