"""The SQL of operations: what the provider is asked to do, from the reservation of the amount to the settlement."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import LiteralString

from msgspec.structs import replace
from psycopg.types.json import Jsonb

from chassis.messaging import leases
from chassis.messaging.leases import UNTIL, Queue, Share
from chassis.postgres.database import Row, Session, json_time
from payment.model import Kind, Operation
from payment.store import NEXT_VERSION, VIEW

# `amount > 0` is true for all rows. The index operations_claims has this condition, so only statements that repeat it
# can use the index: claims and gauges. Searches by id use the primary key.
PENDING: LiteralString = "operations.status = 'pending' AND operations.amount > 0"
"""SQL condition: the outcome of the operation is unknown. For statements that read many operations."""

OPERATIONS = Queue(
    table="operations",
    key=("merchant", "id"),
    pending="operations.status = 'pending'",
    due=f"""
        SELECT o.merchant, o.id, p.payment_method, p.provider_reference AS reference, p.headers, p.provider, p.order_id,
               p.captured_amount AS captured
        FROM ({leases.by_turns("operations", PENDING, "merchant, id, payment_id")}) o
        JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id""",
    returning="""operations.merchant, operations.id, payment_id, kind, amount, currency, due.payment_method, attempts,
        due.reference, note, due.headers, due.provider, due.order_id, final, due.captured,
        extract(epoch FROM now() - operations.created_at)::float8 AS age""",
)

_OPERATION = f"""json_build_object(
    'id', o.id, 'kind', o.kind, 'amount', o.amount, 'currency', o.currency, 'status', o.status,
    'attempts', o.attempts, 'provider_reference', o.provider_reference, 'reason', o.reason,
    'final', CASE o.kind WHEN 'capture' THEN o.final END,
    'created_at', {json_time("o.created_at")}, 'settled_at', {json_time("o.settled_at")})"""

_REFUND = f"""json_build_object(
    'id', o.id, 'status', CASE o.status WHEN 'declined' THEN 'failed' ELSE o.status END, 'amount', o.amount,
    'currency', o.currency, 'reason', o.note, 'failure_reason', o.reason,
    'created_at', {json_time("o.created_at")})::text AS body, o.id, o.status"""

# Seconds that the statement of an outcome may take, and its commit: more than the statement_timeout of a database.
_COMMIT_SECONDS = 15.0

_NEW_ID = "NOT EXISTS (SELECT FROM operations WHERE merchant = %(merchant)s AND id = %(id)s::uuid)"
"""SQL condition: no operation has this id. A key that was purged and is used again stands for the same id."""

_RESERVE = {
    "refund": """refunding_amount = refunding_amount + %(wanted)s
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'captured'
          AND captured_amount - refunded_amount - refunding_amount >= %(wanted)s""",
    "capture": """busy = 'capture'
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'authorized' AND busy IS NULL
          AND captured_amount = %(captured)s AND authorized_amount - captured_amount >= %(wanted)s""",
    "void": """busy = 'void'
        WHERE merchant = %(merchant)s AND id = %(payment_id)s AND status = 'authorized' AND busy IS NULL
          AND captured_amount = %(captured)s""",
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
    authorized or captured. A capture or void requires that what was captured before is what the operation says, because
    its outcome depends on that. `lease` is in seconds. `headers` are those of the request; they are sent with the event
    of the outcome. Returns the payment's view, or None if the payment does not allow it or the operation's id exists;
    then nothing is written.
    """
    return session.one(
        f"""
        WITH p AS (
            UPDATE payments p SET version = {NEXT_VERSION}, updated_at = clock_timestamp(),
                   headers = COALESCE(%(headers)s::jsonb, headers), {_RESERVE[operation.kind]} AND {_NEW_ID}
            RETURNING *),
        operation AS (
            INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until,
                                    lease_owner, note, idempotency_key, final)
            SELECT merchant, %(id)s::uuid, id, %(kind)s::text, %(wanted)s::bigint, currency, 1,
                   {UNTIL}, %(owner)s::text, %(note)s::text, %(key)s::text, %(final)s::boolean
            FROM p)
        SELECT {VIEW} FROM p""",
        {
            "merchant": operation.merchant,
            "payment_id": operation.payment_id,
            "wanted": operation.amount,
            "captured": operation.captured,
            "final": operation.final,
            "id": operation.id,
            "kind": operation.kind,
            "lease": lease,
            "owner": operation.owner,
            "note": operation.note,
            "key": idempotency_key,
            "headers": None if headers is None else Jsonb(headers),
        },
    )


def claim(session: Session, lease: float, limit: int, share: Share | None = None) -> list[Operation]:
    """Lease up to `limit` due operations without a known outcome for `lease` seconds.

    Of each merchant, as many are leased as `share` allows.
    """
    expires = time.monotonic() + lease
    rows = leases.claim_by_turns(session, OPERATIONS, lease, limit, share)
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


def find(session: Session, merchant: str, payment_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
    """Return views of a payment's operations, oldest first, at most `limit` + 1: body (JSON text), id, created_at.

    `after` is the time and id of the last operation of the previous page, if there is one.
    """
    time, last = after or (None, None)
    return session.execute(
        f"""SELECT {_OPERATION}::text AS body, o.id, o.created_at FROM operations o
            WHERE merchant = %(merchant)s AND payment_id = %(payment_id)s
              AND (%(time)s::timestamptz IS NULL OR (created_at, id) > (%(time)s::timestamptz, %(last)s::uuid))
            ORDER BY created_at, id LIMIT %(limit)s::bigint + 1""",
        {"merchant": merchant, "payment_id": payment_id, "time": time, "last": last, "limit": limit},
    ).fetchall()


def is_leased_to_request(session: Session, merchant: str, payment_id: str) -> bool:
    """Return whether a request carries out an operation of this payment now, rather than the executor's loop.

    A request whose lease has just ended may be committing an outcome that it began to write before: it counts, too.
    """
    row = session.one(
        """SELECT id FROM operations WHERE merchant = %s AND payment_id = %s AND status = 'pending'
           AND leased_until > now() - make_interval(secs => %s) AND lease_owner LIKE 'request %%' LIMIT 1""",
        (merchant, payment_id, _COMMIT_SECONDS),
    )
    return row is not None


def outcome(session: Session, merchant: str, operation_id: str) -> Row | None:
    """Return an operation's `status` and the `reason` of its decline, if any; None if the operation does not exist."""
    return session.one(
        "SELECT status, reason FROM operations WHERE merchant = %s AND id = %s", (merchant, operation_id)
    )


def get_refund(session: Session, merchant: str, refund_id: str) -> Row | None:
    """Return a refund's view: body (JSON text), id, status of its operation."""
    return session.one(
        f"SELECT {_REFUND} FROM operations o WHERE merchant = %s AND id = %s AND kind = 'refund'",
        (merchant, refund_id),
    )


def find_refunds(
    session: Session, merchant: str, payment_id: str, after: tuple[datetime, str] | None, limit: int
) -> list[Row]:
    """Return views of a payment's refunds, with created_at, newest first; at most `limit` + 1.

    `after` is the time and id of the last refund of the previous page, if there is one.
    """
    time, last = after or (None, None)
    return session.execute(
        f"""SELECT {_REFUND}, o.created_at FROM operations o
             WHERE merchant = %(merchant)s AND payment_id = %(payment_id)s AND kind = 'refund'
               AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s::timestamptz, %(last)s::uuid))
             ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint + 1""",
        {"merchant": merchant, "payment_id": payment_id, "time": time, "last": last, "limit": limit},
    ).fetchall()


def count_refunds(session: Session, merchant: str, payment_id: str) -> int:
    """Return the number of a payment's refunds, whatever their status."""
    row = session.one(
        "SELECT count(*) AS n FROM operations WHERE merchant = %s AND payment_id = %s AND kind = 'refund'",
        (merchant, payment_id),
    )
    return int(row["n"]) if row else 0


_WITH_STATUS = """
SELECT o.merchant, o.id, o.payment_id, o.kind, o.amount, o.currency, p.payment_method, o.attempts,
       p.provider_reference AS reference, o.note, o.status, p.provider, p.order_id,
       o.final, p.captured_amount AS captured,
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


def is_adopted(session: Session, merchant: str, operation_id: str) -> bool:
    """Return whether an operation was adopted from the provider's records, which have no key and no reason."""
    adopted = "SELECT id FROM operations WHERE merchant = %s AND id = %s AND idempotency_key IS NULL AND note IS NULL"
    return session.one(adopted, (merchant, operation_id)) is not None


def pending(session: Session) -> Row | None:
    """Return how many operations have no known outcome (`count`), and the age of the oldest in seconds (`oldest`)."""
    return session.one(
        f"""SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM operations WHERE {PENDING}"""
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
        final=row["final"],
        captured=row["captured"],
    )
