"""kill -9 before and after each step of an order: the order is paid in the end, exactly once."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
import requests

from tests.support import crash
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.stack import Stack

# Steps that are certain to be taken only if the provider's first response is lost: then the outcome is an event.
_AFTER_A_LOST_RESPONSE = (
    "Simulator.send ",
    "Executor.execute ",
    "payment.operations:claim",
    "payment.operations:release",
    "lookup",
    "Changes.receive",
    "OrderGateway.send",
    "mark_delivered",
)
# Steps that are taken only if several commands are due at the same time.
_FOR_SEVERAL = ("read_many", "Simulator.send_many")
STEPS = [
    f"{service} {name} {moment}"
    for service, names in crash.FUNCTIONS.items()
    for name in names
    for moment in ("before", "after")
]


def place(stack: Stack, key: str, order: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Place an order; retry the request under the same key until it is accepted."""
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = stack.order.post("/v1/orders", order, key, **headers)
        except requests.ConnectionError:
            answer = None
        if answer is not None and answer.status_code == 201:
            placed: dict[str, Any] = answer.json()
            return placed
        assert answer is None or answer.status_code in (409, 503), answer.text
        assert time.monotonic() < deadline, "the order could not be placed"
        time.sleep(0.05)


def is_paid_once(stack: Stack, order_id: str) -> bool:
    """Return whether the order is paid. Fails if payment, ledger and provider do not agree that it was paid once."""
    order = stack.databases.query("order", "SELECT status, paid_amount FROM orders WHERE id = %s", order_id)
    if not order or order[0]["status"] != "paid":
        return False
    charges = stack.databases.charges(order_id)
    assert [charge["amount"] for charge in charges] == [order[0]["paid_amount"]]
    booked = stack.databases.query(
        "payment",
        """SELECT e.account, e.amount FROM ledger_entries e JOIN payments p
           ON p.merchant = e.merchant AND p.id = e.payment_id WHERE p.order_id = %s ORDER BY account""",
        order_id,
    )
    amount = order[0]["paid_amount"]
    assert [(row["account"], row["amount"]) for row in booked] == [
        ("merchant_payable", amount),
        ("provider_clearing", amount),
    ]
    return True


@pytest.mark.parametrize("step", STEPS)
def test_an_order_is_paid_once_if_a_process_is_killed_at_a_step(stack: Stack, step: str) -> None:
    done = stack.armed.with_suffix(".done")
    done.unlink(missing_ok=True)
    starts = sum(process.starts for process in stack.processes.values())
    together = any(name in step for name in _FOR_SEVERAL)
    lost = any(name in step for name in _AFTER_A_LOST_RESPONSE)
    stack.armed.write_text(step)
    ids: list[str] = []

    def is_killed() -> bool:
        if not ids or together:
            order = {**ORDER, "payment_method": "pm_timeout_charged" if lost else "pm_ok"}
            ids.extend(place(stack, str(uuid.uuid4()), order)["id"] for _ in range(8 if together else 1))
        return done.exists()

    eventually(is_killed, f"a process was killed at {step}")
    for order_id in ids:
        eventually(lambda: is_paid_once(stack, order_id), f"the order is paid after {step}", 30)  # noqa: B023
    eventually(lambda: sum(p.starts for p in stack.processes.values()) > starts, "the process was restarted")


def test_an_order_is_paid_once_if_a_process_is_killed_while_the_caller_waits(stack: Stack) -> None:
    for step in (
        "order order.store.placing:insert_under_keys after",
        "order order.gateway:PaymentGateway.send_many after",
        "payment payment.settlements:settle before",
    ):
        stack.armed.write_text(step)
        placed = place(stack, str(uuid.uuid4()), ORDER, Prefer="wait=1")
        eventually(lambda: is_paid_once(stack, placed["id"]), f"the order is paid after {step}", 30)  # noqa: B023


@pytest.mark.parametrize("name", ["order-web", "order-relay", "payment-web", "payment-relay"])
def test_each_of_many_orders_is_paid_once_if_a_process_is_killed_repeatedly(stack: Stack, name: str) -> None:
    keys = [str(uuid.uuid4()) for _ in range(40)]
    ids = []
    for number, key in enumerate(keys):
        if number % 10 == 5:
            stack.processes[name].kill()
        ids.append(place(stack, key, ORDER)["id"])
    for order_id in ids:
        eventually(lambda: is_paid_once(stack, order_id), "each order is paid once", 30)  # noqa: B023
    assert [place(stack, key, ORDER)["id"] for key in keys] == ids
