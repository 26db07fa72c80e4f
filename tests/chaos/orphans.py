"""Invariant 17: no money without an order, and both `reconcile` commands find no difference."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.facts import Facts, Reconcile


def orphans(facts: Facts, reconcile: Reconcile | None) -> Iterator[str | None]:
    """Check that every payment that holds money has an order. Run both commands if `reconcile` is given."""
    for payment in facts.payments:
        exists = (payment["merchant"], str(payment["order_id"])) in facts.orders
        held = payment["captured_amount"] - payment["refunded_amount"]
        lost = not exists and (held > 0 or payment["status"] in ("processing", "authorized"))
        what = f"payment {payment['id']} ({payment['status']}, {held} held)"
        yield f"{what} belongs to order {payment['order_id']}, which does not exist" if lost else None
    if reconcile is None:
        return
    for service in ("order", "payment"):
        status, output = reconcile(service)
        yield None if status == 0 else f"{service} reconcile: exit status {status}: {output[-1500:]}"
