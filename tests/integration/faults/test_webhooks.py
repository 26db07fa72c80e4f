"""kill -9 before and after each step of a webhook delivery: it is delivered in the end, under one id."""

from __future__ import annotations

import pytest
import requests

from tests.support import crash
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.stack import Stack, answers
from tests.support.webhook_receiver import Receiver, deliveries, path_of, register

STEPS = [f"order {name} {moment}" for name in crash.WEBHOOKS for moment in ("before", "after")]


@pytest.mark.parametrize("step", STEPS)
def test_a_webhook_is_delivered_if_the_relay_is_killed(stack: Stack, step: str) -> None:
    done = stack.armed.with_suffix(".done")
    done.unlink(missing_ok=True)
    with Receiver() as receiver:
        endpoint = register(stack.order, receiver.url, events=["order.paid"])
        stack.armed.write_text(step)
        order = stack.order.post("/v1/orders", ORDER).json()
        eventually(done.exists, f"a process was killed at {step}", 60)
        eventually(lambda: deliveries(stack.order, endpoint, "delivered"), "the webhook is delivered", 60)
        assert set(receiver.types(order["id"])) == {"order.paid"}
        assert len({received.id for received in receiver.received}) == 1
        for received in receiver.received:
            assert received.verified(endpoint["secret"])
        stack.order.request("DELETE", path_of(endpoint))


def test_an_order_and_its_webhooks_commit_together(stack: Stack) -> None:
    done = stack.armed.with_suffix(".done")
    with Receiver() as receiver:
        endpoint = register(stack.order, receiver.url)
        for step in (
            "order order.store.placing:insert_under_keys before",
            "order order.store.placing:insert_under_keys after",
            "order order.store.steps:write after",
        ):
            done.unlink(missing_ok=True)
            stack.armed.write_text(step)
            order_id = _place(stack, step)
            eventually(done.exists, f"a process was killed at {step}", 60)
            eventually(
                lambda order_id=order_id: set(receiver.types(order_id)) == {"order.placed", "order.paid"},  # type: ignore[misc]
                f"both events are delivered after {step}",
                60,
            )
            stored = "SELECT id FROM webhook_deliveries WHERE order_id = %s"
            assert len(stack.databases.query("order", stored, order_id)) == 2
        eventually(lambda: answers(stack.order, "/readyz"), "order is up again", 60)
        stack.order.request("DELETE", path_of(endpoint))


def _place(stack: Stack, key: str) -> str:
    def place() -> str | None:
        try:
            answer = stack.order.post("/v1/orders", ORDER, key.replace(" ", "-"))
        except requests.ConnectionError:
            return None
        return str(answer.json()["id"]) if answer.status_code == 201 else None

    placed = eventually(place, "the order is placed", 60)
    assert placed is not None
    return placed
