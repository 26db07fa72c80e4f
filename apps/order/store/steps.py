"""Reading the facts of an order, and writing the steps that follow, guarded by the version that was read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import uuid_utils
from psycopg.pq import TransactionStatus

from chassis.messaging import leases, outbox
from chassis.messaging.outbox import DELIVERED
from chassis.postgres.database import Row, Session, json_time, to_json
from order.history import Step
from order.model import Asked, Command, LastError, Order, Payment, Status
from order.store import deliveries
from order.store.events import NEXT_STATE, POSITION
from order.store.views import VIEW

_FACTS = """merchant, id, status, total_amount, currency, paid_amount, refunded_amount, payment_method, capture,
    failure_reason, payment, past_payments, asked, asked_version, last_error, version, metadata"""

_READ = f"SELECT {_FACTS} FROM orders WHERE merchant = %s AND id = %s"

_READ_MANY = f"""SELECT {_FACTS} FROM orders WHERE (merchant, id) IN (
    SELECT merchant, id FROM jsonb_to_recordset(%(ids)s::jsonb) AS i(merchant text, id uuid))"""

# The release before this one may still write rows during a rollout, without `asked`. The next release can drop this.
_ASKED_BEFORE = """
SELECT COALESCE(jsonb_agg(asked), '[]') AS asked FROM (
    SELECT jsonb_strip_nulls(jsonb_build_object('id', id, 'command', topic, 'amount',
        CASE topic WHEN 'payment.capture' THEN payload->'amount' END)) AS asked FROM outbox
    WHERE merchant = %(merchant)s AND aggregate_id = %(id)s AND delivered_at IS NULL AND topic <> 'payment.refund'
    UNION ALL
    SELECT jsonb_build_object('id', id, 'command', 'payment.refund', 'amount', amount, 'to_cancel', to_cancel)
    FROM refunds WHERE merchant = %(merchant)s AND order_id = %(id)s AND status = 'pending') AS each"""

_EVENT = """changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id
    CROSS JOIN LATERAL (SELECT s.event_id, s.type, o.version, s.headers) n(id, type, version, headers)"""

# The answered message is locked first, and then its order: every statement that locks both does it in this order.
_WRITE = f"""
WITH step AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(steps)s::jsonb) AS s (
        merchant text, id uuid, seen bigint, type text, actor text, before text, status text, paid_amount bigint,
        refunded_amount bigint, refunding_amount bigint, failure_reason text, payment jsonb, past uuid[],
        payment_method text, metadata jsonb, asked jsonb, last_error jsonb, data jsonb, headers jsonb, event_id uuid,
        message_id uuid, topic text, payload jsonb, owner text, lease float8,
        refund_amount bigint, reason text, to_cancel boolean, refund_metadata jsonb,
        ended_id uuid, ended_status text, ended_reason text, ended_declined boolean,
        answered uuid, holder text)),
held AS MATERIALIZED (
    SELECT o.merchant, o.id FROM outbox o JOIN step s ON s.answered = o.id
    WHERE o.merchant = s.merchant AND {leases.held("o", "o.delivered_at IS NULL", "s.holder")} FOR UPDATE OF o),
changed AS (
    UPDATE orders o SET status = s.status, paid_amount = s.paid_amount, refunded_amount = s.refunded_amount,
           refunding_amount = s.refunding_amount, failure_reason = s.failure_reason, payment = s.payment,
           past_payments = s.past, payment_method = s.payment_method,
           metadata = COALESCE(s.metadata, o.metadata),
           command_id = COALESCE(s.message_id, o.command_id), asked = s.asked, asked_version = o.version + 1,
           last_error = s.last_error || jsonb_build_object('at', CASE
               WHEN s.last_error->'id' = o.last_error->'id' THEN o.last_error->>'at'
               ELSE {json_time("clock_timestamp()")} END),
           version = o.version + 1, updated_at = clock_timestamp()
    FROM step s
    WHERE o.merchant = s.merchant AND o.id = s.id AND o.version = s.seen
      AND (s.answered IS NULL OR (s.merchant, s.answered) IN (SELECT merchant, id FROM held))
    RETURNING o.*),
delivered AS (
    UPDATE outbox SET {DELIVERED} FROM changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id
    WHERE outbox.merchant = s.merchant AND outbox.id = s.answered),
event AS (
    INSERT INTO order_events (merchant, order_id, version, type, from_status, to_status, actor, data, at, id, state,
                              position)
    SELECT o.merchant, o.id, o.version, s.type, s.before, s.status, s.actor, s.data, o.updated_at, s.event_id,
           {NEXT_STATE}, {POSITION}
    FROM changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id
    LEFT JOIN order_events before ON before.merchant = s.merchant AND before.order_id = s.id
         AND before.version = s.seen),
refund AS (
    INSERT INTO refunds (merchant, id, order_id, amount, currency, reason, to_cancel, payment_id, metadata)
    SELECT o.merchant, s.message_id, o.id, s.refund_amount, s.payment->>'currency', s.reason, s.to_cancel,
           (s.payment->>'id')::uuid, COALESCE(s.refund_metadata, '{{}}')
    FROM changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id WHERE s.refund_amount IS NOT NULL),
ended AS (
    UPDATE refunds r SET status = s.ended_status, failure_reason = s.ended_reason, declined = s.ended_declined,
           updated_at = clock_timestamp()
    FROM changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id
    WHERE r.merchant = o.merchant AND r.id = s.ended_id),
command AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, leased_until, lease_owner, attempts)
    SELECT s.message_id, o.merchant, o.id, s.topic, s.payload, s.headers,
           now() + make_interval(secs => s.lease), s.owner, (s.owner IS NOT NULL)::int
    FROM changed o JOIN step s ON s.merchant = o.merchant AND s.id = o.id WHERE s.topic IS NOT NULL),
told AS ({deliveries.queue(_EVENT)})
SELECT o.merchant, o.id, EXISTS (
    SELECT FROM told WHERE told.merchant = o.merchant AND told.order_id = o.id) AS told"""

_WRITE_ONLY = f"{_WRITE} FROM changed o"

_WRITE_AND_SHOW = f"{_WRITE}, {VIEW} FROM changed o"


@dataclass(frozen=True, slots=True)
class Path:
    """The steps of one order that are to be written, and who caused them.

    `headers` go with the commands and events. `answered` is the leased outbox message whose answer led to the steps: it
    is marked delivered with the first of them. `owner` leases the last command to the request that is served, for
    `lease` seconds.
    """

    merchant: str
    steps: Sequence[Step]
    actor: str
    headers: dict[str, str]
    answered: outbox.Message | None = None
    owner: str | None = None
    lease: float = 0.0

    @property
    def order(self) -> tuple[str, str]:
        """The merchant and the id of the order."""
        return self.merchant, self.steps[0].before.id


def read(session: Session, merchant: str, order_id: str) -> Order | None:
    """Return the facts of an order as they stand, without a lock; None if there is no such order."""
    row = session.one(_READ, (merchant, order_id))
    return _order(session, row) if row is not None else None


def read_many(session: Session, ids: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Order]:
    """Return the facts of the orders that exist, by merchant and id, without a lock."""
    rows = session.all(_READ_MANY, {"ids": to_json([{"merchant": merchant, "id": id_} for merchant, id_ in ids])})
    return {(row["merchant"], str(row["id"])): _order(session, row) for row in rows}


def _order(session: Session, row: Row) -> Order:
    order_id, asked = str(row["id"]), row["asked"]
    if row["asked_version"] != row["version"]:
        before = session.one(_ASKED_BEFORE, {"merchant": row["merchant"], "id": order_id})
        asked = before["asked"] if before else []
    return Order(
        order_id,
        Status(row["status"]),
        row["total_amount"],
        row["currency"],
        row["payment_method"],
        row["capture"],
        row["paid_amount"],
        row["refunded_amount"],
        row["failure_reason"],
        Payment(**row["payment"]) if row["payment"] else None,
        frozenset(str(past) for past in row["past_payments"]),
        tuple(Asked(**{**each, "command": Command(each["command"])}) for each in asked),
        _last_error(row["last_error"]) if row["last_error"] else None,
        row["version"],
        row["metadata"],
    )


def _last_error(stored: dict[str, Any]) -> LastError:
    return LastError(Command(stored["command"]), stored.get("reason"), stored.get("id", ""))


def write(session: Session, paths: Sequence[Path], *, show: bool = True) -> list[Row | None]:
    """Write the steps of one or of many different orders; return their views in the order of the paths.

    One statement writes the first step of every order, the next one the second steps. Most orders have one step. The
    steps of an order are written together or not at all: not if its version has changed since it was read, and not if
    the lease of the answered message is lost. Then there is None instead of its view. `told` in a view is true if
    webhooks were queued. Without `show`, a row has only `told` and the order's key: the order's JSON would take an
    eighth of the statement's time.

    Raises psycopg.errors.LockNotAvailable if another transaction holds a row for longer than the lock timeout.
    """
    statement = _WRITE_AND_SHOW if show else _WRITE_ONLY
    depth = max(len(path.steps) for path in paths)
    alone = session.pgconn.transaction_status == TransactionStatus.IDLE
    with session.atomic() if alone and depth > 1 else nullcontext():
        written: dict[tuple[str, str], Row] = {}
        todo = list(paths)
        for number in range(depth):
            todo = [path for path in todo if len(path.steps) > number]
            rows = session.all(statement, {"steps": to_json([_parameters(path, number) for path in todo])})
            views = {(row["merchant"], str(row["id"])): row for row in rows}
            todo = [path for path in todo if path.order in views]
            for order, row in views.items():
                row["told"] |= order in written and written[order]["told"]
                written[order] = row
    return [written.get(path.order) for path in paths]


def _parameters(path: Path, number: int) -> dict[str, Any]:
    """Return one element of the statement's JSON array; members that are left out are NULL."""
    step = path.steps[number]
    before, after, message, ended = step.before, step.after, step.message, step.ended
    parameters = {
        "merchant": path.merchant,
        "id": after.id,
        "seen": before.version,
        "type": step.type,
        "actor": path.actor,
        "before": before.status,
        "status": after.status,
        "paid_amount": after.paid_amount,
        "refunded_amount": after.refunded_amount,
        "refunding_amount": after.refunding_amount,
        "failure_reason": after.failure_reason,
        "payment": after.payment,
        "past": list(after.past),
        "payment_method": after.payment_method,
        "asked": asked_json(after),
        "last_error": _last_error_json(after.last_error),
        "data": step.data,
        "headers": path.headers,
        "event_id": str(uuid_utils.uuid7()),
    }
    if after.metadata != before.metadata:
        parameters["metadata"] = after.metadata
    if message is not None:
        leased = path.owner if message is path.steps[-1].message else None
        parameters |= {"message_id": message.id, "topic": message.command, "payload": message.payload}
        parameters |= {"owner": leased, "lease": path.lease if leased else None}
        if message.command is Command.REFUND:
            asked = after.asked[-1]
            parameters |= {"refund_amount": asked.amount, "reason": message.reason, "to_cancel": asked.to_cancel}
            parameters |= {"refund_metadata": message.metadata or None}
    if ended is not None:
        status = "succeeded" if ended.succeeded else "failed"
        parameters |= {"ended_id": ended.id, "ended_status": status, "ended_reason": ended.reason}
        parameters |= {"ended_declined": ended.declined}
    if path.answered is not None and number == 0:
        parameters |= {"answered": path.answered.id, "holder": path.answered.owner}
    return parameters


def asked_json(order: Order) -> list[dict[str, Any]]:
    """Return the commands without a known outcome as the column `asked` holds them: without default values."""
    return [
        {
            "id": asked.id,
            "command": asked.command,
            **({"amount": asked.amount} if asked.amount else {}),
            **({"to_cancel": True} if asked.to_cancel else {}),
            **({} if asked.final else {"final": False}),
        }
        for asked in order.asked
    ]


def _last_error_json(error: LastError | None) -> dict[str, Any] | None:
    """Return a decline as the column `last_error` holds it, without the time, which the database adds."""
    if error is None:
        return None
    return {
        "command": error.command,
        "reason": error.reason,
        "id": error.id,
        "code": error.code,
        "detail": error.detail,
    }


def withdraw(session: Session, merchant: str, order_id: str) -> frozenset[str]:
    """Delete an order's commands for payments that no relay has begun to send; return their ids.

    The return of a third party's money is not withdrawn: its refund has a row that waits for the outcome.
    """
    rows = session.execute(
        """DELETE FROM outbox WHERE merchant = %s AND aggregate_id = %s AND delivered_at IS NULL AND attempts = 0
           AND topic = %s RETURNING id""",
        (merchant, order_id, Command.CREATE),
    )
    return frozenset(str(row["id"]) for row in rows)
