"""An outcome that comes after its request's lease has ended: order may have been answered that it is not known."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from payment.model import Operation, Outcome
from payment.providers.simulator import Simulator
from tests.integration.payment.test_batches import about_payment, command, events, order_service, send
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.pair import Client, Pair

__all__ = ["databases", "order_service", "pair"]


@pytest.mark.parametrize("topic", ["payment.create", "payment.capture", "payment.void", "payment.refund"])
def test_an_outcome_after_the_lease_has_an_event_although_it_is_an_answer(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    """The process was suspended while the provider answered, and no relay has claimed the operation since."""
    wanted = command(topic, about_payment(order_service, topic))
    may_end, ask = threading.Event(), Simulator.send

    def answer_late(provider: Simulator, operation: Operation) -> Outcome:
        outcome = ask(provider, operation)
        assert may_end.wait(20)
        return outcome

    monkeypatch.setattr(Simulator, "send", answer_late)
    not_claimed = "UPDATE operations SET available_at = now() + interval '1 hour' WHERE status = 'pending' RETURNING id"
    expired = "SELECT FROM operations WHERE status = 'pending' AND leased_until <= now()"
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(send, order_service, wanted)
        eventually(lambda: pair.databases.query("payment", not_claimed), "the operation is under way")
        eventually(lambda: pair.databases.query("payment", expired), "the lease has ended")
        (again,) = send(order_service, wanted)
        may_end.set()
        first.result()
    answered = again["refund"] or again["operation"] or again["payment"]
    assert answered["status"] in ("pending", "processing"), "order has the answer that the outcome is not known"
    assert events(pair, again["payment"]["order_id"]) == 1
