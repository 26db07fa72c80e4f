"""The port to payment providers: what the payment service asks, and what it may be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from chassis.postgres.database import Row, Session
from payment.config import Settings
from payment.model import Operation, Outcome
from payment.providers.faults import Faults


class ProviderFault(Exception):
    """The provider did not answer as it should: it is not known whether it acted."""


class NotGenuine(Exception):
    """A message that claims to be the provider's has no valid, fresh signature of the provider."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a provider's message is about: an operation's id, the payment's reference, either, or neither."""

    operation_id: str | None = None
    reference: str | None = None


class Provider(Protocol):
    """Somebody who moves money. An operation's id is its idempotency key: the same id never acts twice."""

    name: str

    def send(self, operation: Operation) -> Outcome:
        """Ask for an operation. Raises ProviderFault when the outcome is not known."""
        ...

    def lookup(self, operation: Operation) -> Outcome | None:
        """What became of an operation, or None if it is right to send it (again). Raises ProviderFault.

        A settled one, whose payment has a reference, may be asked about for ever: reconciliation does.
        """
        ...


@runtime_checkable
class Announcing(Protocol):
    """A provider that sends messages when something has changed there."""

    def hint(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """What a message is about. Raises NotGenuine, and ValueError for a signed body that makes no sense."""
        ...


@runtime_checkable
class Faulty(Protocol):
    """A provider that can be told to do things wrong: no real one."""

    def faults(self, session: Session) -> Row:
        """The view of what it is told: body (JSON text)."""
        ...

    def switch_faults(self, session: Session, faults: Faults) -> None:
        """Do these things wrong from now on."""
        ...


def load(settings: Settings) -> Provider:
    """The provider that the settings choose; it connects to nothing yet."""
    # Imported here: the modules of the providers import this one, and Stripe's library is not small.
    if settings.provider == "stripe":
        from payment.providers.stripe import Stripe

        return Stripe(
            settings.stripe_api_key,
            webhook_secrets=settings.stripe_webhook_secrets,
            api_base=settings.stripe_api_base,
            timeout=settings.provider_timeout,
        )
    from payment.providers.simulator import Simulator

    return Simulator(settings.database_url)
