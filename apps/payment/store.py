"""The payment service's SQL. Answers are made into JSON by PostgreSQL, which has the row at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from chassis.http.idempotency import Claim
from chassis.messaging import leases
from chassis.messaging.leases import DUE, RELEASED, UNTIL, Queue
from chassis.postgres.database import Row, Session, json_time
from payment import ledger
from payment.model import Kind, Operation, Outcome, Settlement

_OBJECT = f"""json_build_object(
    'id', p.id, 'order_id', p.order_id, 'status', p.status, 'amount', p.amount, 'currency', p.currency,
    'authorized_amount', p.authorized_amount, 'captured_amount', p.captured_amount,
    'refunded_amount', p.refunded_amount, 'refunding_amount', p.refunding_amount,
    'payment_method', p.payment_method, 'capture', p.capture, 'failure_reason', p.failure_reason,
    'provider', p.provider, 'provider_reference', p.provider_reference, 'version', p.version,
    'created_at', {json_time("p.created_at")}, 'updated_at', {json_time("p.updated_at")})"""

_VIEW = f"""{_OBJECT}::text AS body, p.id, p.version, p.status, p.amount, p.currency, p.failure_reason,
    p.payment_method, p.provider_reference, p.authorized_amount, p.captured_amount, p.refunded_amount,
    p.refunding_amount, p.busy"""

_OPERATION = f"""json_build_object(
    'id', o.id, 'kind', o.kind, 'amount', o.amount, 'currency', o.currency, 'status', o.status,
    'attempts', o.attempts, 'provider_reference', o.provider_reference, 'reason', o.reason,
    'created_at', {json_time("o.created_at")}, 'settled_at', {json_time("o.settled_at")})"""

_REFUND = f"""json_build_object(
    'id', o.id, 'status', CASE o.status WHEN 'declined' THEN 'failed' ELSE o.status END, 'amount', o.amount,
    'currency', o.currency, 'reason', o.note, 'failure_reason', o.reason,
    'created_at', {json_time("o.created_at")})::text AS body, o.id, o.status"""


OLD_KEYS = """created_at < now() - make_interval(days => %s) AND NOT EXISTS (
    SELECT FROM payments p
    WHERE p.merchant = idempotency_keys.merchant AND p.id = idempotency_keys.resource_id AND p.status = 'processing')"""
"""Which idempotency keys are past their time: not while their payment's outcome is open, for whoever holds such a key
may still ask with it.
"""


def point_key(session: Session, claim: Claim, payment_id: str) -> None:
    """Let the key, just taken, stand for a payment that was there already: answered with 200."""
    session.execute(
        "UPDATE idempotency_keys SET status = 200, resource_id = %s WHERE merchant = %s AND key = %s",
        (payment_id, claim.merchant, claim.key),
    )


_NEW = f"""
p AS (
    INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, failure_reason,
                          provider, headers, expires_at)
    VALUES (%(merchant)s, %(id)s, %(order_id)s, %(status)s, %(amount)s, %(currency)s, %(payment_method)s,
            %(capture)s, %(failure_reason)s, %(provider)s, %(headers)s,
            now() + make_interval(secs => %(expiry)s))
    ON CONFLICT (merchant, order_id) WHERE status IN ('processing', 'authorized', 'captured') DO NOTHING
    RETURNING *),
operation AS (
    INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until, lease_owner,
                            idempotency_key)
    SELECT merchant, %(operation_id)s::uuid, id, %(kind)s::text, amount, currency, 1,
           {UNTIL}, %(owner)s::text, %(key)s::text
    FROM p WHERE status = 'processing')"""

_INSERT = f"WITH {_NEW} SELECT {_VIEW} FROM p"

_INSERT_UNDER_KEY = f"""
WITH {_NEW},
claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    SELECT merchant, %(key)s::text, %(fingerprint)s::bytea, 201, id FROM p)
SELECT {_VIEW} FROM p
"""


def insert(session: Session, payment: dict[str, Any]) -> Row | None:
    """Store a payment and its first operation, leased to `owner`; None when its order has a live payment."""
    return session.one(_INSERT, {**payment, "headers": Jsonb(payment["headers"])})


def insert_under_key(session: Session, claim: Claim, payment: dict[str, Any]) -> Row | None:
    """The same, committed together with its key in one statement; None, and nothing done, when the key is taken, too.

    Raises psycopg.errors.LockNotAvailable when another transaction holds the key for longer than the lock time-out.
    """
    named = {**payment, "headers": Jsonb(payment["headers"]), "fingerprint": claim.fingerprint}
    try:
        return session.one(_INSERT_UNDER_KEY, named)
    except UniqueViolation:
        return None


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
    """Set an operation's amount aside in its payment and store it, leased to its owner for `lease` seconds.

    One guarded UPDATE decides, so that what runs at the same time never exceeds what is there. `headers`, of the
    request that wants it, go with the event that tells its end.
    The payment's view, or None when the guard says no.
    """
    return session.one(
        f"""
        WITH p AS (
            UPDATE payments SET version = version + 1, updated_at = clock_timestamp(),
                   headers = COALESCE(%(headers)s::jsonb, headers), {_RESERVE[operation.kind]}
            RETURNING *),
        operation AS (
            INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until,
                                    lease_owner, note, idempotency_key)
            SELECT merchant, %(id)s::uuid, id, %(kind)s::text, %(wanted)s::bigint, currency, 1,
                   {UNTIL}, %(owner)s::text, %(note)s::text, %(key)s::text
            FROM p)
        SELECT {_VIEW} FROM p""",
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


def get_refund(session: Session, merchant: str, refund_id: str) -> Row | None:
    """A refund's view: body (JSON text), id, status of its operation."""
    return session.one(
        f"SELECT {_REFUND} FROM operations o WHERE merchant = %s AND id = %s AND kind = 'refund'",
        (merchant, refund_id),
    )


def find_refunds(session: Session, merchant: str, payment_id: str) -> list[Row]:
    """Views of a payment's refunds, newest first."""
    return session.execute(
        f"""SELECT {_REFUND} FROM operations o WHERE merchant = %s AND payment_id = %s AND kind = 'refund'
            ORDER BY id DESC""",
        (merchant, payment_id),
    ).fetchall()


def find_operations(session: Session, merchant: str, payment_id: str) -> list[Row]:
    """Views of everything that was asked of the provider for a payment, oldest first."""
    return session.execute(
        f"""SELECT {_OPERATION}::text AS body FROM operations o WHERE merchant = %s AND payment_id = %s
            ORDER BY created_at, id""",
        (merchant, payment_id),
    ).fetchall()


def expired(session: Session, limit: int) -> list[Row]:
    """Views, with `merchant`, of authorized payments whose time is over."""
    return session.execute(
        f"""SELECT p.merchant, {_VIEW} FROM payments p
            WHERE status = 'authorized' AND busy IS NULL AND expires_at <= now() ORDER BY expires_at LIMIT %s""",
        (limit,),
    ).fetchall()


def get(session: Session, merchant: str, payment_id: str) -> Row | None:
    """A payment's view: body (JSON text), id, version, status, amounts and what a decision needs."""
    return session.one(f"SELECT {_VIEW} FROM payments p WHERE merchant = %s AND id = %s", (merchant, payment_id))


def lock(session: Session, merchant: str, payment_id: str) -> Row | None:
    """The same with the payment's row locked to the end of the transaction."""
    return session.execute(
        f"SELECT {_VIEW} FROM payments p WHERE merchant = %s AND id = %s FOR NO KEY UPDATE", (merchant, payment_id)
    ).fetchone()


def live(session: Session, merchant: str, order_id: str) -> Row | None:
    """The view of the one payment of an order that is under way or holds money."""
    return session.one(
        f"""SELECT {_VIEW} FROM payments p WHERE merchant = %s AND order_id = %s
            AND status IN ('processing', 'authorized', 'captured')""",
        (merchant, order_id),
    )


_FILTERS = {"order_id": "order_id = %(order_id)s", "status": "status = %(status)s", "after": "id < %(after)s"}


def find(session: Session, query: dict[str, Any]) -> list[Row]:
    """Views of a merchant's payments, newest first: after an id, of an order, in a state; `limit` + 1 at most.

    Only the conditions that are wanted are written, and planned for their values: with `%s IS NULL OR` around each
    of them, no index could be relied on.
    """
    conditions = "".join(f" AND {condition}" for name, condition in _FILTERS.items() if query.get(name) is not None)
    return session.execute(
        f"""SELECT {_VIEW} FROM payments p WHERE merchant = %(merchant)s{conditions}
            ORDER BY id DESC LIMIT %(limit)s + 1""",
        query,
        prepare=False,
    ).fetchall()


OPERATIONS = Queue(
    table="operations",
    key=("merchant", "id"),
    pending="operations.status = 'pending'",
    due=f"""
        SELECT o.merchant, o.id, p.payment_method, p.provider_reference AS reference, p.headers
        FROM (SELECT merchant, id, payment_id FROM operations
              WHERE status = 'pending' AND {DUE}
              ORDER BY available_at LIMIT %(limit)s
              FOR UPDATE SKIP LOCKED) o
        JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id""",
    returning="""operations.merchant, operations.id, payment_id, kind, amount, currency, due.payment_method, attempts,
        due.reference, note, due.headers""",
)


def claim_operations(session: Session, lease: float, limit: int) -> list[Operation]:
    """Lease up to `limit` operations without a known outcome for `lease` seconds."""
    return [_operation(row, row["owner"]) for row in leases.claim(session, OPERATIONS, lease, limit)]


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
    )


def release_operation(session: Session, operation: Operation, delay: float, error: str) -> None:
    """End the lease of an operation without a known outcome; it is due again after `delay` seconds."""
    leases.release(session, OPERATIONS, operation, delay, error)


def make_due(session: Session, operation_id: str | None, reference: str | None) -> int:
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


def make_all_due(session: Session) -> None:
    """Make all pending operations due now."""
    leases.retry_now(session, OPERATIONS, "available_at > now()", {})


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
    SELECT %(event_id)s::uuid, p.merchant, order_id, 'payment.updated', jsonb_build_object(
        'type', 'payment.updated', 'timestamp', {json_time("clock_timestamp()")}, 'merchant', p.merchant,
        'data', {_OBJECT}, 'operation', json_build_object('id', settled.id, 'kind', settled.kind,
            'status', settled.status, 'amount', settled.amount, 'reason', settled.reason,
            'idempotency_key', settled.idempotency_key)), p.headers
    FROM p, settled)
SELECT {_VIEW} FROM p
"""


def settle(
    session: Session, operation: Operation, outcome: Outcome, settlement: Settlement, event_id: str
) -> Row | None:
    """Commit an operation's outcome, its payment's next state, the ledger's entries and the event at once.

    The payment's view, or None when the lease was lost: somebody else settles it, with the same outcome.
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


def pending(session: Session) -> Row | None:
    """How many operations have no known outcome, and the age of the oldest in seconds."""
    return session.one(
        """SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM operations WHERE status = 'pending'"""
    )


_FOR_PROVIDER = """
SELECT o.merchant, o.id, o.payment_id, o.kind, o.amount, o.currency, p.payment_method, o.attempts,
       p.provider_reference AS reference, o.note, o.status
FROM operations o JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
"""


def operations_between(session: Session, since: str, until: str) -> Iterator[tuple[Operation, str]]:
    """Operations made in a period, oldest first, each with its status here. Times in RFC 3339."""
    with session.transaction(), session.cursor("reconcile") as cursor:
        cursor.execute(
            _FOR_PROVIDER + "WHERE o.created_at >= %s AND o.created_at < %s ORDER BY o.created_at", (since, until)
        )
        for row in cursor:
            yield _operation(row, ""), row["status"]


def operations_of(session: Session, merchant: str, payment_id: str) -> list[tuple[Operation, str]]:
    """All operations of a payment, each with its status here."""
    rows = session.execute(_FOR_PROVIDER + "WHERE o.merchant = %s AND o.payment_id = %s", (merchant, payment_id))
    return [(_operation(row, ""), row["status"]) for row in rows]
