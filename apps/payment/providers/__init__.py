"""The port to payment providers: what the payment service asks, and what it may be told."""

from __future__ import annotations

from typing import Protocol

from payment.model import Operation, Outcome


class ProviderFault(Exception):
    """The provider did not answer as it should: it is not known whether it acted."""


class Provider(Protocol):
    """Somebody who moves money. An operation's id is its idempotency key: the same id never acts twice."""

    name: str

    def send(self, operation: Operation) -> Outcome:
        """Ask for an operation. Raises ProviderFault when the outcome is not known."""
        ...

    def lookup(self, operation: Operation) -> Outcome | None:
        """What became of an operation, or None if the provider never heard of it. Raises ProviderFault."""
        ...
