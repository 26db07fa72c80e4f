"""What concerns the provider alone: its events, its records, and the faults that the simulator is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from chassis.cli.reconcile import Difference, Total
from chassis.http.problems import Problem
from chassis.postgres.database import Database, Row
from chassis.telemetry import logs
from payment import operations, reconcile
from payment.providers import EventSender, FaultInjectable, InvalidSignature, Provider
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
        made_due = operations.retry_now(self._database.session(), hint.operation_id, hint.reference)
        log.info("provider_event", provider=provider, made_due=made_due)

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
