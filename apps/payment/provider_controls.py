"""What concerns the provider alone: its events, its records, and the faults that the simulator is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from chassis.cli.reconcile import Difference, Total
from chassis.http.problems import Problem, unavailable
from chassis.postgres.database import Database, Row
from chassis.telemetry import logs
from payment import metrics, operations, reconcile, store
from payment.model import Result
from payment.providers import (
    Change,
    ChangeKind,
    EventSender,
    FaultInjectable,
    Hint,
    InvalidSignature,
    Provider,
    ProviderFault,
)
from payment.providers.faults import Faults

log = logs.get_logger()


class ProviderControls:
    """The provider's events and injected faults, which make pending operations due at once, and its records."""

    def __init__(self, database: Database, provider: Provider) -> None:
        self._database, self._provider = database, provider

    def differences(self, since: str, until: str) -> Iterator[Difference | Total]:
        """Yield a period's operations that differ at the provider; see reconcile.differences. Times in RFC 3339."""
        return reconcile.differences(self._database.session(), self._provider, since, until)

    def receive_event(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        """Make the pending operations that a provider's event is about due now.

        The event is only a hint: the executor asks the provider for the outcome. If settled money may have changed, the
        provider is asked at once, and what has changed is logged and counted. Raises Problem `not-found` if this is not
        the configured provider or it sends no events, `invalid-signature`, `malformed-request`, or `unavailable` if the
        provider does not answer: it sends the event again.
        """
        if provider != self._provider.name or not isinstance(self._provider, EventSender):
            raise Problem("not-found", "No such provider sends events here.")
        try:
            hint = self._provider.verify_event(headers, body)
        except InvalidSignature as error:
            raise Problem("invalid-signature", "No signature of this event is valid and fresh.") from error
        except ValueError as error:
            raise Problem("malformed-request", "The body is not an event.") from error
        made_due = operations.retry_now(self._database.session(), hint.operation_id, hint.reference)
        log.info("provider_event", provider=provider, made_due=made_due)
        if hint.refund is not None or hint.charge is not None:
            self._report_change(self._provider, hint)

    def _report_change(self, provider: EventSender, hint: Hint) -> None:
        """Tell an operator of a change of settled money. Nothing here is changed. Raises Problem `unavailable`."""
        try:
            change = provider.change(hint)
        except ProviderFault as error:
            log.warning("provider_event_refused", reason=str(error))
            raise unavailable("The provider does not say what has changed: send the event again.") from error
        if change is None or not self._is_news(change):
            return
        metrics.provider_changes.labels(change.kind).inc()
        log.error(
            "provider_needs_attention",
            kind=change.kind,
            merchant=change.merchant,
            payment_id=change.payment_id,
            operation_id=change.operation_id,
            what=change.what,
        )

    def _is_news(self, change: Change) -> bool:
        """Return whether the change is one of a payment of this database, and contradicts what it has."""
        session = self._database.session()
        if change.kind is not ChangeKind.REFUND_FAILED:
            return store.get(session, change.merchant, change.payment_id) is not None
        known = operations.outcome(session, change.merchant, change.operation_id or "")
        return known is not None and known["status"] == Result.SUCCEEDED

    def faults(self) -> Row:
        """Return the view of the provider's injected faults. Raises Problem `not-found` with a real provider."""
        return _fault_injectable(self._provider).faults(self._database.session())

    def set_faults(self, wanted: Faults) -> Row:
        """Set the provider's injected faults and make all pending operations due now. Returns the new view.

        Raises Problem `not-found` with a real provider.
        """
        provider = _fault_injectable(self._provider)
        with self._database.transaction() as session:
            provider.set_faults(session, wanted)
            operations.retry_all_now(session)
        log.warning("faults_switched", **dataclasses.asdict(wanted))
        return provider.faults(self._database.session())


def _fault_injectable(provider: Provider) -> FaultInjectable:
    if not isinstance(provider, FaultInjectable):
        raise Problem("not-found", "Only the simulator has faults that can be switched.")
    return provider
