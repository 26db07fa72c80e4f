"""An outcome that comes after its request's lease has ended: order may have been answered that it is not known."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from payment.model import Operation, Outcome
from payment.providers.simulator import Simulator
from tests.integration.payment.test_batches import about_payment, command, events, order_service, send
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.pair import Client, Pair

__all__ = ["databases", "order_service", "pair"]


TOPICS = ("payment.create", "payment.capture", "payment.void", "payment.refund")


def sent_again(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str, seconds: int
) -> dict[str, Any]:
    """Return the answer to the repetition of a command, which comes this many seconds after the lease of the first.

    The first request was suspended while the provider answered, and the executor has not claimed the operation since.
    """
    wanted = command(topic, about_payment(order_service, topic))
    may_end, ask = threading.Event(), Simulator.send

    def answer_late(provider: Simulator, operation: Operation) -> Outcome:
        outcome = ask(provider, operation)
        assert may_end.wait(20)
        return outcome

    monkeypatch.setattr(Simulator, "send", answer_late)
    late = """UPDATE operations SET leased_until = now() - make_interval(secs => %s),
                     available_at = now() + interval '1 hour' WHERE status = 'pending' RETURNING id"""
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(send, order_service, wanted)
        eventually(lambda: pair.databases.query("payment", late, seconds), "the operation is under way")
        (again,) = send(order_service, wanted)
        may_end.set()
        first.result()
    return again


@pytest.mark.parametrize("topic", TOPICS)
def test_an_outcome_after_the_lease_has_an_event_although_it_is_an_answer(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    again = sent_again(pair, order_service, monkeypatch, topic, 60)
    answered = again["refund"] or again["operation"] or again["payment"]
    assert answered["status"] in ("pending", "processing"), "order has the answer that the outcome is not known"
    assert events(pair, again["payment"]["order_id"]) == 1


@pytest.mark.parametrize("topic", TOPICS)
def test_right_after_the_lease_a_command_waits_for_an_outcome_that_may_be_committed_now(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    again = sent_again(pair, order_service, monkeypatch, topic, 1)
    assert again["problem"]["name"] == "idempotency-key-in-use"
