"""The providers for the contract tests: their tokens, their faults, and what they have recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from uuid import UUID

import uuid_utils
from msgspec import structs

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
    """Return a new operation of a new payment of a new order."""
    operation_id, payment_id, order_id = (str(uuid_utils.uuid7()) for _ in range(3))
    return Operation(
        "demo", operation_id, payment_id, kind, amount, currency, token, 1, "tests", reference, order_id=order_id
    )


def aged(wanted: Operation, seconds: float) -> Operation:
    """Return the operation with an id that says it was made this many seconds ago."""
    then = int((time.time() - seconds) * 1000)
    return structs.replace(wanted, id=str(UUID(int=then << 80 | UUID(wanted.id).int & (1 << 80) - 1)))


class World(Protocol):
    """A provider under test, and how to make it fail."""

    provider: Provider
    ok: str
    declined: tuple[str, str]
    """A token that is declined, and the decline reason."""

    def losing(self, what: str) -> str:
        """Return the token to use with `fault(what)`. `what` is "request" or "answer"."""
        ...

    def fault(self, what: str) -> AbstractContextManager[None]:
        """Return a context in which the first request of an operation, or its response, is lost."""
        ...

    def done(self) -> list[tuple[str, int]]:
        """Return kind and amount of all operations that the provider has recorded as done, in order."""
        ...

    def index(self) -> None:
        """Bring the provider's search index up to date, if it has one."""
        ...


class SimulatorWorld:
    """The simulator. The token decides what fails."""

    ok = "pm_ok"
    declined = ("pm_insufficient_funds", "insufficient_funds")

    def __init__(self, databases: Databases) -> None:
        self.provider: Provider = Simulator(databases.payment)
        self._databases = databases

    def losing(self, what: str) -> str:
        """Return the token that makes this fault."""
        return {"request": "pm_timeout_lost", "answer": "pm_timeout_charged"}[what]

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Do nothing: the token makes the fault."""
        yield

    def done(self) -> list[tuple[str, int]]:
        """Return the operations in the simulator's table."""
        rows = self._databases.query(
            "payment", "SELECT kind, amount FROM simulator.operations WHERE result = 'succeeded' ORDER BY at"
        )
        return [(row["kind"], row["amount"]) for row in rows]

    def index(self) -> None:
        """Do nothing: the simulator finds its records at once."""


class StripeWorld:
    """The fake of Stripe, behind `proxy`. The network decides what fails."""

    ok = "pm_card_visa"
    declined = ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds")

    def __init__(self, standin: StandIn, proxy: Proxy) -> None:
        self.standin, self.proxy = standin, proxy
        self.provider: Provider = Stripe("sk_test_contract", api_base=proxy.url, timeout=5.0)

    def losing(self, what: str) -> str:
        """Return a token that succeeds: the network makes the fault."""
        return self.ok

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Make the proxy lose the request or the response."""
        self.proxy.mode = {"request": "cut_request", "answer": "cut_response"}[what]
        yield
        self.proxy.mode = "pass"

    def done(self) -> list[tuple[str, int]]:
        """Return the operations that the PaymentIntents and refunds stand for."""
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

    def index(self) -> None:
        """Bring the search index up to date."""
        self.standin.index()


@contextmanager
def stripe_behind_proxy() -> Iterator[StripeWorld]:
    """Yield the stand-in for Stripe behind a proxy that can break the network."""
    with StandIn() as standin, Proxy("127.0.0.1", standin.port) as proxy:
        yield StripeWorld(standin, proxy)


def resolve(provider: Provider, wanted: Operation) -> Outcome:
    """Look up an operation that was tried before, and send it if it is not found, as the executor does."""
    return provider.lookup(wanted) or provider.send(wanted)
