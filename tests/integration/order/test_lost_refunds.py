"""Payment's database is restored to a moment before a refund that the provider was not asked for yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.order.test_resync import get, get_payment, refused_refund, resync, use_method
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import settled
from tests.support.pair import Pair

__all__ = ["databases", "pair"]

RESTORE = """
ALTER TABLE payments DISABLE TRIGGER USER;
DELETE FROM operations WHERE kind = 'refund';
DELETE FROM idempotency_keys;
UPDATE payments SET refunding_amount = 0, version = 2, updated_at = now() - interval '1 day';
ALTER TABLE payments ENABLE TRIGGER USER
"""


def resync_both(pair: Pair) -> str:
    """Run both resyncs, as docs/production.md says; return what order's has printed."""
    since = datetime.now(UTC) - timedelta(hours=1)
    result = pair.payment_app.test_cli_runner().invoke(args=["resync", "--since", since.isoformat()])
    assert result.exit_code == 0, result.output
    settled(pair)
    result = resync(pair, since=since)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("canceled_before", [True, False])
def test_an_order_does_not_wait_for_a_refund_that_payment_has_lost(pair: Pair, canceled_before: bool) -> None:
    order: dict[str, Any] = refused_refund(pair, 900)
    cancel = f"/v1/orders/{order['id']}/cancel"
    if canceled_before:
        assert pair.order.post(cancel).json()["status"] == "canceling"
    settled(pair)
    pair.databases.query("payment", RESTORE)
    use_method(pair, "pm_ok")
    assert "1 payments have lost refunds" in resync_both(pair)
    if not canceled_before:
        assert pair.order.post(cancel).status_code in (200, 202)
    eventually(lambda: get(pair, order)["status"] == "canceled", "the order is canceled")
    assert get(pair, order)["refunded_amount"] == 900
    assert get_payment(pair, order["payment"])["refunded_amount"] == 900
    assert "have lost" not in resync_both(pair), "a repetition finds nothing"


def test_an_order_waits_for_a_refund_that_payment_has(pair: Pair) -> None:
    order = refused_refund(pair, 900)
    assert pair.order.post(f"/v1/orders/{order['id']}/cancel").json()["status"] == "canceling"
    assert "have lost" not in resync_both(pair)
    assert get(pair, order)["status"] == "canceling"
    use_method(pair, "pm_ok")
    pair.databases.query("payment", "UPDATE operations SET available_at = now() WHERE status = 'pending'")
    eventually(lambda: get(pair, order)["status"] == "canceled", "the order is canceled")
    assert get_payment(pair, order["payment"])["refunded_amount"] == 900
