"""What the checker compares: what the callers know, both databases and the provider's record, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.chaos import kept
from tests.chaos.log import Log, Request
from tests.chaos.workload import MERCHANTS
from tests.support.databases import Databases
from tests.support.pair import Client

Row = dict[str, Any]
Key = tuple[str, str]
"""A merchant and an id."""

Reconcile = Callable[[str], tuple[int, str]]
"""Runs `flask reconcile` of a service; returns the exit status and the output."""


class Facts:
    """The final state, and what callers saw on the way to it. `outbox` includes the rows that were purged."""

    def __init__(self, log: Log, databases: Databases, order: Client, payment: Client) -> None:
        self.log, self.databases = log, databases
        self.clients = {name: (Client(order.url, key), Client(payment.url, key)) for name, key in MERCHANTS.items()}
        self.orders = keyed(databases.query("order", "SELECT * FROM orders"), "id")
        self.refunds = databases.query("order", "SELECT * FROM refunds")
        self.events = grouped(databases.query("order", "SELECT * FROM order_events ORDER BY version"), "order_id")
        self.outbox = kept.rows(databases, "order", "outbox")
        self.keys = kept.rows(databases, "order", "idempotency_keys")
        self.payments = databases.query("payment", "SELECT * FROM payments")
        self.operations = databases.query("payment", "SELECT * FROM operations")
        self.provider = {
            str(row["key"]): row
            for row in databases.query("payment", "SELECT * FROM simulator.operations WHERE result IS NOT NULL")
        }
        self.payments_of = grouped(self.payments, "order_id")
        self.operations_of = grouped(self.operations, "payment_id")
        self.refunds_of = grouped(self.refunds, "order_id")

    def of_order(self, order: Row) -> list[Row]:
        """Return the payments of an order."""
        return self.payments_of.get((order["merchant"], str(order["id"])), [])

    def requests_about(self, *kinds: str) -> dict[Key, list[Request]]:
        """Return the requests of these kinds that were executed, or may have been, by order."""
        found: dict[Key, list[Request]] = defaultdict(list)
        for request in self.log.requests:
            if request.kind in kinds and request.order_id is not None and request.may_have_acted:
                found[request.merchant, request.order_id].append(request)
        return found


def keyed(rows: Iterable[Row], column: str) -> dict[Key, Row]:
    """Return the rows by merchant and a column."""
    return {(row["merchant"], str(row[column])): row for row in rows}


def grouped(rows: Iterable[Row], column: str) -> dict[Key, list[Row]]:
    """Return lists of the rows with the same merchant and value of a column."""
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["merchant"], str(row[column])].append(row)
    return dict(found)
