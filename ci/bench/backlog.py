"""A backlog of placed orders whose payments are still to be made, as an outage of payment leaves it."""

import time
from collections.abc import Iterator

from ci.bench.load import Void
from ci.bench.stack import Stack

_FILL = """
WITH numbered AS (SELECT uuidv7() AS id, uuidv7() AS command_id FROM generate_series(1, {orders})),
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, items, customer, payment_method, capture,
                        metadata, command_id, asked, asked_version)
    SELECT 'demo', id, 'pending_payment', 'EUR', 1800,
           '[{{"kind": "item", "sku": "tea-100", "name": "Green tea, 100 g",
             "quantity": 4, "unit_amount": 450, "amount": 1800, "tax_amount": null}}]',
           'cus_17', 'pm_ok', 'automatic', '{{"cart": "9"}}', command_id,
           jsonb_build_array(jsonb_build_object('id', command_id, 'command', 'payment.create')), 1
    FROM numbered RETURNING id, command_id),
sent AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
    SELECT command_id, 'demo', id, 'payment.create', jsonb_build_object('order_id', id, 'amount', 1800,
           'currency', 'EUR', 'payment_method', 'pm_ok', 'capture', 'automatic')
    FROM placed)
INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
SELECT 'demo', id, 1, 'order.placed', 'pending_payment', 'merchant' FROM placed
"""
_LEFT = "SELECT count(*) FROM outbox WHERE delivered_at IS NULL"
_UNPAID = "SELECT count(*) FROM orders WHERE status <> 'paid' AND status <> 'payment_failed'"
TENTHS = 10
# Seconds that a tenth of a backlog may take.
TIMEOUT = 120


def fill(stack: Stack, orders: int) -> None:
    """Store orders with undelivered commands, without a statement of a service. The relay is paused meanwhile."""
    with stack.paused("order-relay"):
        for first in range(0, orders, 10_000):
            stack.query("order", _FILL.format(orders=min(10_000, orders - first)))


def left(stack: Stack) -> int:
    """Return the number of commands that payment has not answered."""
    [[number]] = stack.query("order", _LEFT)
    return int(str(number))


def drained(stack: Stack, orders: int) -> Iterator[float]:
    """Yield the seconds that each tenth of a backlog of `orders` takes. Raises Void."""
    waiting, began = orders, time.perf_counter()
    for tenth in range(1, TENTHS + 1):
        goal = orders - orders * tenth // TENTHS
        while (waiting := left(stack)) > goal:
            if time.perf_counter() - began > TIMEOUT:
                raise Void(f"{waiting} commands are left after {TIMEOUT} s")
            time.sleep(0.2)  # to count 100,000 rows takes 10 ms
        now = time.perf_counter()
        yield now - began
        began = now


def measure(stack: Stack, orders: int, paid: float) -> None:
    """Print the rate of each tenth of a backlog, and its ratio to `paid`, orders paid a second end to end."""
    print(f"  filling a backlog of {orders:,} orders", flush=True)
    fill(stack, orders)
    print(f"\n{'paid':>12}{'rate/s':>10}{'of paid end to end':>20}  to reach")
    for tenth, seconds in enumerate(drained(stack, orders), 1):
        rate = orders / TENTHS / seconds
        mark = "ok" if rate >= 0.9 * paid else "--"
        print(f"{orders * tenth // TENTHS:>12,}{rate:>10.0f}{rate / paid:>20.2f}  >= 0.90 {mark}", flush=True)
    [[unpaid]] = stack.query("order", _UNPAID)
    if unpaid:
        raise Void(f"{unpaid} orders of the backlog are not paid")
