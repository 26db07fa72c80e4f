"""A command whose outcome the order knows is never sent again, although payment may have forgotten the outcome.

A payment provider need not keep records of what it declined. After a restore, payment would carry such a command out,
and its caller knows that it was declined.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.integration.order import test_resync
from tests.integration.order.test_resync import get
from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import delivered, settled
from tests.support.pair import ORDER, Pair

__all__ = ["databases", "pair"]

FORGET = """
ALTER TABLE payments DISABLE TRIGGER USER;
ALTER TABLE operations DISABLE TRIGGER USER;
DELETE FROM simulator.operations WHERE result = 'declined';
DELETE FROM idempotency_keys WHERE key IN (SELECT idempotency_key FROM operations WHERE status = 'declined');
DELETE FROM operations WHERE status = 'declined';
DELETE FROM payments WHERE status = 'failed';
UPDATE payments SET payment_method = 'pm_ok';
ALTER TABLE operations ENABLE TRIGGER USER;
ALTER TABLE payments ENABLE TRIGGER USER
"""
"""Payment was restored to a moment before the decline, of which its provider has no record; it declines no more."""


def resync(pair: Pair) -> None:
    result = test_resync.resync(pair)
    assert result.exit_code == 0, result.output


def sweep(pair: Pair) -> None:
    orders = pair.order_app.extensions["tandem"].use_cases["orders"]
    orders.sweep(orders.database.session(), 0, 0)
    orders.relay.wake()


@pytest.mark.parametrize("send_again", [resync, sweep])
@pytest.mark.parametrize(
    ("payment_method", "capture", "action", "status"),
    [
        ("pm_declined", "automatic", None, "payment_failed"),
        ("pm_capture_declined", "manual", "capture", "authorized"),
        ("pm_void_declined", "manual", "cancel", "authorized"),
        ("pm_refund_declined", "automatic", "cancel", "paid"),
    ],
)
def test_a_declined_command_is_not_carried_out_later(
    pair: Pair,
    send_again: Callable[[Pair], None],
    payment_method: str,
    capture: str,
    action: str | None,
    status: str,
) -> None:
    wanted = {**ORDER, "payment_method": payment_method, "capture": capture}
    order = pair.order.post("/v1/orders", wanted, Prefer="wait=10").json()
    if action is not None:
        pair.order.post(f"/v1/orders/{order['id']}/{action}", Prefer="wait=10")
    settled(pair)
    before = get(pair, order)
    assert before["status"] == status
    pair.databases.query("payment", FORGET)
    send_again(pair)
    delivered(pair, "order")
    assert get(pair, order) == before
    done = pair.databases.query("payment", "SELECT kind FROM simulator.operations")
    assert [each["kind"] for each in done] == {"automatic": ["sale"], "manual": ["authorize"]}[capture][: bool(action)]


def test_a_payment_that_failed_and_that_payment_has_forgotten_is_no_difference(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    assert get(pair, order)["status"] == "payment_failed"
    delivered(pair, "payment")
    pair.databases.query("payment", FORGET)
    resync(pair)
    result = pair.order_app.test_cli_runner().invoke(args=["reconcile", "--until", datetime.now(UTC).isoformat()])
    assert result.exit_code == 0, result.output
