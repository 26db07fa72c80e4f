"""Compares the rates of a small and a large order table."""

import statistics
import time

from ci.bench.cases import Cases
from ci.bench.stack import Stack

FEW = 10_000

_FILL = """
WITH numbered AS (SELECT n, uuidv7(make_interval(secs => n - %(many)s)) AS id FROM generate_series(1, %(many)s) n),
placed AS (
    INSERT INTO orders (merchant, id, status, currency, total_amount, paid_amount, items, customer, payment_method,
                        capture, metadata)
    SELECT 'demo', id, 'paid', 'EUR', 1800, 1800,
           '[{"kind": "item", "sku": "tea-100", "name": "Green tea, 100 g",
             "quantity": 4, "unit_amount": 450, "amount": 1800, "tax_amount": null}]',
           'cus_' || n %% 1000, 'pm_ok', 'automatic', '{"cart": "9"}'
    FROM numbered RETURNING id),
keys AS (
    INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
    SELECT 'demo', 'filled-' || id, '\\x00', 201, id FROM placed),
sent AS (
    INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
    SELECT gen_random_uuid(), 'demo', id, 'payment.create', '{}', now() FROM placed)
INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
SELECT 'demo', id, 1, 'order.placed', 'pending_payment', 'merchant' FROM placed
"""


def measure(stack: Stack, cases: Cases, many: int, rounds: int, seconds: float) -> None:
    """Fill the order database to FEW orders, then to `many`, and print both rates. Raises Void."""
    rates = {}
    for _ in cases.of_growth(0.5):  # warm up plans, caches and connections
        pass
    for size in (FEW, many):
        _fill(stack, size)
        rates[size] = _rates(cases, rounds, seconds)
    print(f"\n{'case':<27}{FEW:>12,}{many:>12,}{'ratio':>8}  to reach")
    for name, before in rates[FEW].items():
        ratio = rates[many][name] / before
        mark = "ok" if ratio >= 0.85 else "--"
        print(f"{name:<27}{before:>12.3f}{rates[many][name]:>12.3f}{ratio:>8.2f}  >= 0.85 {mark}")


def _fill(stack: Stack, size: int) -> None:
    [[there]] = stack.query("order", "SELECT count(*) FROM orders")
    missing = size - int(str(there))
    began = time.monotonic()
    while missing > 0:
        stack.query("order", _FILL.replace("%(many)s", str(min(missing, 50_000))).replace("%%", "%"))
        missing -= 50_000
        print(f"  filling to {size:,} orders: {max(missing, 0):,} left", flush=True)
    stack.query("order", "VACUUM ANALYZE")
    print(f"  filled in {time.monotonic() - began:.0f} s", flush=True)


def _rates(cases: Cases, rounds: int, seconds: float) -> dict[str, float]:
    """Return each case's ratio to the floor. Ratios of the two sizes can be compared, rates at different times not."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        floor = None
        for name, run in cases.of_growth(seconds):
            if name == "floor":
                floor = run.rate
            else:
                assert floor is not None
                found.setdefault(name, []).append(run.rate / floor)
    return {name: statistics.median(ratios) for name, ratios in found.items()}
