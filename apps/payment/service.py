"""The payment service's use cases. The provider is called between two transactions, never within one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.http import idempotency, prefer
from chassis.http.idempotency import Claim, Earlier
from chassis.http.problems import Problem, unavailable
from chassis.messaging import outbox
from chassis.messaging.outbox import Message
from chassis.messaging.relay import Relay
from chassis.postgres.database import Database, Row
from chassis.postgres.durability import confirmed
from chassis.replica import Replica
from chassis.telemetry import logs
from chassis.telemetry.metrics import count_transition
from payment import expiry, ids, ledger, limits, model, openings, operations, reconcile, reservations, store
from payment.adoption import Adoption
from payment.config import Settings
from payment.executor import Executor
from payment.expiry import Expired
from payment.gateway import OrderGateway
from payment.ids import What
from payment.model import Kind, Operation, Status
from payment.openings import Openings
from payment.provider_controls import ProviderControls
from payment.providers import Provider, ProviderFault
from payment.reservations import Limits, found
from payment.resync import Resync

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
        self._lists = Replica(database, settings.read_database_url, "payment")
        self._events, self._gateway = events, gateway
        self.relay = Relay(events, gateway.breaker, self._deliver)
        self.executor = Executor(database, provider, settings.lease_seconds, self.relay.wake)
        times = settings.lease_seconds, settings.authorization_seconds
        self._adoption = Adoption(database, provider, *times, self.relay.wake)
        self.resync = Resync(database, events, provider, self._adoption, self.relay.wake)
        self.waiting_room = prefer.WaitingRoom(max(1, settings.web_threads // 2))
        self._provider = provider
        self.provider_controls = ProviderControls(database, provider)
        self._lease = settings.lease_seconds
        self.openings = Openings(provider.name, *times)

    def create(self, claim: Claim, wanted: dict[str, Any], headers: dict[str, str], *, answered: bool = False) -> Done:
        """Store a payment, ask the provider for the money, and settle.

        `wanted` is what schemas.CreatePayment loads. If the order has a live payment, returns that one with 200.
        `answered` is true if the answer goes to the order service: see Executor.execute. Raises Problem
        `idempotency-key-reused` or `idempotency-key-in-use`, and for callers what limits.refuse_payment raises.
        """
        payment = self.openings.new(claim.merchant, claim.key, wanted, headers, idempotency_key=claim.key)
        if not answered:
            limits.refuse_payment(self.database.session(), claim, payment)
        row = idempotency.inserted(lambda: store.insert_under_key(self.database.session(), claim, payment))
        if row is None:
            return self._replay_or_find_live(claim, payment, answered)
        return Done(self._open(payment, row, answered), 201)

    def _replay_or_find_live(self, claim: Claim, payment: dict[str, Any], answered: bool) -> Done:
        """Answer with the payment of the key, or with the order's live payment. Creates one if both are gone.

        The payment of a key that was purged is found by its id, which is derived from the key.
        """
        with idempotency.once(self.database, claim, payment["id"], 201) as (session, earlier):
            if earlier is not None:
                return self._earlier(claim, earlier)
            row = store.insert(session, payment)
            if row is None:
                made = store.get(session, claim.merchant, payment["id"])
                if made is not None:
                    reservations.require_same(session, made, payment)
                    return Done(made, 201, replayed=True)
                live = reservations.still_live(store.find_live(session, claim.merchant, payment["order_id"]))
                store.point_key(session, claim, str(live["id"]))
                return Done(live, 200)
        return Done(self._open(payment, row, answered), 201)

    def find_or_create(self, merchant: str, wanted: dict[str, Any], headers: dict[str, str], wait: float) -> Row:
        """Return the order's live payment, or a new one. In the sketch's API, the order's id is the idempotency key.

        A live payment that is processing is awaited for at most `wait` seconds. A payment whose amount is not
        positive is stored as failed. Raises Problem `payment-limit` or `unavailable`.
        """
        session, order_id = self.database.session(), wanted["order_id"]
        # Most orders have no ended payment, so the count is a statement only for the others.
        for first in (True, False):
            ended = 0 if first else store.count_ended(session, merchant, order_id)
            limits.refuse_attempt(session, merchant, order_id, ended)
            payment = self.openings.new(merchant, ids.attempt_key(order_id, ended), wanted, headers)
            row = store.insert(session, payment)
            if row is not None:
                return self._open(payment, row) if row["status"] == Status.PROCESSING else row
            live = store.find_live(session, merchant, order_id)
            if live is not None:
                break
        confirmed.wait(session)
        payment_id = str(reservations.still_live(live)["id"])
        return prefer.until(
            lambda: self.get(merchant, payment_id), lambda row: row["status"] != Status.PROCESSING, wait
        )

    def capture(
        self,
        claim: Claim,
        payment_id: str,
        amount: int | None,
        headers: dict[str, str],
        *,
        final: bool = True,
        answered: bool = False,
    ) -> Done:
        """Capture `amount` of an authorized payment, or all that is left if None.

        The rest is released, or stays authorized if the capture is not `final`. Raises Problem `payment-not-found`,
        `precondition-failed`, `payment-state`, `amount-exceeds-authorized` or `final-capture-required`.
        """
        operation = self._new_operation(claim, payment_id, Kind.CAPTURE, final=final)
        return self._act(operation, claim, headers, answered, amount)

    def void(self, claim: Claim, payment_id: str, headers: dict[str, str], *, answered: bool = False) -> Done:
        """Release the part of an authorized payment that has not been captured.

        Raises Problem `payment-not-found`, `precondition-failed` or `payment-state`.
        """
        return self._act(self._new_operation(claim, payment_id, Kind.VOID), claim, headers, answered)

    def _act(
        self, operation: Operation, claim: Claim, headers: dict[str, str], answered: bool, amount: int | None = None
    ) -> Done:
        reserved = self._reserve(claim, operation.payment_id, 200, operation, amount, headers, limited=not answered)
        if isinstance(reserved, Earlier):
            return self._earlier(claim, reserved)
        operation, row = reserved
        return Done(self.executor.execute(operation, answered=answered) or row, 200)

    def _earlier(self, claim: Claim, earlier: Earlier) -> Done:
        return Done(self.get(claim.merchant, earlier.resource_id), earlier.status, replayed=True)

    def refund(
        self,
        claim: Claim,
        payment_id: str,
        amount: int | None,
        reason: str | None,
        headers: dict[str, str],
        *,
        answered: bool = False,
    ) -> Done:
        """Refund `amount` of a captured payment, or all that is left if None; the view is the refund's.

        Raises Problem `payment-not-found`, `precondition-failed`, `payment-state`, `amount-exceeds-captured` or, unless
        the order service asks, `refund-limit`.
        """
        operation = self._new_operation(claim, payment_id, Kind.REFUND, reason)
        reserved = self._reserve(claim, operation.id, 201, operation, amount, headers, limited=not answered)
        if isinstance(reserved, Earlier):
            row = operations.get_refund(self.database.session(), claim.merchant, reserved.resource_id)
            return Done(found(row), reserved.status, replayed=True)
        self.executor.execute(reserved[0], answered=answered)
        return Done(found(operations.get_refund(self.database.session(), claim.merchant, operation.id)), 201)

    def _new_operation(
        self, claim: Claim, payment_id: str, kind: Kind, note: str | None = None, *, final: bool = True
    ) -> Operation:
        operation_id = ids.derive(claim.merchant, claim.key, What.OPERATION)
        return reservations.new_operation(
            claim.merchant, operation_id, payment_id, kind, self._lease, note, final=final
        )

    def _reserve(
        self,
        claim: Claim,
        resource_id: str,
        status: int,
        operation: Operation,
        amount: int | None,
        headers: dict[str, str],
        *,
        limited: bool,
    ) -> tuple[Operation, Row] | Earlier:
        """Reserve an operation's amount under the request's key; see reservations.reserve.

        Returns the outcome of the earlier request if the key was used before, even if the key was purged since. A
        payment that is not here is adopted if the provider knows it: this database may have been restored from an older
        copy. Raises Problem `unavailable` if the provider does not respond to that.
        """

        def reserve() -> tuple[Operation, Row] | Earlier:
            with idempotency.once(self.database, claim, resource_id, status) as (session, earlier):
                if earlier is not None:
                    return earlier
                try:
                    allowed = Limits(limited, self._provider.captures_again)
                    return reservations.reserve(session, operation, amount, claim, headers, self._lease, allowed)
                except Problem:
                    if reservations.is_repeated(session, operation, amount):
                        return Earlier(status, resource_id)
                    raise

        try:
            return reserve()
        except Problem as problem:
            if problem.name != "payment-not-found":
                raise
            try:
                adopted = self._adoption.adopt(operation.merchant, operation.payment_id)
            except ProviderFault as error:
                detail = "This payment is not here, and the provider does not say whether it knows it."
                raise unavailable(detail) from error
            if adopted is None:
                raise
        return reserve()

    def get(self, merchant: str, payment_id: str) -> Row:
        """Return a payment's view. Raises Problem `payment-not-found`."""
        return found(store.get(self.database.session(), merchant, payment_id))

    def find(self, merchant: str, query: dict[str, Any], after: tuple[datetime, str] | None) -> list[Row]:
        """Return views of a merchant's payments; see store.find.

        The payments of one order are read from the primary: its caller may have just paid.
        """
        if query.get("order_id") is not None:
            return store.find(self.database.session(), merchant, query, after)
        return self._lists.read(lambda session: store.find(session, merchant, query, after))

    def entries(self, merchant: str, payment_id: str | None, after: str | None, limit: int) -> list[Row]:
        """Return the ledger's entries, newest first; see ledger.entries. Those of one payment are from the primary."""
        if payment_id is not None:
            return ledger.entries(self.database.session(), merchant, payment_id, after, limit)
        return self._lists.read(lambda session: ledger.entries(session, merchant, None, after, limit))

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

    def expire(self, expired: Expired) -> None:
        """Void an expired authorization, unless another operation has begun, or a restore has lost one."""
        merchant, payment_id = expired.merchant, str(expired.view["id"])
        try:
            if self._adoption.catch_up(merchant, payment_id, expired.view["provider_reference"]):
                return
        except ProviderFault as error:  # a restore may have lost a capture
            log.warning("expiry_postponed", payment_id=payment_id, error=error)
            expiry.postpone(self.database.session(), expired)
            return
        own = ids.derive(merchant, payment_id, What.EXPIRY)
        operation = reservations.new_operation(merchant, own, payment_id, Kind.VOID, self._lease, model.EXPIRED_NOTE)
        operation = reservations.complete(operation, expired.view, None)
        if operations.reserve(self.database.session(), operation, self._lease, None, None) is not None:
            self.executor.execute(operation)

    def _open(self, payment: dict[str, Any], row: Row, answered: bool = False) -> Row:
        """Carry out the first operation of a payment that was just stored. Returns the payment's view."""
        count_transition("payment", "", Status.PROCESSING)
        return self.executor.execute(openings.first_operation(payment), answered=answered) or row

    def _deliver(self, message: Message, timeout: float | None) -> str:
        self._gateway.send(message, timeout)
        return "delivered" if outbox.mark_delivered(self._events.session(), message) else "lease_lost"
