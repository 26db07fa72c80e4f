"""Commands for a payment that neither payment nor the provider has any more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.outbox import delivered
from tests.support.pair import ORDER, Pair


def lose_payment(pair: Pair, order_id: str) -> None:
    """Delete everything that payment and the simulated provider have recorded, as a restore would."""
    pair.databases.query("payment", "TRUNCATE simulator.operations")
    for table in ("ledger_entries", "operations", "payments", "idempotency_keys"):
        pair.databases.query("payment", f"ALTER TABLE {table} DISABLE TRIGGER USER")
        pair.databases.query("payment", f"DELETE FROM {table}")
        pair.databases.query("payment", f"ALTER TABLE {table} ENABLE TRIGGER USER")


def placed(pair: Pair, capture: str) -> str:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": capture}, Prefer="wait=10").json()
    assert order["status"] == {"manual": "authorized", "automatic": "paid"}[capture]
    delivered(pair)
    return str(order["id"])


def history(pair: Pair, order_id: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = pair.order.get(f"/v1/orders/{order_id}/events").json()["data"]
    return data


@pytest.mark.parametrize(
    ("capture", "action", "state", "recorded"),
    [
        ("manual", "capture", "authorized", "payment.capture_declined"),
        ("manual", "cancel", "authorized", "order.authorized"),
        ("automatic", "cancel", "paid", "order.paid"),
        ("automatic", "refunds", "paid", "refund.failed"),
    ],
)
def test_a_command_for_a_lost_payment_ends_as_declined(
    pair: Pair, capture: str, action: str, state: str, recorded: str
) -> None:
    order_id = placed(pair, capture)
    lose_payment(pair, order_id)
    pair.order.post(f"/v1/orders/{order_id}/{action}", {} if action == "refunds" else None, Prefer="wait=5")
    eventually(
        lambda: (
            not pair.databases.query(
                "order", "SELECT FROM outbox WHERE aggregate_id = %s AND delivered_at IS NULL", order_id
            )
        ),
        "no command is left at the head of the order's queue",
    )
    assert pair.order.get(f"/v1/orders/{order_id}").json()["status"] == state
    (event,) = [event for event in history(pair, order_id) if event["data"].get("failure_reason")][-1:]
    assert (event["type"], event["data"]["failure_reason"]) == (recorded, "payment-not-found")
    assert "does not know this payment" in pair.order.get(f"/v1/orders/{order_id}").json()["last_error"]["detail"]
    assert pair.databases.query("order", "SELECT asked FROM orders WHERE id = %s", order_id) == [{"asked": []}]
