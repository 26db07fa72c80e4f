"""`Prefer: wait=N` limits the whole request: the call to payment, and the wait for the outcome after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from chassis.http import prefer
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY

DELAY_MS = 600


@pytest.mark.parametrize(
    ("capture", "path", "body"),
    [
        ("automatic", "", ORDER),
        ("manual", "/{id}/capture", {}),
        ("manual", "/{id}/cancel", {}),
        ("automatic", "/{id}/refunds", {"amount": 100}),
    ],
)
def test_the_call_to_payment_is_part_of_the_wait(pair: Pair, capture: str, path: str, body: dict[str, Any]) -> None:
    placed = pair.order.post("/v1/orders", {**ORDER, "capture": capture}, Prefer="wait=10").json()
    left: list[float] = []

    def until(look: Callable[[], Any], is_done: Callable[[Any], bool], seconds: float) -> Any:
        left.append(seconds)
        return look()

    simulator = Client(pair.payment.url, INTERNAL_KEY)
    assert simulator.request("PUT", "/v1/simulator/faults", json={"delay_ms": DELAY_MS}).status_code == 200
    try:
        with mock.patch.object(prefer, "until", until):
            answer = pair.order.post("/v1/orders" + path.format(**placed), body, Prefer="wait=5")
    finally:
        assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
    assert answer.status_code in (200, 201)
    assert all(seconds <= 5 - DELAY_MS / 1000 for seconds in left), left
    assert left or path == ""  # an order that is paid when payment answers is returned without another look


def test_a_repeated_refund_waits_for_its_outcome(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    path, key = f"/v1/orders/{placed['id']}/refunds", "refund-once"
    simulator = Client(pair.payment.url, INTERNAL_KEY)
    assert simulator.request("PUT", "/v1/simulator/faults", json={"lost_requests_percent": 100}).status_code == 200
    try:
        refund = pair.order.post(path, {"amount": 100}, key).json()
        assert refund["status"] == "pending"

        def until(look: Callable[[], Any], is_done: Callable[[Any], bool], seconds: float) -> Any:
            assert seconds > 1
            assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
            return wait_until(look, is_done, seconds)

        wait_until = prefer.until
        with mock.patch.object(prefer, "until", until):
            again = pair.order.post(path, {"amount": 100}, key, Prefer="wait=10")
    finally:
        assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
    assert (again.headers["Idempotency-Replayed"], again.json()["id"]) == ("true", refund["id"])
    assert again.json()["status"] == "succeeded"
