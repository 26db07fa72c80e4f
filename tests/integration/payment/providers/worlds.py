"""The providers as the contract tests use them: each with its tokens, its faults and its record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import UUID

import uuid_utils

from payment.model import Kind, Operation, Outcome
from payment.providers import Provider
from payment.providers.simulator import Simulator
from payment.providers.stripe import Stripe
from tests.integration.databases import Databases
from tests.integration.payment.providers.standin import StandIn
from tests.integration.proxy import Proxy


def operation(
    kind: Kind, amount: int = 1000, token: str = "", reference: str | None = None, currency: str = "EUR"
) -> Operation:
    """A new operation of a new payment."""
    operation_id, payment_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    return Operation("demo", operation_id, payment_id, kind, amount, currency, token, 1, "tests", reference)


def aged(wanted: Operation, seconds: float) -> Operation:
    """The operation as if it had been created this many seconds ago: its id contains the time."""
    then = int((time.time() - seconds) * 1000)
    return dataclasses.replace(wanted, id=str(UUID(int=then << 80 | UUID(wanted.id).int & (1 << 80) - 1)))


class World(Protocol):
    """A provider, and what a test can do with it."""

    provider: Provider
    ok: str
    declined: tuple[str, str]
    """A token that is declined, and the reason of the decline."""

    def losing(self, what: str) -> str:
        """The token to use within `fault(what)`; `what` is "request" or "answer"."""
        ...

    def fault(self, what: str) -> AbstractContextManager[None]:
        """A context in which an operation's first request, or its answer, is lost."""
        ...

    def done(self) -> list[tuple[str, int]]:
        """Kind and amount of everything that the provider has done, by its own record, in order."""
        ...


class SimulatorWorld:
    """The simulator: the token determines the fault."""

    ok = "pm_ok"
    declined = ("pm_insufficient_funds", "insufficient_funds")

    def __init__(self, databases: Databases) -> None:
        self.provider: Provider = Simulator(databases.payment)
        self._databases = databases

    def losing(self, what: str) -> str:
        """The token that loses it."""
        return {"request": "pm_timeout_lost", "answer": "pm_timeout_charged"}[what]

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Nothing to do: the token determines the fault."""
        yield

    def done(self) -> list[tuple[str, int]]:
        """The operations in its table."""
        rows = self._databases.query(
            "payment", "SELECT kind, amount FROM simulator.operations WHERE result = 'succeeded' ORDER BY at"
        )
        return [(row["kind"], row["amount"]) for row in rows]


class StripeWorld:
    """The stand-in for Stripe behind a proxy: the network determines the fault."""

    ok = "pm_card_visa"
    declined = ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")

    def __init__(self, standin: StandIn, proxy: Proxy) -> None:
        """`proxy` forwards to `standin`."""
        self.standin, self.proxy = standin, proxy
        self.provider: Provider = Stripe("sk_test_contract", api_base=proxy.url, timeout=5.0)

    def losing(self, what: str) -> str:
        """Any valid token."""
        return self.ok

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Break the connection."""
        self.proxy.mode = {"request": "cut_request", "answer": "cut_response"}[what]
        yield
        self.proxy.mode = "pass"

    def done(self) -> list[tuple[str, int]]:
        """The operations that the PaymentIntents and refunds show."""
        acts: list[tuple[str, int]] = []
        for intent in self.standin.intents.values():
            authorized = intent["status"] == "requires_capture" or intent["status"] == "canceled"
            captured = "tandem_capture" in intent["metadata"]
            if authorized or captured:
                acts.append(("authorize", intent["amount"]))
            if intent["status"] == "canceled":
                acts.append(("void", intent["amount"]))
            if intent["status"] == "succeeded":
                acts.append(("capture" if captured else "sale", intent["amount_received"]))
        return acts + [("refund", refund["amount"]) for refund in self.standin.refunds.values()]


def resolve(provider: Provider, wanted: Operation) -> Outcome:
    """Continue an operation that was attempted before, as the executor does: look it up, or send it again."""
    return provider.lookup(wanted) or provider.send(wanted)
