"""What docs/production.md says to do after one database was restored to an older moment, and the checks after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from ci import ROOT
from tests.chaos import orphans
from tests.chaos.__main__ import come_to_rest
from tests.chaos.checker import Checker, Finding
from tests.chaos.workload import MERCHANTS, Log, Request
from tests.support.databases import Databases
from tests.support.pair import Client
from tests.support.stack import Stack

CHECKED = (3, 4, 5, 6, 7, 8, 10, 11, 13)
"""The invariants that must hold. The others are about orders and keys that the older database does not have."""

COMMAND_TIMEOUT = 300.0
"""Seconds that one command may take."""

# The provider's records name the order, so that this needs no row of payment.
_NET = """
SELECT merchant, order_id::text, sum(CASE kind WHEN 'refund' THEN -amount ELSE amount END)::bigint AS net
FROM simulator.operations
WHERE result = 'succeeded' AND kind IN ('sale', 'capture', 'refund') GROUP BY merchant, order_id
"""

# The sketch's payment of a free order is refused without an operation, and without an event.
_REQUESTED = """
SELECT p.merchant, p.order_id::text FROM payments p JOIN operations o ON o.merchant = p.merchant AND o.payment_id = p.id
"""

_STUCK = "SELECT topic, last_error, count(*) FROM outbox WHERE delivered_at IS NULL GROUP BY 1, 2"

_LIVE = """
SELECT merchant, order_id::text, count(*) AS count FROM payments
WHERE status IN ('processing', 'authorized') OR captured_amount > refunded_amount GROUP BY merchant, order_id
"""


class Recovery:
    """Runs the commands with both services on the restored databases. `since` is the moment of the older one.

    Order is not started yet: it sends its commands only after payment has adopted what the provider knows.
    """

    def __init__(self, log: Log, databases: Databases, stack: Stack, since: str, say: Callable[[str], None]) -> None:
        self._log, self._databases, self._stack, self._since, self._say = log, databases, stack, since, say
        self._failures: list[str] = []

    def run(self) -> list[Finding]:
        """Recover, repeat the requests of lost orders as their callers would, and return what was checked."""
        findings = [self._recover()]
        lost = self._lost()
        self._say(f"{len(lost)} acknowledged orders are lost; their callers repeat the requests")
        for request in lost:
            if request.kind == "place":
                client = Client(self._stack.order.url, MERCHANTS[request.merchant])
                client.post("/v1/orders", request.body, request.key)
        self._rest("after the repeated requests")
        texts = list(self._stack.folder.glob("*.log"))
        checker = Checker(self._log, self._databases, self._stack.order, self._stack.payment, texts)
        findings += [finding for finding in checker.check() if finding.number in CHECKED]
        findings.append(self._finding(14, "no order is paid by two payments", self._paid_twice()))
        findings.append(self._finding(15, "no money is kept for an order that does not exist", self._kept()))
        findings.append(self._finding(16, "both reconcile commands find nothing", self._reconciled()))
        return findings

    def _recover(self) -> Finding:
        """Run the commands of docs/production.md. Each order that is lost must be listed if it has a payment."""
        self._command("payment", "resync", "--since", self._since)
        self._stack.start("order")
        self._rest("after payment's resync")
        listed = self._command("order", "resync", "--since", self._since)
        self._rest("after order's resync")
        for _ in range(orphans.ATTEMPTS):
            failures = list(self._failures)
            listed += self._command("order", "resync", "--since", self._since, "--refund-orphans")
            self._rest("after the refunds")
            if self._failures == failures:
                break
            self._failures, last = failures, self._failures[-1]
        else:
            self._failures.append(last)
        finding = self._finding(1, "every lost order that has a payment is listed by name", self._named(listed))
        finding.wrong += self._failures
        return finding

    def _lost(self) -> list[Request]:
        """Return the acknowledged requests whose order does not exist."""
        orders = {(row["merchant"], row["id"]) for row in self._orders()}
        acknowledged = self._log.acknowledged("place", "sketch order")
        return [request for request in acknowledged if (request.merchant, _order_id(request)) not in orders]

    def _named(self, listed: str) -> Iterator[str | None]:
        rows = self._databases.query("payment", _REQUESTED)
        paid = {(row["merchant"], row["order_id"]) for row in rows}
        for request in self._lost():
            if (request.merchant, _order_id(request)) in paid:
                yield None if _order_id(request) in listed else f"order {_order_id(request)} is lost and not listed"

    def _paid_twice(self) -> Iterator[str | None]:
        for row in self._databases.query("payment", _LIVE):
            yield None if row["count"] == 1 else f"order {row['order_id']} has {row['count']} payments that hold money"

    def _kept(self) -> Iterator[str | None]:
        orders = {(row["merchant"], row["id"]) for row in self._orders()}
        for row in self._databases.query("payment", _NET):
            exists = (row["merchant"], row["order_id"]) in orders
            yield None if exists or row["net"] == 0 else f"{row['net']} are kept for the lost order {row['order_id']}"

    def _reconciled(self) -> Iterator[str | None]:
        for service in ("payment", "order"):
            began = (datetime.now(UTC) - timedelta(days=1)).isoformat()
            until, failures = datetime.now(UTC).isoformat(), len(self._failures)
            self._command(service, "reconcile", "--since", began, "--until", until)
            yield self._failures[-1] if len(self._failures) > failures else None

    def _orders(self) -> list[dict[str, str]]:
        return self._databases.query("order", "SELECT merchant, id::text FROM orders")

    def _rest(self, when: str) -> None:
        rest, left = come_to_rest(self._databases)
        self._say(f"{when}: at rest after {rest:.1f} s" if not left else f"{when}: not at rest: {left}")
        for service in ("order", "payment") if left else ():
            for row in self._databases.query(service, _STUCK):
                self._say(f"  {service}: {row['count']} {row['topic']}: {row['last_error']}")

    def _command(self, service: str, *arguments: str) -> str:
        """Run a command of a service, and return what it prints. Any exit status but 0 is a failure."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", service, *arguments],
            env=self._stack.processes[f"{service}-web"].env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        name = f"flask --app {service} {' '.join(arguments)}"
        self._say(f"{name}: exit status {done.returncode}, {(done.stdout.splitlines() or [''])[-1]}")
        if done.returncode != 0:
            self._failures.append(f"{name}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    @staticmethod
    def _finding(number: int, says: str, results: Iterator[str | None]) -> Finding:
        finding = Finding(number, says)
        for wrong in results:
            finding.looked_at += 1
            if wrong is not None:
                finding.wrong.append(wrong)
        return finding


def _order_id(request: Request) -> str:
    return str(((request.body if request.kind == "sketch order" else request.answer) or {})["id"])
