"""The providers as the contract sees them: each with its own tokens, its own troubles and its own memory."""

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
from tests.support.databases import Databases
from tests.support.providers.fake_stripe import StandIn
from tests.support.proxy import Proxy


def operation(
    kind: Kind, amount: int = 1000, token: str = "", reference: str | None = None, currency: str = "EUR"
) -> Operation:
    """A new operation of a payment of its own."""
    operation_id, payment_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    return Operation("demo", operation_id, payment_id, kind, amount, currency, token, 1, "tests", reference)


def aged(wanted: Operation, seconds: float) -> Operation:
    """The same as if it had been made so long ago: its id says when."""
    then = int((time.time() - seconds) * 1000)
    return dataclasses.replace(wanted, id=str(UUID(int=then << 80 | UUID(wanted.id).int & (1 << 80) - 1)))


class World(Protocol):
    """One provider, and what a test may do to it."""

    provider: Provider
    ok: str
    declined: tuple[str, str]
    """A token that is declined, and the reason given."""

    def losing(self, what: str) -> str:
        """The token to use with `trouble(what)`, where `what` is "request" or "answer"."""
        ...

    def trouble(self, what: str) -> AbstractContextManager[None]:
        """A context in which the first request of an operation, or its answer, is lost."""
        ...

    def done(self) -> list[tuple[str, int]]:
        """Kind and amount of everything that the provider has done, by its own memory, in order."""
        ...


class SimulatorWorld:
    """The simulator: what goes wrong is up to the token."""

    ok = "pm_ok"
    declined = ("pm_insufficient_funds", "insufficient_funds")

    def __init__(self, databases: Databases) -> None:
        """On a database of the test's own."""
        self.provider: Provider = Simulator(databases.payment)
        self._databases = databases

    def losing(self, what: str) -> str:
        """By token."""
        return {"request": "pm_timeout_lost", "answer": "pm_timeout_charged"}[what]

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        """Comes with the token."""
        yield

    def done(self) -> list[tuple[str, int]]:
        """What its table says."""
        rows = self._databases.query(
            "payment", "SELECT kind, amount FROM simulator.operations WHERE result = 'succeeded' ORDER BY at"
        )
        return [(row["kind"], row["amount"]) for row in rows]


class StripeWorld:
    """Stripe's stand-in behind a proxy: what goes wrong is up to the network."""

    ok = "pm_card_visa"
    declined = ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")

    def __init__(self, standin: StandIn, proxy: Proxy) -> None:
        """`proxy` stands before `standin`."""
        self.standin, self.proxy = standin, proxy
        self.provider: Provider = Stripe("sk_test_contract", api_base=proxy.url, timeout=5.0)

    def losing(self, what: str) -> str:
        """Any that works."""
        return self.ok

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        """Cut what is to be lost."""
        self.proxy.mode = {"request": "cut_request", "answer": "cut_response"}[what]
        yield
        self.proxy.mode = "pass"

    def done(self) -> list[tuple[str, int]]:
        """What PaymentIntents and refunds add up to."""
        acts: list[tuple[str, int]] = []
        for intent in self.standin.intents.values():
            held = intent["status"] == "requires_capture" or intent["status"] == "canceled"
            captured = "tandem_capture" in intent["metadata"]
            if held or captured:
                acts.append(("authorize", intent["amount"]))
            if intent["status"] == "canceled":
                acts.append(("void", intent["amount"]))
            if intent["status"] == "succeeded":
                acts.append(("capture" if captured else "sale", intent["amount_received"]))
        return acts + [("refund", refund["amount"]) for refund in self.standin.refunds.values()]


def resolve(provider: Provider, wanted: Operation) -> Outcome:
    """What the executor does with an operation that was tried before: look, and send it if that is right."""
    return provider.lookup(wanted) or provider.send(wanted)
