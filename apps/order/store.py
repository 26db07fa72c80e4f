"""The order service's SQL. Answers are made into JSON by PostgreSQL, which has the row at hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from chassis.http.idempotency import Claim
from chassis.messaging.outbox import DELIVERED, Message
from chassis.postgres.database import Row, Session, json_time, to_json
from chassis.telemetry.metrics import COUNT_LIMIT
from order import model
from order.webhooks.store import tell

_OBJECT = f"""json_build_object(
    'id', o.id, 'status', o.status, 'currency', o.currency, 'total_amount', o.total_amount,
    'paid_amount', o.paid_amount, 'refunded_amount', o.refunded_amount, 'items', o.items,
    'customer', o.customer, 'payment_method', o.payment_method, 'capture', o.capture, 'metadata', o.metadata,
    'payment', CASE WHEN o.payment IS NOT NULL THEN json_build_object('id', o.payment->'id',
        'status', o.payment->'status',
        'failure_reason', COALESCE(o.failure_reason, o.payment->>'failure_reason')) END,
    'version', o.version, 'created_at', {json_time("o.created_at")},
    'updated_at', {json_time("o.updated_at")})"""

_VIEW = f"{_OBJECT}::text AS body, o.id, o.version, o.status"

_REFUND_OBJECT = f"""json_build_object(
    'id', r.id, 'status', r.status, 'amount', r.amount, 'currency', r.currency, 'reason', r.reason,
    'failure_reason', r.failure_reason, 'created_at', {json_time("r.created_at")})"""

_REFUND = f"{_REFUND_OBJECT}::text AS body, r.id, r.status"

_PLACED_EVENTS = """seen o CROSS JOIN (
    VALUES (%(event_id)s::uuid, 'order.placed'), (%(paid_event_id)s::uuid, 'order.paid')) n(id, type)"""

_STEP_EVENT = "changed o CROSS JOIN (SELECT %(event_id)s::uuid, %(type)s::text) n(id, type)"

_PLACED = f"""
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, payment_method, capture,
                        metadata, command_id)
    SELECT %(merchant)s::text, %(id)s::uuid, %(status)s::text, %(currency)s::text, %(total_amount)s::bigint,
           %(items)s::jsonb, %(customer)s::text, %(payment_method)s::text, %(capture)s::text, %(metadata)s::jsonb,
           %(command_id)s::uuid
    {{source}}
    RETURNING *, xmin::text AS seen_as),
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
    SELECT merchant, id, version, 'order.placed', status, 'merchant' FROM placed),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT %(command_id)s::uuid, merchant, id, %(topic)s::text, %(command_payload)s::jsonb, %(headers)s::jsonb,
           now() + make_interval(secs => %(lease)s::float8), %(owner)s::text, (%(owner)s::text IS NOT NULL)::int
    FROM placed WHERE %(topic)s::text IS NOT NULL),
seen AS (SELECT merchant, id, version, status, seen_as, {_OBJECT} AS object FROM placed o),
told AS ({tell(_PLACED_EVENTS, "o.object")})
SELECT object::text AS body, id, version, status, seen_as, EXISTS (SELECT FROM told) AS told FROM seen
"""

_PLACE = """
WITH claim AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    VALUES (%(merchant)s, %(key)s, %(fingerprint)s, 201, %(id)s::uuid)
    ON CONFLICT DO NOTHING RETURNING merchant),
""" + _PLACED.format(source="FROM claim")

_PLACE_BY_ID = "WITH " + _PLACED.format(source="ON CONFLICT DO NOTHING")

_NO_COMMAND = dict.fromkeys(("topic", "command_payload", "command_id", "owner", "lease"))


def place(session: Session, claim: Claim, order: dict[str, Any]) -> Row | None:
    """Commit an order, its first event, its command to payment and its idempotency key in one statement.

    The new order's view, with `seen_as` as `look` has it, or None when the key is taken already. Raises
    psycopg.errors.LockNotAvailable when another transaction holds the key for longer than the lock time-out.
    """
    return session.one(_PLACE, {**_NO_COMMAND, **order, "key": claim.key, "fingerprint": claim.fingerprint})


def placed(session: Session, claim: Claim) -> Row | None:
    """The view of the order that an earlier request with the same key and content placed."""
    return session.one(
        f"""SELECT {_VIEW} FROM idempotency_keys k JOIN orders o ON (o.merchant, o.id) = (k.merchant, k.resource_id)
            WHERE k.merchant = %s AND k.key = %s AND k.fingerprint = %s""",
        (claim.merchant, claim.key, claim.fingerprint),
    )


def place_by_id(session: Session, order: dict[str, Any]) -> Row | None:
    """The same with the order's own id as the idempotency key; None when the order exists already."""
    return session.one(_PLACE_BY_ID, {**_NO_COMMAND, **order})


def get(session: Session, merchant: str, order_id: str) -> Row | None:
    """An order's view: body (JSON text), id, version, status."""
    return session.one(f"SELECT {_VIEW} FROM orders o WHERE merchant = %s AND id = %s", (merchant, order_id))


_BOUNDS = {
    "created_after": "created_at > %(created_after)s",
    "created_before": "created_at < %(created_before)s",
    "seen_at": "(created_at, id) < (%(seen_at)s, %(seen_id)s)",
}

_NEWEST = """SELECT id, created_at FROM orders WHERE merchant = %(merchant)s AND {conditions}
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1"""

# One index, by status and time, serves a list of one status and a list of all: the newest of each status are found
# in it, and the newest of those are the newest of all.
_NEWEST_OF_EACH = """SELECT newest.* FROM unnest(%(statuses)s::text[]) AS wanted(status)
    CROSS JOIN LATERAL ({newest}) AS newest ORDER BY created_at DESC, id DESC LIMIT %(limit)s + 1"""


def find(session: Session, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
    """Views of a merchant's orders, newest first, with `created_at`; `limit` + 1 at most.

    `query` is what schemas.ListOrders loads; `after` is the time and id of the last order seen. Only the conditions
    that are wanted are written, and planned for their values: that is what lets an index answer each of them.
    """
    seen_at, seen_id = after or (None, None)
    wanted = {**query, "merchant": merchant, "seen_at": seen_at, "seen_id": seen_id}
    bounds = [condition for name, condition in _BOUNDS.items() if wanted.get(name) is not None]
    if "customer" in query:
        of_status = ["status = %(status)s"] if "status" in query else []
        page = _NEWEST.format(conditions=" AND ".join(["customer = %(customer)s", *of_status, *bounds]))
    else:
        newest = _NEWEST.format(conditions=" AND ".join(["status = wanted.status", *bounds]))
        page = _NEWEST_OF_EACH.format(newest=newest)
        wanted["statuses"] = [query["status"]] if "status" in query else list(model.Status)
    return session.execute(
        f"""WITH page AS MATERIALIZED ({page})
            SELECT {_VIEW}, o.created_at FROM page JOIN orders o ON o.merchant = %(merchant)s AND o.id = page.id
            ORDER BY page.created_at DESC, page.id DESC""",
        wanted,
        prepare=False,
    ).fetchall()


def sketch(session: Session, merchant: str, order_id: str) -> Row | None:
    """What the sketch's API shows of an order: items, total_amount, currency, status."""
    return session.one(
        "SELECT items, total_amount, currency, status FROM orders WHERE merchant = %s AND id = %s",
        (merchant, order_id),
    )


def events(session: Session, merchant: str, order_id: str) -> str | None:
    """An order's history as JSON text, oldest first; None when there is no such order."""
    row = session.one(
        f"""SELECT json_build_object('data', json_agg(json_build_object(
                'version', version, 'type', type, 'from', from_status, 'to', to_status, 'actor', actor,
                'data', data, 'at', {json_time("at")}) ORDER BY version))::text AS body
            FROM order_events WHERE merchant = %s AND order_id = %s HAVING count(*) > 0""",
        (merchant, order_id),
    )
    return row["body"] if row else None


def known_payment(session: Session, merchant: str, order_id: str) -> Row | None:
    """What an order knows of its payments: payment, past_payments."""
    return session.one(
        "SELECT payment, past_payments FROM orders WHERE merchant = %s AND id = %s", (merchant, order_id)
    )


_FACTS = """status, total_amount, currency, paid_amount, refunded_amount, refunding_amount, payment_method,
    capture, payment, past_payments, version"""

_ASKED = """ARRAY (
    SELECT topic FROM outbox WHERE merchant = %(merchant)s AND aggregate_id = %(id)s
    AND delivered_at IS NULL AND id IS DISTINCT FROM %(answered)s::uuid
    UNION SELECT 'payment.refund' FROM refunds
    WHERE merchant = %(merchant)s AND order_id = %(id)s
    AND (status = 'pending' OR ({over} AND declined)))"""


def lock(session: Session, merchant: str, order_id: str) -> Row | None:
    """The facts that decisions need, with the order's row locked to the end of the transaction.

    `asked` is what is on its way to payment, and payment.refund while one is pending; an order that is over asks no
    more for a refund that the provider has declined.

    Two statements: one that waits for a lock then sees the row as it is now, but all else as it was before.
    """
    row = session.one(
        f"SELECT {_FACTS} FROM orders WHERE merchant = %s AND id = %s FOR NO KEY UPDATE",
        (merchant, order_id),
    )
    if row is not None:
        asked = session.one(
            f"SELECT {_ASKED.format(over='%(over)s')} AS topics",
            {"merchant": merchant, "id": order_id, "answered": None, "over": row["status"] in model.FINAL},
        )
        row["asked"] = asked["topics"] if asked else []
    return row


_LOOK = f"""
SELECT {_FACTS}, xmin::text AS seen_as, {_ASKED.format(over="orders.status = ANY (%(final)s)")} AS asked
FROM orders WHERE merchant = %(merchant)s AND id = %(id)s"""


def look(session: Session, merchant: str, order_id: str, answered: str) -> Row | None:
    """The same facts of one moment, without a lock, and `seen_as`, which tells whether the row is still that one.

    Of what is on its way to payment, the message with the id `answered` is left out.
    """
    named = {"merchant": merchant, "id": order_id, "answered": answered, "final": list(model.FINAL)}
    return session.one(_LOOK, named)


_STEP = f"""
changed AS (
    UPDATE orders SET status = %(status)s, paid_amount = %(paid_amount)s, refunded_amount = %(refunded_amount)s,
           refunding_amount = refunding_amount + %(refunding)s,
           failure_reason = CASE WHEN %(status)s = 'payment_failed'
                                 THEN COALESCE(%(failure_reason)s, failure_reason) END,
           payment = %(payment)s::jsonb, past_payments = %(past)s, payment_method = %(payment_method)s,
           command_id = COALESCE(%(command_id)s, command_id),
           version = version + 1, updated_at = clock_timestamp()
    WHERE merchant = %(merchant)s AND id = %(id)s AND version = %(seen)s {{guard}}
    RETURNING *),{{delivered}}
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, from_status, to_status, actor, data)
    SELECT merchant, id, version, %(type)s::text, %(before)s::text, %(status)s::text, %(actor)s::text,
           %(data)s::jsonb FROM changed),
refund AS (
    INSERT INTO refunds (merchant, id, order_id, amount, currency, reason, to_cancel)
    SELECT merchant, %(command_id)s::uuid, id, %(refund_amount)s::bigint, currency, %(reason)s::text,
           %(to_cancel)s::boolean
    FROM changed WHERE %(refund_amount)s::bigint IS NOT NULL),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT %(command_id)s::uuid, merchant, id, %(topic)s::text, %(command_payload)s::jsonb, %(headers)s::jsonb,
           now() + make_interval(secs => %(lease)s::float8), %(owner)s::text, (%(owner)s::text IS NOT NULL)::int
    FROM changed WHERE %(topic)s::text IS NOT NULL),
told AS ({tell(_STEP_EVENT, _OBJECT)})
"""

_CHANGE = "WITH " + _STEP.format(guard="", delivered="") + "SELECT EXISTS (SELECT FROM told) AS told"

# The message's row is locked before the order's, and neither is written unless both are still as they were seen.
_CHANGE_AND_DELIVER = (
    """
WITH held AS MATERIALIZED (
    SELECT id FROM outbox WHERE id = %(answered)s AND lease_owner = %(holder)s AND delivered_at IS NULL FOR UPDATE),
"""
    + _STEP.format(
        guard="AND xmin::text = %(seen_as)s AND EXISTS (SELECT FROM held)",
        delivered=f"""
delivered AS (UPDATE outbox SET {DELIVERED} FROM changed WHERE outbox.id = %(answered)s),""",
    )
    + f"SELECT {_VIEW}, EXISTS (SELECT FROM told) AS told FROM changed o"
)

_UNCHANGED = {
    **dict.fromkeys(("command_id", "topic", "command_payload", "lease", "owner")),
    **dict.fromkeys(("refund_amount", "reason", "to_cancel")),
    "refunding": 0,
}


def change(session: Session, change: dict[str, Any]) -> bool:
    """Write an order's next version, the event that tells it, and what it asks of payment.

    For the version that was locked; with a refund_amount, also the refund that the command asks for. With an
    event_id, the event is one for webhooks; whether there are any that are to be told.
    """
    row = session.one(_CHANGE, {**_UNCHANGED, **change})
    return row is not None and bool(row["told"])


def change_and_deliver(session: Session, change: dict[str, Any], message: Message, seen_as: str) -> Row | None:
    """The same, and the message that was answered marked delivered, for an order that `look` has found `seen_as` this.

    The order's view, with `told`; None, and nothing done, when the order has been written since, or the message's lease
    is no longer ours. Raises psycopg.errors.LockNotAvailable when another transaction holds either for longer than the
    lock time-out.
    """
    held = {"answered": message.id, "holder": message.owner, "seen_as": seen_as}
    return session.one(_CHANGE_AND_DELIVER, {**_UNCHANGED, **change, **held})


_TELL_REFUND = tell(
    """orders o JOIN refunds r ON r.merchant = o.merchant AND r.order_id = o.id AND o.merchant = %(merchant)s
       AND r.id = %(refund_id)s CROSS JOIN LATERAL (SELECT %(event_id)s::uuid, 'refund.' || r.status) n(id, type)""",
    _OBJECT,
    f", 'refund', {_REFUND_OBJECT}",
)


def tell_refund(session: Session, merchant: str, refund_id: str, event_id: str, headers: dict[str, str]) -> bool:
    """Tell webhooks what became of a refund, with its order as it is now; whether there are any."""
    named = {"merchant": merchant, "refund_id": refund_id, "event_id": event_id, "headers": to_json(headers)}
    return session.execute(_TELL_REFUND, named).rowcount > 0


def forget_unasked(session: Session, merchant: str, order_id: str) -> bool:
    """Take back what no relay has begun to ask; True if there was such a command, and now there is none."""
    done = session.execute(
        "DELETE FROM outbox WHERE merchant = %s AND aggregate_id = %s AND delivered_at IS NULL AND attempts = 0",
        (merchant, order_id),
    )
    return done.rowcount > 0


def settle_refund(
    session: Session, merchant: str, refund_id: str, status: str, reason: str | None, declined: bool
) -> Row | None:
    """End a pending refund; its amount, whether it was to cancel the order, and whether others are pending.

    None if it has ended before.
    """
    return session.one(
        """UPDATE refunds ended SET status = %s, failure_reason = %s, declined = %s
           WHERE merchant = %s AND id = %s AND status = 'pending'
           RETURNING amount, to_cancel, EXISTS (
               SELECT FROM refunds other WHERE other.merchant = ended.merchant AND other.order_id = ended.order_id
               AND other.id <> ended.id AND other.status = 'pending') AS others""",
        (status, reason, declined, merchant, refund_id),
    )


def get_refund(session: Session, merchant: str, refund_id: str) -> Row | None:
    """A refund's view: body (JSON text), id, status."""
    return session.one(f"SELECT {_REFUND} FROM refunds r WHERE merchant = %s AND id = %s", (merchant, refund_id))


def find_refunds(session: Session, merchant: str, order_id: str) -> list[Row]:
    """Views of an order's refunds, newest first."""
    return session.execute(
        f"SELECT {_REFUND} FROM refunds r WHERE merchant = %s AND order_id = %s ORDER BY id DESC",
        (merchant, order_id),
    ).fetchall()


def receive(session: Session, event_id: str) -> bool:
    """Remember an event; False when it has been received before."""
    done = session.execute("INSERT INTO inbox (id) VALUES (%s) ON CONFLICT DO NOTHING", (event_id,))
    return done.rowcount == 1


_SWEEP = """
WITH waiting AS MATERIALIZED (
    SELECT merchant, id, command_id FROM orders
    WHERE status IN ('pending_payment', 'authorized', 'canceling')
      AND GREATEST(updated_at, swept_at) < now() - make_interval(
          secs => CASE status WHEN 'authorized' THEN %(authorized)s::float8 ELSE %(seconds)s::float8 END)
    ORDER BY updated_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED),
marked AS (
    UPDATE orders o SET swept_at = now() FROM waiting w WHERE o.merchant = w.merchant AND o.id = w.id),
commands AS (
    SELECT command_id AS id FROM waiting
    UNION SELECT id FROM refunds
    WHERE status = 'pending' AND created_at < now() - make_interval(secs => %(seconds)s::float8))
UPDATE outbox SET delivered_at = NULL, available_at = now()
FROM commands WHERE outbox.id = commands.id AND delivered_at < now() - make_interval(secs => %(seconds)s::float8)
"""


def sweep(session: Session, seconds: float, authorized: float) -> int:
    """Ask again about orders and refunds that have waited for so many seconds; the number of them.

    The last command goes back into the outbox: under the same key, payment answers with what stands now.
    """
    return session.execute(_SWEEP, {"seconds": seconds, "authorized": authorized}).rowcount


def waiting(session: Session) -> list[Row]:
    """Of each status that waits: how many orders have it, and for how many seconds the oldest has not changed."""
    return session.execute(
        """SELECT status, count(updated_at)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(updated_at)), 0)::float8 AS oldest
           FROM unnest('{pending_payment,authorized,canceling}'::text[]) AS status LEFT JOIN (
               SELECT status, updated_at FROM orders WHERE status IN ('pending_payment', 'authorized', 'canceling')
               ORDER BY updated_at LIMIT %s) AS those USING (status)
           GROUP BY status""",
        (COUNT_LIMIT,),
    ).fetchall()


def refunds_waiting(session: Session) -> Row | None:
    """How many refunds have no known outcome, and the age of the oldest in seconds."""
    return session.one(
        """SELECT count(*)::float8 AS count,
                  COALESCE(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
           FROM refunds WHERE status = 'pending'"""
    )


def between(session: Session, since: str, until: str) -> Iterator[Row]:
    """What orders placed in a period say of money: merchant, id, status, amounts, payment. Times in RFC 3339."""
    with session.transaction(), session.cursor("reconcile") as cursor:
        cursor.execute(
            """SELECT merchant, id, status, paid_amount, refunded_amount, payment FROM orders
               WHERE created_at >= %s AND created_at < %s ORDER BY created_at""",
            (since, until),
        )
        yield from cursor
