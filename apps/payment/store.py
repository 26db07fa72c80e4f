"""The SQL of payments. PostgreSQL builds the JSON of responses from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.messaging import leases
from chassis.messaging.leases import UNTIL
from chassis.postgres.database import Row, Session, json_time, to_json
from chassis.postgres.lists import Listing
from payment import model

OBJECT = f"""json_build_object(
    'id', p.id, 'order_id', p.order_id, 'status', p.status, 'amount', p.amount, 'currency', p.currency,
    'authorized_amount', p.authorized_amount, 'captured_amount', p.captured_amount,
    'refunded_amount', p.refunded_amount, 'refunding_amount', p.refunding_amount,
    'payment_method', p.payment_method, 'capture', p.capture, 'failure_reason', p.failure_reason,
    'provider', p.provider, 'provider_reference', p.provider_reference, 'version', p.version,
    'created_at', {json_time("p.created_at")}, 'updated_at', {json_time("p.updated_at")})"""
"""SQL: a payment `p` as a JSON object, as the API shows it."""

VIEW = f"""{OBJECT}::text AS body, p.id, p.version, p.status, p.amount, p.currency, p.failure_reason,
    p.payment_method, p.provider_reference, p.authorized_amount, p.captured_amount, p.refunded_amount,
    p.refunding_amount, p.busy, p.provider, p.order_id, p.capture"""
"""SQL: the columns of a payment's view: its JSON text and the fields that decisions need."""

# Order ignores a snapshot whose version is not newer than the one it has, and a lost database may have counted further
# than this one. The clock is ahead of every such count: no payment changes once a second for its whole life. That stays
# true after a second restore, where adding a constant would not be enough.
CLOCK = "extract(epoch FROM clock_timestamp())::bigint"
"""SQL: the time in seconds since 1970, as the version of a payment that order may know by a newer version."""

NEXT_VERSION = f"GREATEST(p.version + 1, (SELECT {CLOCK} FROM version_floor f WHERE f.version > p.version))"
"""SQL: the version after a change of a payment `p`; see adopted.raise_floor."""

OLD_KEYS = """created_at < now() - make_interval(days => %s) AND NOT EXISTS (
    SELECT FROM payments p
    WHERE p.merchant = idempotency_keys.merchant AND p.id = idempotency_keys.resource_id
      AND (p.status = 'processing' OR p.busy IS NOT NULL))
AND NOT EXISTS (
    SELECT FROM operations o
    WHERE o.merchant = idempotency_keys.merchant AND o.id = idempotency_keys.resource_id AND o.status = 'pending')"""
"""SQL condition: an idempotency key can be purged. Takes the days that keys are kept.

The key of an operation without a known outcome is kept, whatever its age: order repeats its command under this key, and
payment must find the operation. The key of a refund names its operation; the others name their payment.
"""

_NEW = f"""
p AS (
    INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, failure_reason,
                          provider, headers, expires_at)
    VALUES (%(merchant)s, %(id)s, %(order_id)s, %(status)s, %(amount)s, %(currency)s, %(payment_method)s,
            %(capture)s, %(failure_reason)s, %(provider)s, %(headers)s,
            now() + make_interval(secs => %(expiry)s))
    ON CONFLICT DO NOTHING
    RETURNING *),
operation AS (
    INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until, lease_owner,
                            idempotency_key)
    SELECT merchant, %(operation_id)s::uuid, id, %(kind)s::text, amount, currency, 1,
           {UNTIL}, %(owner)s::text, %(key)s::text
    FROM p WHERE status = 'processing')"""

_INSERT = f"WITH {_NEW} SELECT {VIEW} FROM p"

_INSERT_UNDER_KEY = f"""
WITH {_NEW},
claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    SELECT merchant, %(key)s::text, %(fingerprint)s::bytea, 201, id FROM p)
SELECT {VIEW} FROM p
"""


def insert(session: Session, payment: dict[str, Any]) -> Row | None:
    """Store a payment and its first operation, which is leased to `owner` for `lease` seconds.

    Returns None if the order has a live payment, or the payment's id exists; then nothing is written. Raises Problem
    `idempotency-key-reused` if another payment has the operation's id: the key was used for that operation.
    """
    try:
        return session.one(_INSERT, {**payment, "headers": Jsonb(payment["headers"])})
    except UniqueViolation as error:
        raise idempotency.reused() from error


def insert_under_key(session: Session, claim: Claim, payment: dict[str, Any]) -> Row | None:
    """Store a payment, its first operation and its idempotency key in one statement.

    Returns None if the key is taken, the order has a live payment, or one of the ids exists; then nothing is written.
    Raises psycopg.errors.LockNotAvailable if another transaction holds the key for longer than the lock timeout.
    """
    named = {**payment, "headers": Jsonb(payment["headers"]), "fingerprint": claim.fingerprint}
    try:
        return session.one(_INSERT_UNDER_KEY, named)
    except UniqueViolation:
        return None


_INSERT_MANY = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(payments)s::jsonb) AS w (
        merchant text, id uuid, order_id uuid, amount bigint, currency text, payment_method text, capture text,
        provider text, headers jsonb, expiry float8, operation_id uuid, kind text, owner text, lease float8, key text,
        fingerprint text)
    ORDER BY id),
p AS (
    INSERT INTO payments (merchant, id, order_id, status, amount, currency, payment_method, capture, provider, headers,
                          expires_at)
    SELECT merchant, id, order_id, 'processing', amount, currency, payment_method, capture, provider, headers,
           now() + make_interval(secs => expiry)
    FROM wanted w
    WHERE NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.merchant = w.merchant AND k.key = w.key)
      AND NOT EXISTS (SELECT FROM operations o WHERE o.merchant = w.merchant AND o.id = w.operation_id)
    ON CONFLICT DO NOTHING
    RETURNING *),
operation AS (
    INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, attempts, leased_until, lease_owner,
                            idempotency_key)
    SELECT w.merchant, w.operation_id, w.id, w.kind, w.amount, w.currency, 1,
           now() + make_interval(secs => w.lease), w.owner, w.key
    FROM p JOIN wanted w ON w.merchant = p.merchant AND w.id = p.id),
claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    SELECT w.merchant, w.key, decode(w.fingerprint, 'hex'), 201, w.id
    FROM p JOIN wanted w ON w.merchant = p.merchant AND w.id = p.id)
SELECT id FROM p
"""


def insert_many_under_keys(session: Session, each: Sequence[tuple[Claim, dict[str, Any]]]) -> frozenset[str]:
    """Store payments, their first operations and their idempotency keys in one statement.

    Returns the ids of the payments that were stored. One that is missing has a key that is taken, an order with a live
    payment, or an id that exists. It is to be stored alone, which tells these apart. All are left out if another
    transaction takes one of the keys meanwhile.

    Raises psycopg.errors.LockNotAvailable if another transaction holds a row for longer than the lock timeout.
    """
    wanted = [
        {name: payment[name] for name in _MANY} | {"fingerprint": claim.fingerprint.hex()} for claim, payment in each
    ]
    try:
        return frozenset(str(row["id"]) for row in session.all(_INSERT_MANY, {"payments": to_json(wanted)}))
    except UniqueViolation:
        return frozenset()


_MANY = (
    "merchant",
    "id",
    "order_id",
    "amount",
    "currency",
    "payment_method",
    "capture",
    "provider",
    "headers",
    "expiry",
    "operation_id",
    "kind",
    "owner",
    "lease",
    "key",
)


def point_key(session: Session, claim: Claim, payment_id: str) -> None:
    """Make a key that this transaction has taken stand for an existing payment, with the status code 200."""
    session.execute(
        "UPDATE idempotency_keys SET status = 200, resource_id = %s WHERE merchant = %s AND key = %s",
        (payment_id, claim.merchant, claim.key),
    )


def get(session: Session, merchant: str, payment_id: str) -> Row | None:
    """Return a payment's view (see VIEW)."""
    return session.one(f"SELECT {VIEW} FROM payments p WHERE merchant = %s AND id = %s", (merchant, payment_id))


def lock(session: Session, merchant: str, payment_id: str) -> Row | None:
    """Return a payment's view, with its row locked until the end of the transaction."""
    return session.execute(
        f"SELECT {VIEW} FROM payments p WHERE merchant = %s AND id = %s FOR NO KEY UPDATE", (merchant, payment_id)
    ).fetchone()


def find_live(session: Session, merchant: str, order_id: str) -> Row | None:
    """Return the view of an order's live payment: the one that is processing, authorized or captured."""
    return session.one(
        f"""SELECT {VIEW} FROM payments p WHERE merchant = %s AND order_id = %s
            AND status IN ('processing', 'authorized', 'captured')""",
        (merchant, order_id),
    )


def count_ended(session: Session, merchant: str, order_id: str) -> int:
    """Return how many payments of an order the provider was asked for that are no longer live."""
    row = session.one(
        """SELECT count(*) AS ended FROM payments WHERE merchant = %s AND order_id = %s AND amount > 0
           AND status IN ('failed', 'voided', 'expired')""",
        (merchant, order_id),
    )
    assert row is not None
    ended: int = row["ended"]
    return ended


_MERCHANTS = f"""
WITH RECURSIVE {leases.merchants("payments", "payments.merchant > %(after)s")}
SELECT merchant AS name, json_build_object('merchant', merchant)::text AS body FROM found LIMIT %(limit)s + 1
"""


def merchants(session: Session, after: str, limit: int) -> list[Row]:
    """Return the `name` and `body` (JSON text) of merchants with payments, ordered by name, at most `limit` + 1.

    The page begins after the name `after`.
    """
    return session.execute(_MERCHANTS, {"after": after, "limit": limit}).fetchall()


_PAYMENTS = Listing(
    table="payments",
    alias="p",
    view=VIEW,
    statuses=tuple(model.Status),
    few={"order_id": "order_id = %(order_id)s"},
    conditions={},
)


def find(session: Session, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
    """Return views of a merchant's payments with `created_at`, in the order of `sort`, at most `limit` + 1.

    `query` is what schemas.ListPayments loads. `after` is the time and id of the last payment of the page before.
    """
    return _PAYMENTS.find(session, merchant, query, after)
