"""What a provider answers to one operation decides that operation only, and is stored and shown in a short form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from payment.model import Operation, Outcome, Result
from payment.providers.simulator import Simulator
from tests.integration.payment.test_batches import create, order_service, send
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair

__all__ = ["order_service"]
pytestmark = pytest.mark.adversarial

HOSTILE = "pm_declined"
CARD = "4539 5787 6362 1486"
Answer = Callable[[Outcome], Outcome]


@pytest.fixture
def answers() -> Iterator[Callable[[Answer], object]]:
    """A function that replaces the simulator's answers to payments with the method `HOSTILE`."""
    with pytest.MonkeyPatch.context() as patch:

        def replace(answer: Answer) -> None:
            send_many, send, lookup = Simulator.send_many, Simulator.send, Simulator.lookup

            def one(operation: Operation, outcome: Any) -> Any:
                return answer(outcome) if outcome is not None and operation.payment_method == HOSTILE else outcome

            def many(self: Simulator, each: Any) -> Any:
                found = send_many(self, each)
                return {op.id: one(op, found[op.id]) for op in each if op.id in found}

            patch.setattr(Simulator, "send_many", many)
            patch.setattr(Simulator, "send", lambda self, op: one(op, send(self, op)))
            patch.setattr(Simulator, "lookup", lambda self, op: one(op, lookup(self, op)))

        yield replace


def declined(reason: Any, reference: Any = None) -> Answer:
    return lambda _: Outcome(Result.DECLINED, reference, reason)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (declined("a\x00b"), "a?b"),
        (declined("\ud800"), "?"),
        (declined("line\r\nnext\x1b[31m"), "line??next?[31m"),
        (declined(f"the card {CARD} is stolen"), "the card [card ...1486] is stolen"),
        (declined("x" * 1_000_000), "x" * 200 + "..."),
        (declined({"code": 1}), "{'code': 1}"),
        (declined("refused", 17), "refused"),
        (declined("refused", "pi_\x00"), "refused"),
        (declined("refused", "r" * 100_000), "refused"),
    ],
)
def test_a_hostile_decline_is_one_declined_payment(
    pair: Pair, order_service: Client, answers: Callable[[Answer], object], answer: Answer, shown: str
) -> None:
    answers(answer)
    results = send(order_service, create(), create(payment_method=HOSTILE), create())
    assert [result["payment"]["status"] for result in results] == ["captured", "failed", "captured"]
    assert results[1]["payment"]["failure_reason"] == shown


@pytest.mark.parametrize("reference", ["", "pi_\x00", "p\u00efre", 17, ["pi"], "r" * 256])
def test_a_success_without_a_valid_reference_stays_pending_until_there_is_one(
    pair: Pair, order_service: Client, answers: Callable[[Answer], object], reference: Any
) -> None:
    with mock.patch("payment.executor.backoff", return_value=0.1):
        answers(lambda _: Outcome(Result.SUCCEEDED, reference))
        results = send(order_service, create(), create(payment_method=HOSTILE))
        assert [result["payment"]["status"] for result in results] == ["captured", "processing"]
        pending = results[1]["payment"]["id"]

        def attempts() -> bool:
            (row,) = pair.databases.query("payment", "SELECT * FROM operations WHERE payment_id = %s", pending)
            return int(row["attempts"]) >= 3 and row["last_error"] == "the provider's reference is not valid"

        eventually(attempts, "the operation is tried again")
        answers(lambda _: Outcome(Result.SUCCEEDED, "pi_1"))
        eventually(lambda: pair.payment.get(f"/v1/payments/{pending}").json()["status"] == "captured", "it is captured")
