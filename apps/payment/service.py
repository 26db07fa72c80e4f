"""The payment service's use cases: one transaction each, and the provider called between two of them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import uuid_utils

from chassis.http import idempotency, prefer
from chassis.http.idempotency import Claim
from chassis.http.if_match import ANY
from chassis.http.problems import Problem
from chassis.messaging import outbox, signatures
from chassis.messaging.leases import backoff
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.messaging.remote import Remote
from chassis.postgres.database import Database, Row, Session
from chassis.telemetry import logs, tracing
from chassis.telemetry.metrics import count_transition
from payment import metrics, model, reconcile, store
from payment.config import Settings
from payment.model import Kind, Operation, Outcome, Result, Status
from payment.providers import Announcing, Faulty, NotGenuine, Provider, ProviderFault
from payment.providers.faults import Faults

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Created:
    """A payment as it stands, the status code that goes with it, and whether an earlier request made it."""

    row: Row
    status: int = 201
    replayed: bool = False


class Payments:
    """What can be done with payments."""

    def __init__(
        self, database: Database, events: Database, provider: Provider, order: Remote, settings: Settings
    ) -> None:
        """`order` is told about payments; `events` is the same database, for the relay that tells it."""
        self.database, self._events = database, events
        self.relay = Relay(events, order.breaker, self._send_event)
        self._provider, self._order, self._settings = provider, order, settings

    def create(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str]) -> Created:
        """Store a payment, then ask the provider for the money, then settle.

        `wanted` is what schemas.CreatePayment loads. An order that has a live payment is given that one.
        Raises Problem for a key that is taken or in use.
        """
        payment = {**self._new(claim.merchant, wanted, headers), "key": claim.key}
        with idempotency.not_in_use():
            row = store.insert_under_key(self.database.session(), claim, payment)
        return Created(self._carry_out(payment, row)) if row is not None else self._create_or_find(claim, payment)

    def _create_or_find(self, claim: Claim, payment: dict[str, Any]) -> Created:
        """What a key that is taken stands for, or the live payment of an order that has one."""
        with idempotency.not_in_use(), self.database.transaction() as session:
            if not idempotency.take(session, claim, payment["id"], 201):
                return self._earlier(session, claim)
            row = store.insert(session, payment)
            if row is None:
                there = _still_live(store.live(session, claim.merchant, payment["order_id"]))
                store.point_key(session, claim, str(there["id"]))
                return Created(there, 200)
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
        payment_id = str(there["id"])
        return prefer.until(
            lambda: self.get(merchant, payment_id), lambda row: row["status"] != Status.PROCESSING, wait
        )

    def act(
        self, claim: Claim, payment_id: str, kind: Kind, headers: dict[str, str], amount: int | None = None
    ) -> Created:
        """Capture (so much, or all that is authorized; the rest is released) or void an authorized payment.

        Raises Problem `payment-not-found`, `precondition-failed`, or `payment-state`, `amount-exceeds-authorized`
        when it can't be.
        """
        operation = _new_operation(claim.merchant, payment_id, kind)
        with idempotency.not_in_use(), self.database.transaction() as session:
            if not idempotency.take(session, claim, payment_id, 200):
                return self._earlier(session, claim)
            operation, row = self._reserve(session, operation, amount, claim, headers)
        return Created(self.execute(operation) or row, 200)

    def refund(
        self, claim: Claim, payment_id: str, amount: int | None, reason: str | None, headers: dict[str, str]
    ) -> Created:
        """Give back so much, or all that is left; the view is the refund's.

        Raises Problem `payment-not-found`, `precondition-failed`, `payment-state` or `amount-exceeds-captured`.
        """
        operation = _new_operation(claim.merchant, payment_id, Kind.REFUND, reason)
        with idempotency.not_in_use(), self.database.transaction() as session:
            if not idempotency.take(session, claim, operation.id, 201):
                there = idempotency.required(session, claim)
                return Created(_found(store.get_refund(session, claim.merchant, there.resource_id)), replayed=True)
            operation, _ = self._reserve(session, operation, amount, claim, headers)
        self.execute(operation)
        return Created(_found(store.get_refund(self.database.session(), claim.merchant, operation.id)))

    def refunds(self, merchant: str, payment_id: str) -> list[Row]:
        """Views of a payment's refunds, newest first. Raises Problem `payment-not-found`."""
        self.get(merchant, payment_id)
        return store.find_refunds(self.database.session(), merchant, payment_id)

    def operations(self, merchant: str, payment_id: str) -> list[Row]:
        """Views of all that was asked of the provider for a payment. Raises Problem `payment-not-found`."""
        self.get(merchant, payment_id)
        return store.find_operations(self.database.session(), merchant, payment_id)

    def at_provider(self, merchant: str, payment_id: str) -> dict[str, int]:
        """What the provider says it has done for a payment. Raises Problem `payment-not-found`."""
        self.get(merchant, payment_id)
        return reconcile.at_provider(self.database.session(), self._provider, merchant, payment_id)

    def differences(self, since: str, until: str) -> Iterator[tuple[str, ...]]:
        """What the provider and we do not agree on, for operations made in a period (RFC 3339)."""
        return reconcile.differences(self.database.session(), self._provider, since, until)

    def expired(self, session: Session, limit: int) -> list[Row]:
        """Authorized payments whose time is over."""
        return store.expired(session, limit)

    def expire(self, row: Row) -> None:
        """Give back an authorization whose time is over, unless something else has begun with it."""
        operation = _new_operation(row["merchant"], str(row["id"]), Kind.VOID, model.EXPIRED_NOTE)
        operation = _complete(operation, row, None)
        if store.reserve(self.database.session(), operation, self._settings.lease_seconds, None, None) is not None:
            self.execute(operation)

    def get(self, merchant: str, payment_id: str) -> Row:
        """A payment's view. Raises Problem `payment-not-found`."""
        return _found(store.get(self.database.session(), merchant, payment_id))

    def find(self, query: dict[str, Any]) -> list[Row]:
        """Views of a merchant's payments, newest first."""
        return store.find(self.database.session(), query)

    def claim_operations(self, session: Session, owner: str, limit: int) -> list[Operation]:
        """Lease operations whose outcome is not known."""
        return store.claim_operations(session, owner, self._settings.lease_seconds, limit)

    def hear(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        """Take a message of the provider's as a hint to look: nothing that it says is believed.

        Raises Problem `not-found` for a provider that is not ours or sends none, `invalid-signature`,
        `malformed-request`.
        """
        if provider != self._provider.name or not isinstance(self._provider, Announcing):
            raise Problem("not-found", "No such provider sends events here.")
        try:
            hint = self._provider.hint(headers, body)
        except NotGenuine as error:
            raise Problem("invalid-signature", "No signature of this event is valid and fresh.") from error
        except ValueError as error:
            raise Problem("malformed-request", "The body is not an event.") from error
        hurried = store.make_due(self.database.session(), hint.operation_id, hint.reference)
        log.info("provider_event", provider=provider, hurried=hurried)

    def faults(self) -> Row:
        """The view of the faults that the provider is told to have. Raises Problem `not-found` with a real provider."""
        return _faulty(self._provider).faults(self.database.session())

    def switch_faults(self, wanted: Faults) -> Row:
        """Let the provider have these faults, and have what waits asked again; the new view. Raises the same."""
        provider = _faulty(self._provider)
        with self.database.transaction() as session:
            provider.switch_faults(session, wanted)
            store.make_all_due(session)
        log.warning("faults_switched", **dataclasses.asdict(wanted))
        return provider.faults(self.database.session())

    def execute(self, operation: Operation) -> Row | None:
        """Carry out an operation that is leased to us; the payment's view if that settled it.

        One that was tried before is looked up first and, if the provider never heard of it, sent again
        under the same id. An outcome that stays unknown is neither success nor failure: it is asked for again.
        """
        with logs.request_context(operation.headers):
            return self._settle(operation, self._ask(operation))

    def _ask(self, operation: Operation) -> Outcome:
        attributes = _attributes(operation, self._provider.name)
        with tracing.span(f"provider {operation.kind}", operation.headers, attributes, calls=True) as note:
            began = time.perf_counter()
            try:
                outcome = self._provider.lookup(operation) if operation.attempts > 1 else None
                outcome = outcome or self._provider.send(operation)
            except ProviderFault as error:
                outcome = Outcome(Result.UNKNOWN, reason=str(error))
                note("error.type", "unknown")
            note("tandem.outcome", outcome.result)
            took = time.perf_counter() - began
            metrics.provider_seconds.labels(operation.kind, outcome.result).observe(took, tracing.exemplar())
        return outcome

    def _settle(self, operation: Operation, outcome: Outcome) -> Row | None:
        if outcome.result is Result.UNKNOWN:
            self._ask_later(operation, outcome)
            return None
        settlement = model.settle(operation.kind, operation.amount, outcome, operation.note)
        row = store.settle(self.database.session(), operation, outcome, settlement, str(uuid_utils.uuid7()))
        if row is None:
            log.warning("lease_lost", operation_id=operation.id)
            return None
        self.relay.wake()
        _count(operation, outcome, settlement)
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
            "lease": self._settings.lease_seconds,
            "expiry": self._settings.authorization_seconds,
            "key": None,
            **wanted,
        }

    def _reserve(
        self, session: Session, operation: Operation, amount: int | None, claim: Claim, headers: dict[str, str]
    ) -> tuple[Operation, Row]:
        """Set the operation's amount aside. Raises Problem when there is no such payment, or it does not allow it."""
        look = store.get if claim.condition == ANY else store.lock
        before = _found(look(session, operation.merchant, operation.payment_id))
        claim.condition.check(before["version"])
        refusal = model.refusal(_facts(before), operation.kind, amount)
        if refusal is None:
            operation = _complete(operation, before, amount)
            row = store.reserve(session, operation, self._settings.lease_seconds, claim.key, headers)
            if row is not None:
                return operation, row
            # Something else was quicker; say what stands in the way now.
            before = _found(store.get(session, operation.merchant, operation.payment_id))
            refusal = model.refusal(_facts(before), operation.kind, amount)
        if refusal is None:
            raise Problem("payment-state", "The payment has changed in this moment: try again.")
        raise Problem(refusal.problem, refusal.detail)

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
        count_transition("payment", "", Status.PROCESSING)
        return self.execute(operation) or row

    def _earlier(self, session: Session, claim: Claim) -> Created:
        there = idempotency.required(session, claim)
        return Created(_found(store.get(session, claim.merchant, there.resource_id)), there.status, replayed=True)

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

    def _send_event(self, message: Message, timeout: float | None) -> str:
        body = json.dumps(message.payload).encode()
        signature = signatures.sign(self._settings.events_secrets[0], message.id, body)
        self._order.post("/v1/payment-events", body, {**message.headers, **signature}, timeout)
        return "delivered" if outbox.mark_delivered(self._events.session(), message) else "lease_lost"


def _new_operation(merchant: str, payment_id: str, kind: Kind, note: str | None = None) -> Operation:
    operation_id = str(uuid_utils.uuid7())
    return Operation(merchant, operation_id, payment_id, kind, 0, "", "", 1, f"request {operation_id}", note=note)


def _complete(operation: Operation, row: Row, amount: int | None) -> Operation:
    """The operation with what it takes from its payment's row; without an amount, it is about all there is."""
    left = row["captured_amount"] - row["refunded_amount"] - row["refunding_amount"]
    return dataclasses.replace(
        operation,
        amount=amount or (left if operation.kind is Kind.REFUND else row["authorized_amount"]),
        currency=row["currency"],
        payment_method=row["payment_method"],
        reference=row["provider_reference"],
    )


def _facts(row: Row) -> model.Payment:
    return model.Payment(
        Status(row["status"]),
        row["authorized_amount"],
        row["captured_amount"],
        row["refunded_amount"],
        row["refunding_amount"],
        row["busy"],
    )


def _attributes(operation: Operation, provider: str) -> dict[str, str | int]:
    # Without the operation's id: it is the idempotency key at the provider.
    return {
        "tandem.provider": provider,
        "tandem.merchant": operation.merchant,
        "tandem.payment_id": operation.payment_id,
        "tandem.attempt": operation.attempts,
    }


def _count(operation: Operation, outcome: Outcome, settlement: model.Settlement) -> None:
    metrics.operations.labels(operation.kind, outcome.result).inc()
    for entry in settlement.entries:
        metrics.ledger.labels(entry.account, entry.direction, operation.currency).inc(entry.amount)
        if entry.account == "merchant_payable":
            metrics.money.labels(operation.kind, operation.currency).inc(entry.amount)
    if settlement.status is not None:
        before = Status.PROCESSING if operation.kind in (Kind.SALE, Kind.AUTHORIZE) else Status.AUTHORIZED
        count_transition("payment", before, settlement.status)


def _faulty(provider: Provider) -> Faulty:
    if not isinstance(provider, Faulty):
        raise Problem("not-found", "Only the simulator has faults that can be switched.")
    return provider


def _still_live(row: Row | None) -> Row:
    # The live payment that was in the way has failed since: the caller repeats, and gets a new one.
    if row is None:
        raise idempotency.in_use()
    return row


def _found(row: Row | None) -> Row:
    if row is None:
        raise Problem("payment-not-found", "This merchant has no payment with this id.")
    return row
