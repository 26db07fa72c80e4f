"""The SQL of adoption: payments and operations that only the provider knows, and telling order of payments again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from chassis.messaging.leases import UNTIL
from chassis.postgres.database import Row, Session
from payment.model import Kind, Operation, Record, Result, Status
from payment.settlements import EVENT
from payment.store import CLOCK, VIEW

Key = tuple[str, str]
"""A merchant and an id."""

_NEXT_VERSION = f"GREATEST(p.version + 1, {CLOCK})"


@dataclass(frozen=True, slots=True)
class Known:
    """What this database has of a record's operation and payment. None: it does not have it."""

    status: str | None
    content: tuple[str, str, int, str] | None
    """The payment's id, kind, amount and currency."""

    payment_status: str | None


def in_steps(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield the records `size` at a time, as many as one statement takes."""
    iterator = iter(records)
    while step := list(islice(iterator, size)):
        yield step


def find_known(session: Session, records: Sequence[Record]) -> list[Known]:
    """Return what this database knows of each of these records, in their order."""
    rows = session.execute(
        """SELECT o.status, o.payment_id::text, o.kind, o.amount, o.currency, p.status AS payment_status
           FROM unnest(%s::text[], %s::uuid[], %s::uuid[]) WITH ORDINALITY AS r(merchant, id, payment_id, place)
           LEFT JOIN operations o ON o.merchant = r.merchant AND o.id = r.id
           LEFT JOIN payments p ON p.merchant = r.merchant AND p.id = r.payment_id
           ORDER BY place""",
        (
            [record.merchant for record in records],
            [record.operation_id for record in records],
            [record.payment_id for record in records],
        ),
    )
    return [
        Known(
            row["status"],
            (row["payment_id"], row["kind"], row["amount"], row["currency"]) if row["status"] else None,
            row["payment_status"],
        )
        for row in rows
    ]


def is_known(record: Record, known: Known) -> bool:
    """Return whether this database has the record's operation with the same content and outcome."""
    if record.kind is Kind.VOID and record.operation_id is None:
        return known.payment_status in (Status.VOIDED, Status.EXPIRED)
    if known.content is None:
        return False
    payment_id, *content = known.content
    if content != [record.kind, record.amount, record.currency] or record.payment_id not in (None, payment_id):
        return False
    result = record.outcome.result
    return result is Result.UNKNOWN or result == known.status


def insert(session: Session, opening: Record, operation: Operation, lease: float, authorization: float) -> Row | None:
    """Store a payment and its first operation, pending and leased to its owner, from the provider's record.

    Times are in seconds. Returns the payment's view, or None if the order has another live payment; then nothing is
    written.
    """
    return session.one(
        f"""
        WITH p AS (
            INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, provider,
                                  version, created_at, expires_at)
            VALUES (%(merchant)s, %(payment_id)s, %(order_id)s, %(status)s, %(amount)s::bigint, %(currency)s,
                    %(payment_method)s, %(capture)s, %(provider)s, {CLOCK}, %(at)s::timestamptz,
                    %(at)s::timestamptz + make_interval(secs => %(authorization)s))
            ON CONFLICT DO NOTHING
            RETURNING *),
        operation AS (
            INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until,
                                    lease_owner, created_at)
            SELECT merchant, %(id)s::uuid, id, %(kind)s::text, amount, currency, 1, {UNTIL}, %(owner)s::text, created_at
            FROM p)
        SELECT {VIEW} FROM p""",
        {
            "merchant": operation.merchant,
            "payment_id": operation.payment_id,
            "order_id": opening.order_id,
            # A declined payment is not live, so it does not conflict with the payment that was made after it.
            "status": Status.FAILED if opening.outcome.result is Result.DECLINED else Status.PROCESSING,
            "amount": operation.amount,
            "currency": operation.currency,
            "payment_method": operation.payment_method,
            "capture": "automatic" if operation.kind == "sale" else "manual",
            "provider": operation.provider,
            "at": opening.at,
            "authorization": authorization,
            "id": operation.id,
            "kind": operation.kind,
            "owner": operation.owner,
            "lease": lease,
        },
    )


def take(session: Session, operation: Operation, lease: float) -> None:
    """Lease a pending operation to its owner for `lease` seconds, and give it what the provider recorded.

    That is the amount, and whether a capture is final.

    Another worker that holds the lease loses it: it cannot settle the operation any more. The caller has locked the
    operation and its payment, and settles the operation in this transaction.
    """
    session.execute(
        f"""WITH before AS MATERIALIZED (
                SELECT merchant, id, payment_id, kind, amount FROM operations
                WHERE merchant = %(merchant)s AND id = %(id)s AND status = 'pending'),
            taken AS (
                UPDATE operations o
                SET lease_owner = %(owner)s::text, leased_until = {UNTIL}, amount = %(amount)s::bigint,
                    final = %(final)s::boolean
                FROM before WHERE o.merchant = before.merchant AND o.id = before.id)
            UPDATE payments p SET refunding_amount = refunding_amount - before.amount + %(amount)s::bigint,
                   version = {_NEXT_VERSION}
            FROM before
            WHERE p.merchant = before.merchant AND p.id = before.payment_id AND before.kind = 'refund'
              AND before.amount <> %(amount)s::bigint""",
        {
            "merchant": operation.merchant,
            "id": operation.id,
            "amount": operation.amount,
            "final": operation.final,
            "owner": operation.owner,
            "lease": lease,
        },
    )


def lock_operations(session: Session, merchant: str, payment_id: str) -> None:
    """Lock a payment's operations until the end of the transaction. Call it before the payment itself is locked.

    A worker that settles an operation locks the two in this order; in the other one, both could wait for each other.
    """
    session.execute(
        "SELECT FROM operations WHERE merchant = %s AND payment_id = %s ORDER BY id FOR NO KEY UPDATE",
        (merchant, payment_id),
    )


def advance_version(session: Session, merchant: str, payment_id: str) -> None:
    """Give a payment a version that order cannot have seen."""
    session.execute(
        f"UPDATE payments p SET version = {_NEXT_VERSION} WHERE merchant = %s AND id = %s", (merchant, payment_id)
    )


def raise_floor(session: Session) -> None:
    """Let each payment continue above every version that order may have seen, from its next change on.

    Order may know newer versions even of a payment that is not told again: an earlier resync gave it one, and this
    database was restored to a moment before that.
    """
    session.execute(
        f"""INSERT INTO version_floor (version) VALUES ({CLOCK})
            ON CONFLICT (one) DO UPDATE SET version = GREATEST(version_floor.version, EXCLUDED.version)"""
    )


def find_changed(session: Session, since: datetime, step: int) -> Iterator[list[Key]]:
    """Yield the payments that order may not know as they are, `step` at a time.

    These are payments that changed since a time, payments that order was told of since then, and payments that are not
    final.
    """
    with session.transaction(), session.cursor("changed") as cursor:
        cursor.execute(
            """SELECT merchant, id::text FROM payments
               WHERE updated_at >= %(since)s OR status IN ('processing', 'authorized')
               UNION
               SELECT merchant, payload->'data'->>'id' FROM outbox WHERE delivered_at >= %(since)s""",
            {"since": since},
        )
        while rows := cursor.fetchmany(step):
            yield [(row["merchant"], row["id"]) for row in rows]


def tell_again(session: Session, payments: Sequence[Key], since: datetime) -> int:
    """Write events for order: one for each operation of these payments that was settled since a time.

    A payment without one is told with its newest settled operation. Each payment gets a version that order cannot have
    seen. A payment without any settled operation has nothing to tell. Returns how many payments are told.
    """
    row = session.execute(
        f"""
        WITH chosen AS (
            SELECT p.merchant, p.id FROM payments p
            JOIN unnest(%(merchants)s::text[], %(ids)s::uuid[]) AS k(merchant, id)
              ON k.merchant = p.merchant AND k.id = p.id
            WHERE EXISTS (SELECT FROM operations o WHERE o.merchant = p.merchant AND o.payment_id = p.id
                          AND o.status <> 'pending')
            ORDER BY p.merchant, p.id FOR NO KEY UPDATE OF p),
        p AS (
            UPDATE payments p SET version = {_NEXT_VERSION} FROM chosen
            WHERE p.merchant = chosen.merchant AND p.id = chosen.id
            RETURNING p.*),
        settled AS (
            SELECT o.*, row_number() OVER (
                PARTITION BY o.merchant, o.payment_id ORDER BY settled_at DESC, o.id) AS place
            FROM operations o JOIN chosen ON o.merchant = chosen.merchant AND o.payment_id = chosen.id
            WHERE o.status <> 'pending'),
        event AS (
            INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers)
            SELECT gen_random_uuid(), p.merchant, p.order_id, 'payment.updated', {EVENT}, p.headers
            FROM p JOIN settled ON settled.merchant = p.merchant AND settled.payment_id = p.id
            WHERE settled.place = 1 OR settled.settled_at >= %(since)s
            ORDER BY settled.settled_at)
        SELECT count(*) AS told FROM p""",
        {"merchants": [merchant for merchant, _ in payments], "ids": [id for _, id in payments], "since": since},
    ).fetchone()
    assert row is not None
    told: int = row["told"]
    return told
