"""The payment service's use cases. The provider is called between two transactions, never within one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uuid_utils

from chassis.cli.reconcile import Difference
from chassis.http import idempotency, prefer
from chassis.http.idempotency import Claim, Earlier
from chassis.http.problems import Problem
from chassis.messaging import leases, outbox
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.postgres.database import Database, Row, Session
from chassis.telemetry import logs
from chassis.telemetry.metrics import count_transition
from payment import model, operations, reconcile, reservations, store
from payment.config import Settings
from payment.executor import Executor
from payment.gateway import OrderGateway
from payment.model import Kind, Operation, Status
from payment.providers import EventSender, FaultInjectable, InvalidSignature, Provider
from payment.providers.faults import Faults
from payment.reservations import found

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """The view of a payment or refund, its status code, and whether an earlier request with the key did the work."""

    row: Row
    status: int
    replayed: bool = False


class Payments:
    """The use cases of payments. `headers` are those of the request; they are sent with everything that it causes."""

    def __init__(
        self, database: Database, events: Database, provider: Provider, gateway: OrderGateway, settings: Settings
    ) -> None:
        """`events` is the same database as `database`, for the relay that sends events through the gateway."""
        self.database = database
        self._events, self._gateway = events, gateway
        self.relay = Relay(events, gateway.breaker, self._deliver)
        self.executor = Executor(database, provider, settings.lease_seconds, self.relay.wake)
        self.waiting_room = prefer.WaitingRoom(max(1, settings.web_threads // 2))
        self._provider = provider
        self._lease, self._authorization = settings.lease_seconds, settings.authorization_seconds

    def create(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str]) -> Done:
        """Store a payment, ask the provider for the money, and settle.

        `wanted` is what schemas.CreatePayment loads. If the order has a live payment, returns that one with 200.
        Raises Problem `idempotency-key-reused` or `idempotency-key-in-use`.
        """
        payment = {**self._new_payment(claim.merchant, wanted, headers), "key": claim.key}
        with idempotency.not_in_use():
            row = store.insert_under_key(self.database.session(), claim, payment)
        if row is None:
            return self._replay_or_find_live(claim, payment)
        return Done(self._execute_first(payment, row), 201)

    def _replay_or_find_live(self, claim: Claim, payment: dict[str, Any]) -> Done:
        """Answer with the payment of the key, or with the order's live payment. Creates one if both are gone."""
        with idempotency.once(self.database, claim, payment["id"], 201) as (session, earlier):
            if earlier is not None:
                return self._replay(session, claim, earlier)
            row = store.insert(session, payment)
            if row is None:
                live = _still_live(store.find_live(session, claim.merchant, payment["order_id"]))
                store.point_key(session, claim, str(live["id"]))
                return Done(live, 200)
        return Done(self._execute_first(payment, row), 201)

    def find_or_create(self, merchant: str, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Row:
        """Return the order's live payment, or a new one. In the sketch's API, the order's id is the idempotency key.

        A live payment that is processing is awaited for at most `wait` seconds. A payment whose amount is not
        positive is stored as failed.
        """
        payment = self._new_payment(merchant, wanted, headers)
        session = self.database.session()
        row = store.insert(session, payment)
        if row is not None:
            return self._execute_first(payment, row) if row["status"] == Status.PROCESSING else row
        live = _still_live(store.find_live(session, merchant, wanted["order_id"]))
        payment_id = str(live["id"])
        return prefer.until(
            lambda: self.get(merchant, payment_id), lambda row: row["status"] != Status.PROCESSING, wait
        )

    def capture(self, claim: Claim, payment_id: str, amount: int | None, headers: dict[str, str]) -> Done:
        """Capture `amount` of an authorized payment, or all of it if None; the rest is released.

        Raises Problem `payment-not-found`, `precondition-failed`, `payment-state` or `amount-exceeds-authorized`.
        """
        return self._act(claim, payment_id, Kind.CAPTURE, headers, amount)

    def void(self, claim: Claim, payment_id: str, headers: dict[str, str]) -> Done:
        """Void an authorized payment. Raises Problem `payment-not-found`, `precondition-failed` or `payment-state`."""
        return self._act(claim, payment_id, Kind.VOID, headers)

    def _act(
        self, claim: Claim, payment_id: str, kind: Kind, headers: dict[str, str], amount: int | None = None
    ) -> Done:
        operation = reservations.new_operation(claim.merchant, payment_id, kind, self._lease)
        with idempotency.once(self.database, claim, payment_id, 200) as (session, earlier):
            if earlier is not None:
                return self._replay(session, claim, earlier)
            operation, row = reservations.reserve(session, operation, amount, claim, headers, self._lease)
        return Done(self.executor.execute(operation) or row, 200)

    def refund(
        self, claim: Claim, payment_id: str, amount: int | None, reason: str | None, headers: dict[str, str]
    ) -> Done:
        """Refund `amount` of a captured payment, or all that is left if None; the view is the refund's.

        Raises Problem `payment-not-found`, `precondition-failed`, `payment-state` or `amount-exceeds-captured`.
        """
        operation = reservations.new_operation(claim.merchant, payment_id, Kind.REFUND, self._lease, reason)
        with idempotency.once(self.database, claim, operation.id, 201) as (session, earlier):
            if earlier is not None:
                row = operations.get_refund(session, claim.merchant, earlier.resource_id)
                return Done(found(row), earlier.status, replayed=True)
            operation, _ = reservations.reserve(session, operation, amount, claim, headers, self._lease)
        self.executor.execute(operation)
        return Done(found(operations.get_refund(self.database.session(), claim.merchant, operation.id)), 201)

    def get(self, merchant: str, payment_id: str) -> Row:
        """Return a payment's view. Raises Problem `payment-not-found`."""
        return found(store.get(self.database.session(), merchant, payment_id))

    def find(self, query: dict[str, Any]) -> list[Row]:
        """Return views of a merchant's payments, newest first; see store.find."""
        return store.find(self.database.session(), query)

    def refunds(self, merchant: str, payment_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
        """Return views of a payment's refunds; see operations.find_refunds. Raises Problem `payment-not-found`."""
        self.get(merchant, payment_id)
        return operations.find_refunds(self.database.session(), merchant, payment_id, after, limit)

    def operations(self, merchant: str, payment_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Row]:
        """Return views of a payment's operations; see operations.find. Raises Problem `payment-not-found`."""
        self.get(merchant, payment_id)
        return operations.find(self.database.session(), merchant, payment_id, after, limit)

    def provider_account(self, merchant: str, payment_id: str) -> dict[str, int]:
        """Return the amounts of a payment by the provider's records; see reconcile.provider_account.

        Raises Problem `payment-not-found`.
        """
        self.get(merchant, payment_id)
        return reconcile.provider_account(self.database.session(), self._provider, merchant, payment_id)

    def differences(self, since: str, until: str) -> Iterator[Difference]:
        """Yield a period's operations that differ at the provider; see reconcile.differences. Times in RFC 3339."""
        return reconcile.differences(self.database.session(), self._provider, since, until)

    def expire(self, row: Row) -> None:
        """Void an authorization that has expired, unless another operation of the payment has begun.

        `row` is one of store.find_expired.
        """
        note = model.EXPIRED_NOTE
        operation = reservations.new_operation(row["merchant"], str(row["id"]), Kind.VOID, self._lease, note)
        operation = reservations.complete(operation, row, None)
        if operations.reserve(self.database.session(), operation, self._lease, None, None) is not None:
            self.executor.execute(operation)

    def receive_provider_event(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        """Make the pending operations that a provider's event is about due now.

        The event is only a hint: the executor asks the provider for the outcome. Raises Problem `not-found` if this is
        not the configured provider or it sends no events, `invalid-signature` or `malformed-request`.
        """
        if provider != self._provider.name or not isinstance(self._provider, EventSender):
            raise Problem("not-found", "No such provider sends events here.")
        try:
            hint = self._provider.verify_event(headers, body)
        except InvalidSignature as error:
            raise Problem("invalid-signature", "No signature of this event is valid and fresh.") from error
        except ValueError as error:
            raise Problem("malformed-request", "The body is not an event.") from error
        made_due = operations.retry_now(self.database.session(), hint.operation_id, hint.reference)
        log.info("provider_event", provider=provider, made_due=made_due)

    def faults(self) -> Row:
        """Return the view of the provider's injected faults. Raises Problem `not-found` with a real provider."""
        return _fault_injectable(self._provider).faults(self.database.session())

    def set_faults(self, wanted: Faults) -> Row:
        """Set the provider's injected faults and make all pending operations due now. Returns the new view.

        Raises Problem `not-found` with a real provider.
        """
        provider = _fault_injectable(self._provider)
        with self.database.transaction() as session:
            provider.set_faults(session, wanted)
            operations.retry_all_now(session)
        log.warning("faults_switched", **dataclasses.asdict(wanted))
        return provider.faults(self.database.session())

    def _new_payment(self, merchant: str, wanted: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        """Return the parameters with which store.insert stores a payment and its first operation."""
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
            "owner": leases.new_owner("request"),
            "lease": self._lease,
            "expires": time.monotonic() + self._lease,
            "expiry": self._authorization,
            "key": None,
            **wanted,
        }

    def _execute_first(self, payment: dict[str, Any], row: Row) -> Row:
        """Carry out the first operation of a payment that was just stored. Returns the payment's view."""
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
            provider=payment["provider"],
            expires=payment["expires"],
        )
        count_transition("payment", "", Status.PROCESSING)
        return self.executor.execute(operation) or row

    def _deliver(self, message: Message, timeout: float | None) -> str:
        self._gateway.send(message, timeout)
        return "delivered" if outbox.mark_delivered(self._events.session(), message) else "lease_lost"

    def _replay(self, session: Session, claim: Claim, earlier: Earlier) -> Done:
        return Done(found(store.get(session, claim.merchant, earlier.resource_id)), earlier.status, replayed=True)


def _fault_injectable(provider: Provider) -> FaultInjectable:
    if not isinstance(provider, FaultInjectable):
        raise Problem("not-found", "Only the simulator has faults that can be switched.")
    return provider


def _still_live(row: Row | None) -> Row:
    # The order's live payment has failed in the meantime: the client retries and gets a new payment.
    if row is None:
        raise idempotency.in_use()
    return row
