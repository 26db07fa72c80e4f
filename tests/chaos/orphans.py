"""Invariant 17: money without an order is listed and can be returned, and then `reconcile` finds no difference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from tests.chaos.facts import Facts, Reconcile
from tests.support.databases import Databases

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


ATTEMPTS = 3
"""How often the command that returns money is run at most. It asks to be run again while a refund is under way."""


class Commands(Protocol):
    """Runs `flask` with these arguments for a service. Returns the exit status and the output."""

    def command(self, service: str, *arguments: str) -> tuple[int, str]: ...


def return_money(
    stack: Commands, databases: Databases, began: datetime, come_to_rest: Callable[[], object]
) -> tuple[int, list[str]]:
    """List the payments without an order, and return their money, as an operator would.

    Returns how many there were, and what is wrong with the list.
    """
    there = {str(row["id"]) for row in databases.query("order", "SELECT id FROM orders")}
    held = {
        str(payment["id"])
        for payment in databases.query(
            "payment",
            "SELECT id, order_id FROM payments"
            " WHERE status IN ('processing', 'authorized') OR captured_amount > refunded_amount",
        )
        if str(payment["order_id"]) not in there
    }
    status, output = stack.command("order", "orphans")
    listed = {found for line in output.splitlines() for found in _ID.findall(line)}
    wrong = [f"payment {missing} holds money without an order and is not listed" for missing in held - listed]
    if status != 0:
        wrong.append(f"order orphans: exit status {status}: {output[-1500:]}")
    for _ in range(ATTEMPTS):
        status, output = stack.command("order", "resync", "--since", began.isoformat(), "--refund-orphans")
        if status == 0:
            break
        come_to_rest()
    if status != 0:
        wrong.append(f"order resync --refund-orphans: exit status {status}: {output[-1500:]}")
    return len(held), wrong


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
