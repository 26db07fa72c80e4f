"""A capture or refund that order has forgotten in a restore is repeated under its key: it is the same one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uuid_utils

from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import settled
from tests.support.pair import ORDER, Pair

__all__ = ["databases", "pair"]

SAVE = """
CREATE TABLE saved_orders AS SELECT * FROM orders;
CREATE TABLE saved_keys AS SELECT key FROM idempotency_keys
"""

RESTORE = """
ALTER TABLE orders DISABLE TRIGGER USER;
ALTER TABLE order_events DISABLE TRIGGER USER;
DELETE FROM order_events e USING saved_orders s WHERE e.order_id = s.id AND e.version > s.version;
DELETE FROM refunds;
DELETE FROM outbox WHERE topic <> 'payment.create';
DELETE FROM idempotency_keys WHERE key NOT IN (SELECT key FROM saved_keys);
UPDATE orders o SET status = s.status, paid_amount = s.paid_amount, refunded_amount = s.refunded_amount,
    payment = s.payment, asked = s.asked, asked_version = s.asked_version, version = s.version,
    command_id = s.command_id FROM saved_orders s WHERE s.id = o.id;
ALTER TABLE orders ENABLE TRIGGER USER;
ALTER TABLE order_events ENABLE TRIGGER USER
"""


def uuid7() -> str:
    return str(uuid_utils.uuid7())


def uuid4() -> str:
    return str(uuid.uuid4())


def resync(pair: Pair) -> None:
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    for app in (pair.payment_app, pair.order_app):
        result = app.test_cli_runner().invoke(args=["resync", "--since", since])
        assert result.exit_code == 0, result.output
        settled(pair)


def restore(pair: Pair) -> None:
    pair.databases.query("order", RESTORE)
    resync(pair)


def purge_keys(pair: Pair) -> None:
    pair.databases.query("order", "DELETE FROM idempotency_keys")


def purge(pair: Pair) -> None:
    pair.databases.query("order", "DELETE FROM idempotency_keys; DELETE FROM outbox")


@pytest.mark.parametrize("forget", [restore, purge_keys, purge])
@pytest.mark.parametrize(
    ("capture", "action", "body", "new_key", "amounts"),
    [
        ("manual", "capture", {"amount": 300, "final": False}, uuid7, (300, 0)),
        ("manual", "capture", {"amount": 300, "final": False}, uuid4, (300, 0)),
        ("automatic", "refunds", {"amount": 300, "reason": "broken"}, uuid7, (900, 300)),
        ("automatic", "refunds", {"amount": 300, "reason": "broken"}, uuid4, (900, 300)),
    ],
)
def test_a_repeated_request_moves_no_money_again(
    pair: Pair,
    forget: Callable[[Pair], None],
    capture: str,
    action: str,
    body: dict[str, Any],
    new_key: Callable[[], str],
    amounts: tuple[int, int],
) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": capture}, Prefer="wait=10").json()
    settled(pair)
    pair.databases.query("order", SAVE)
    path, key = f"/v1/orders/{order['id']}", new_key()
    first = pair.order.post(f"{path}/{action}", body, key, Prefer="wait=10")
    settled(pair)
    forget(pair)
    again = pair.order.post(f"{path}/{action}", body, key, Prefer="wait=10")
    assert (first.status_code, again.status_code, again.json()["id"]) == (again.status_code,) * 2 + (
        first.json()["id"],
    )
    settled(pair)
    shown = pair.order.get(path).json()
    assert (shown["paid_amount"], shown["refunded_amount"]) == amounts
    done = pair.databases.query("payment", "SELECT amount FROM simulator.operations ORDER BY at")
    assert [each["amount"] for each in done] == [900, 300]
    other = pair.order.post(f"{path}/{action}", body, new_key(), Prefer="wait=10")
    assert other.status_code == first.status_code
    done = pair.databases.query("payment", "SELECT amount FROM simulator.operations ORDER BY at")
    assert [each["amount"] for each in done] == [900, 300, 300]
