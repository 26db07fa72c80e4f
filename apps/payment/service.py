"""The payment service's use cases: one transaction each, and the provider called between two of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import psycopg
import uuid_utils

from chassis import idempotency, logs, metrics, webhooks
from chassis.database import Database, Row, Session
from chassis.idempotency import Claim
from chassis.leases import backoff
from chassis.outbox import Message
from chassis.problems import Problem
from chassis.relay import Relay
from chassis.remote import Remote
from payment import model, store
from payment.model import Operation, Outcome, Result, Status
from payment.providers import Provider, ProviderFault

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Created:
    """A payment as it stands, the status code that goes with it, and whether an earlier request made it."""

    row: Row
    status: int = 201
    replayed: bool = False


class Payments:
    """What can be done with payments."""

    def __init__(self, database: Database, provider: Provider, order: Remote, secrets: tuple[str, ...], lease: float):
        """`secrets` sign events (the first does); `lease` is how long an operation is ours, in seconds."""
        self.database = database
        self.relay = Relay(database, order.breaker, self._send_event, lambda *_: None)
        self._provider, self._order, self._secrets, self._lease = provider, order, secrets, lease

    def create(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str]) -> Created:
        """Store a payment, then ask the provider for the money, then settle.

        `wanted` is what schemas.CreatePayment loads. An order that has a live payment is given that one.
        Raises Problem for a key that is taken or in use.
        """
        payment = self._new(claim.merchant, wanted, headers)
        try:
            with self.database.transaction() as session:
                if not store.claim_key(session, claim, payment["id"]):
                    return self._earlier(session, claim)
                row = store.insert(session, payment)
                if row is None:
                    there = _still_live(store.live(session, claim.merchant, wanted["order_id"]))
                    store.point_key(session, claim, str(there["id"]))
                    return Created(there, 200)
        except psycopg.errors.LockNotAvailable as error:
            raise idempotency.in_use() from error
        return Created(self._carry_out(payment, row))

    def create_once(self, merchant: str, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Row:
        """A payment of the sketch's API: the order's live one if it has one, else a new one.

        One that is under way is waited for, `wait` seconds at most. An amount that is not positive is
        recorded as a failed payment.
        """
        payment = self._new(merchant, wanted, headers)
        session = self.database.session()
        row = store.insert(session, payment)
        if row is not None:
            return self._carry_out(payment, row) if row["status"] == Status.PROCESSING else row
        there = _still_live(store.live(session, merchant, wanted["order_id"]))
        return self._await_outcome(merchant, str(there["id"]), time.monotonic() + wait)

    def get(self, merchant: str, payment_id: str) -> Row:
        """A payment's view. Raises Problem `payment-not-found`."""
        return _found(store.get(self.database.session(), merchant, payment_id))

    def find(self, query: dict[str, Any]) -> list[Row]:
        """Views of a merchant's payments, newest first."""
        return store.find(self.database.session(), query)

    def claim_operations(self, session: Session, owner: str, limit: int) -> list[Operation]:
        """Lease operations whose outcome is not known."""
        return store.claim_operations(session, owner, self._lease, limit)

    def execute(self, operation: Operation) -> Row | None:
        """Carry out an operation that is leased to us; the payment's view if that settled it.

        One that was tried before is looked up first and, if the provider never heard of it, sent again
        under the same id. An outcome that stays unknown is neither success nor failure: it is asked for again.
        """
        began = time.perf_counter()
        try:
            outcome = self._provider.lookup(operation) if operation.attempts > 1 else None
            outcome = outcome or self._provider.send(operation)
        except ProviderFault as error:
            outcome = Outcome(Result.UNKNOWN, reason=str(error))
        metrics.provider_seconds.labels(operation.kind, outcome.result).observe(time.perf_counter() - began)
        if outcome.result is Result.UNKNOWN:
            self._ask_later(operation, outcome)
            return None
        settlement = model.settle(operation.kind, operation.amount, outcome)
        row = store.settle(self.database.session(), operation, outcome, settlement, str(uuid_utils.uuid7()))
        if row is None:
            log.warning("lease_lost", operation_id=operation.id)
            return None
        self.relay.wake()
        metrics.transitions.labels("payment", Status.PROCESSING, settlement.status).inc()
        return row

    def _new(self, merchant: str, wanted: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        valid = wanted["amount"] > 0
        return {
            "merchant": merchant,
            "id": str(uuid_utils.uuid7()),
            "status": Status.PROCESSING if valid else Status.FAILED,
            "failure_reason": None if valid else "invalid_amount",
            "provider": self._provider.name,
            "headers": headers,
            "operation_id": str(uuid_utils.uuid7()),
            "kind": model.opening(wanted["capture"]),
            "owner": f"request {uuid_utils.uuid7()}",
            "lease": self._lease,
            **wanted,
        }

    def _carry_out(self, payment: dict[str, Any], row: Row) -> Row:
        operation = Operation(
            payment["merchant"],
            payment["operation_id"],
            payment["id"],
            payment["kind"],
            payment["amount"],
            payment["currency"],
            payment["payment_method"],
            1,
            payment["owner"],
        )
        metrics.transitions.labels("payment", "", Status.PROCESSING).inc()
        return self.execute(operation) or row

    def _earlier(self, session: Session, claim: Claim) -> Created:
        there = idempotency.earlier(session, claim)
        if there is None:  # whoever held the key has rolled back, or the key was purged in this moment
            raise idempotency.in_use()
        return Created(_found(store.get(session, claim.merchant, there.resource_id)), there.status, replayed=True)

    def _await_outcome(self, merchant: str, payment_id: str, deadline: float) -> Row:
        while True:
            row = self.get(merchant, payment_id)
            left = deadline - time.monotonic()
            if row["status"] != Status.PROCESSING or left <= 0:
                return row
            time.sleep(min(0.05, left))

    def _ask_later(self, operation: Operation, outcome: Outcome) -> None:
        delay = backoff(operation.attempts)
        store.release_operation(self.database.session(), operation, delay, outcome.reason or "unknown")
        log.warning(
            "outcome_unknown",
            operation_id=operation.id,
            payment_id=operation.payment_id,
            attempts=operation.attempts,
            again_in=round(delay, 2),
            reason=outcome.reason,
        )

    def _send_event(self, message: Message, timeout: float | None) -> None:
        body = json.dumps(message.payload).encode()
        signature = webhooks.sign(self._secrets[0], message.id, body)
        self._order.post("/v1/payment-events", body, {**message.headers, **signature}, timeout)


def _still_live(row: Row | None) -> Row:
    # The live payment that was in the way has failed since: the caller repeats, and gets a new one.
    if row is None:
        raise idempotency.in_use()
    return row


def _found(row: Row | None) -> Row:
    if row is None:
        raise Problem("payment-not-found", "This merchant has no payment with this id.")
    return row
