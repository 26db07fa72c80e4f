"""`make chaos [SEED=n] [SECONDS=n]`: run callers and faults on real processes, then check the invariants.

The exit status is 0 if all invariants hold, 1 if one is violated, and 2 if the run is inconclusive: operations that
every run must have did not occur.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import requests

from ci.laptop.postgres import Postgres
from tests.chaos import coverage, kept, orphans
from tests.chaos.broker import Broker
from tests.chaos.checker import Checker, Finding, pending
from tests.chaos.consumer import Consumer, Consuming
from tests.chaos.facts import Facts
from tests.chaos.faults import Faults
from tests.chaos.log import Log
from tests.chaos.workload import MERCHANTS, Caller
from tests.support.databases import Databases
from tests.support.pair import Client
from tests.support.proxy import Proxy
from tests.support.stack import Stack

CALLERS = 6
REST_TIMEOUT = 60.0
"""Seconds after the last fault within which all work must be completed."""


def main() -> int:
    """Return the exit status: 0, 1 or 2."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats the faults and callers of an earlier run")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of requests and faults")
    parser.add_argument("--apps", type=Path, default=None, help="another copy of apps/ to run (for mutations)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    print(f"chaos: seed {seed}, {options.seconds:.0f} s of faults", flush=True)
    with tempfile.TemporaryDirectory(prefix="tandem-chaos-") as folder:
        return run(seed, options.seconds, Path(folder), options.apps)


def run(seed: int, seconds: float, folder: Path, apps: Path | None) -> int:
    """Do one run in a folder of its own. Return the exit status."""
    servers = {service: Postgres(folder / f"postgres-{service}") for service in ("order", "payment")}
    log = Log()
    with ExitStack() as running:
        for server in servers.values():
            server.start()
            running.callback(server.stop)
        owners = [server.create_database(service) for service, server in servers.items()]
        services = [server.create_service_role(service) for service, server in servers.items()]
        databases = Databases(*owners, *services)
        databases.migrate()
        kept.keep(databases)
        stack = Stack(databases, folder, apps=apps)
        to_order, to_payment = (running.enter_context(Proxy("127.0.0.1", port)) for port in stack.service_ports)
        stack.peers = {"PAYMENT_URL": to_payment.url, "ORDER_URL": to_order.url}
        running.enter_context(stack)
        began = datetime.now(UTC)
        until = time.monotonic() + seconds
        urls = stack.order.url, stack.payment.url
        callers = [Caller(number, seed, *urls, log, until, loses_orders=True) for number in range(CALLERS)]
        broker = running.enter_context(Broker(seed, stack, databases, folder))
        consumers: list[Consuming] = [Consumer(urls[0], merchant) for merchant in MERCHANTS]
        consumers += broker.consumers()
        faults = Faults(seed, stack, servers, databases, [to_payment, to_order], until)
        with Ticker(seconds, log, faults):
            for consumer in consumers:
                consumer.start()
            for caller in callers:
                caller.start()
            faults.run()
            for caller in callers:
                caller.join()
            end = finish(log, stack, began, consumers=consumers)
    return report(seed, log, faults, end)


@dataclass
class End:
    """How a run ended: seconds until no work was pending, what still was then, the invariants, and what they saw."""

    rest: float
    left: dict[str, int]
    findings: list[Finding]
    facts: Facts

    @property
    def broken(self) -> list[Finding]:
        """The invariants that do not hold."""
        return [finding for finding in self.findings if finding.wrong]

    def says_rest(self) -> str:
        """Return a sentence about the pending work."""
        return (
            f"at rest after {self.rest:.1f} s" if not self.left else f"not at rest after {self.rest:.0f} s: {self.left}"
        )


class Running(orphans.Commands, Protocol):
    """Both services, running: clients of them, and the ports at which both have their metrics.

    `folder` has their logs, as `*-web.log` and `*-relay.log`.
    """

    @property
    def databases(self) -> Databases: ...
    @property
    def folder(self) -> Path: ...
    @property
    def order(self) -> Client: ...
    @property
    def payment(self) -> Client: ...
    @property
    def admin_ports(self) -> tuple[int, int]: ...


def finish(
    log: Log, stack: Running, began: datetime, within: float = REST_TIMEOUT, consumers: Sequence[Consuming] = ()
) -> End:
    """Wait until no work is pending, return money that has no order, and check the invariants.

    Work that is still pending after `within` seconds is left, and violates an invariant.
    """
    databases, folder = stack.databases, stack.folder
    rest, left = come_to_rest(databases, within)
    lost, unlisted = orphans.return_money(stack, databases, began, lambda: come_to_rest(databases, within))
    left = left or come_to_rest(databases, within)[1]
    for consumer in consumers:
        consumer.finish()
    metrics = folder / "metrics.log"
    metrics.write_text("".join(scrape(port) for port in stack.admin_ports))
    texts = [metrics, *folder.glob("*-web.log"), *folder.glob("*-relay.log"), *folder.glob("*-publisher.log")]

    def reconcile(service: str) -> tuple[int, str]:
        until = datetime.now(UTC) + timedelta(minutes=1)
        return stack.command(service, "reconcile", "--since", began.isoformat(), "--until", until.isoformat())

    checker = Checker(log, databases, stack.order, stack.payment, texts, reconcile, consumers)
    findings = checker.check()
    findings[16].wrong += unlisted
    findings[16].note = f"money was returned to {lost} payments without an order"
    return End(rest, left, findings, checker.facts)


def come_to_rest(databases: Databases, within: float = REST_TIMEOUT) -> tuple[float, dict[str, int]]:
    """Wait until no work is pending. Return the seconds it took, and what is still pending after `within` seconds."""
    began = time.monotonic()
    while (left := pending(databases)) and time.monotonic() - began < within:
        time.sleep(0.1)
    return time.monotonic() - began, left


def scrape(port: int) -> str:
    """Return all metrics of a service."""
    return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text


class Progress(Protocol):
    """The faults so far, as counts by name, and the current one."""

    @property
    def injected(self) -> Counter[str]: ...
    @property
    def now(self) -> str: ...


class Ticker:
    """Prints the progress: a live line on a terminal, else a line every ten seconds."""

    def __init__(self, seconds: float, log: Log, faults: Progress) -> None:
        self._seconds, self._log, self._faults = seconds, log, faults
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        print(flush=True)

    def _run(self) -> None:
        terminal = sys.stdout.isatty()
        while not self._ending.wait(0.5 if terminal else 10):
            spent = time.monotonic() - self._began
            now = self._faults.now or ("waiting for pending work" if spent > self._seconds else "-")
            line = (
                f"  {spent:4.0f} s  {len(self._log.requests)} requests"
                f"  {sum(self._faults.injected.values())} faults  now: {now}"
            )
            print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", flush=True)


def print_requests(log: Log) -> None:
    """Print how often each kind of request had which outcome."""
    print("requests")
    for kind in sorted({kind for kind, _ in log.outcomes}):
        counts = sorted((outcome, n) for (k, outcome), n in log.outcomes.items() if k == kind)
        print(f"  {kind:<16}", "  ".join(f"{outcome}: {n}" for outcome, n in counts))


def report(seed: int, log: Log, faults: Faults, end: End) -> int:
    """Print the results. Return the exit status."""
    print_requests(log)
    occurred = coverage.occurrences(end.facts)
    for title, counter in (("faults", faults.injected), ("what happened", occurred)):
        print(title)
        for what, count in sorted(counter.items()):
            print(f"  {count:5}  {what}")
    print(end.says_rest())
    print_findings(end.findings)
    missing = coverage.missing(occurred)
    if end.broken:
        print(f"chaos: seed {seed}: {len(end.broken)} invariants broken")
        return 1
    if missing:
        print(f"chaos: seed {seed}: inconclusive, these did not happen: {', '.join(missing)}")
        return 2
    print(f"chaos: seed {seed}: every invariant holds")
    return 0


def print_findings(findings: list[Finding]) -> None:
    """Print each invariant with the first violations."""
    print("invariants")
    for finding in findings:
        mark = "ok  " if not finding.wrong else "FAIL"
        print(f"  {mark} {finding.number:2}. {finding.says:<68} {finding.looked_at:6}")
        for wrong in finding.wrong[:5]:
            print(f"         {wrong[:3000]}")
        if len(finding.wrong) > 5:
            print(f"         and {len(finding.wrong) - 5} more")
        if finding.note:
            print(f"         {finding.note}")


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
