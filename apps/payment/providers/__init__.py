"""The interface of payment providers: the calls that the payment service makes, and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeGuard, runtime_checkable

from chassis import cards, derived_ids
from chassis.postgres.database import Row, Session
from payment.config import Settings
from payment.model import Operation, Outcome, Record, Result
from payment.providers.faults import Faults

MAX_NAME = 255
"""Characters of a provider's reference, id or name."""

MAX_REASON = 200
"""Characters of the reason of an outcome that are stored."""


class ProviderFault(Exception):
    """The provider did not answer as expected: it is not known whether it acted."""


class InvalidSignature(Exception):
    """An event has no valid, recent signature of the provider."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a provider's event is about: an operation's id, the payment's provider reference, both, or neither.

    `refund` or `charge` is the provider's id of an object that may have changed after its operation was settled.
    """

    operation_id: str | None = None
    reference: str | None = None
    refund: str | None = None
    charge: str | None = None


class ChangeKind(StrEnum):
    """How settled money has changed at the provider, without an operation."""

    REFUND_FAILED = "refund_failed"
    """A refund that had succeeded has failed: the customer does not get the money."""

    REFUND_BY_HAND = "refund_by_hand"
    """Somebody has refunded the payment at the provider."""

    DISPUTED = "disputed"
    """The customer disputes the charge."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a payment's money at the provider, as the provider's own answer shows it.

    `operation_id` is that of the refund that failed. `what` names the provider's object, for a person.
    """

    kind: ChangeKind
    merchant: str
    payment_id: str
    operation_id: str | None
    what: str


class Provider(Protocol):
    """A payment provider. An operation's id is its idempotency key: the provider never acts twice on one id.

    `key_life` is for how many seconds it certainly remembers a key; None if it never forgets one. An operation whose
    key may be older, or of unknown age, is looked up before it is sent: payment may have lost its database since.

    `captures_again` is true if an authorization can be captured several times, in parts. Otherwise, each capture that
    is sent is final.
    """

    name: str
    key_life: float | None
    captures_again: bool

    def send(self, operation: Operation) -> Outcome:
        """Request an operation. Raises ProviderFault if the outcome is not known."""
        ...

    def send_many(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Request new operations together; return outcomes by operation id.

        An operation without an outcome was not sent. The outcome UNKNOWN is that of an operation that may have been.
        """
        ...

    def lookup(self, operation: Operation) -> Outcome | None:
        """Return the outcome of an operation, or None if it can safely be sent (again). Raises ProviderFault.

        The outcome of a settled operation whose payment has a reference can be looked up at any later time, as
        reconciliation does.
        """
        ...

    def records(self, since: datetime, until: datetime) -> Iterator[Record]:
        """Yield what the provider has recorded in a period, in any order, from `since` up to before `until`.

        A provider that does not know when an authorization was captured or voided yields its captures and voids more
        often than needed rather than too rarely. Raises ProviderFault while it iterates.
        """
        ...

    def records_of(self, merchant: str, payment_id: str, reference: str | None = None) -> list[Record]:
        """Return all that the provider has recorded for a payment. Raises ProviderFault.

        With `reference`, which is the payment's provider reference, only the records of this charge are needed.
        """
        ...


@runtime_checkable
class EventSender(Protocol):
    """A provider that sends events when something has changed on its side."""

    def verify_event(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify an event's signature and return what the event is about.

        Raises InvalidSignature, and ValueError if the signed body is not an event.
        """
        ...

    def change(self, hint: Hint) -> Change | None:
        """Ask for the refund or charge of an event, in one call. Returns None if none of its money has changed.

        It is not known whether payment has this payment. Raises ProviderFault.
        """
        ...


@runtime_checkable
class FaultInjectable(Protocol):
    """A provider into which faults can be injected: the simulator."""

    def faults(self, session: Session) -> Row:
        """Return the view of the injected faults: body (JSON text)."""
        ...

    def set_faults(self, session: Session, faults: Faults) -> None:
        """Replace the injected faults."""
        ...


def is_name(value: object) -> TypeGuard[str]:
    """Return whether a value in a provider's answer can be a reference, an id or a name: short visible ASCII."""
    return isinstance(value, str) and 1 <= len(value) <= MAX_NAME and value.isascii() and value.isprintable()


def checked(outcome: Outcome) -> Outcome:
    """Return an outcome that can be stored and shown, whatever the provider has answered.

    A reason is cut, without control characters and card numbers. Without a valid reference, a success is UNKNOWN,
    because nothing could be captured or refunded later; any other outcome has no reference then.
    """
    reason = outcome.reason if outcome.reason is None else cards.shown(outcome.reason, MAX_REASON)
    if outcome.reference is None or is_name(outcome.reference):
        return Outcome(outcome.result, outcome.reference, reason)
    if outcome.result is Result.SUCCEEDED:
        return Outcome(Result.UNKNOWN, None, "the provider's reference is not valid")
    return Outcome(outcome.result, None, reason)


def require_provider(operation: Operation, provider: Provider) -> None:
    """Raise ProviderFault if the operation's payment was begun with another provider: only that one knows it.

    The operation stays pending until that provider is configured again. The alert on the age of operations fires.
    """
    if operation.provider not in (None, provider.name):
        raise ProviderFault(f"the payment was begun with {operation.provider}, but {provider.name} is configured")


def may_have_forgotten(provider: Provider, operation: Operation) -> bool:
    """Return whether the provider may have forgotten the key of an operation, if it ever had it.

    The age of the request counts, not that of the row: the database may have been restored from an older copy.
    """
    if provider.key_life is None:
        return False
    age = derived_ids.age(operation.id)
    return age is None or age >= provider.key_life


def load(settings: Settings) -> Provider:
    """Return the provider that the settings name; nothing is connected yet."""
    # Imported here: the modules of the providers import this one, and Stripe's library is large.
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
