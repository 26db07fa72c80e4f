"""`make failover-drill [SEED=n] [SECONDS=n]`: fail over a PostgreSQL cluster under load, then check the invariants.

Both services use one cluster of three members under Patroni, with synchronous replication, over URLs that name all
members. Each kind of fault occurs once, or as many as begin within SECONDS. The exit status is 0 if everything holds
that the table at the end lists, 1 if something does not, and 2 if the drill is inconclusive or can't run: a program is
missing, the cluster did not recover, or not all kinds of operations occurred.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from tests.chaos import coverage, workload
from tests.chaos.__main__ import End, Ticker, finish, print_findings, print_requests
from tests.chaos.broker import Broker
from tests.chaos.consumer import Consumer, Consuming
from tests.chaos.log import Log
from tests.chaos.workload import Caller
from tests.failover.cluster import Cluster, Inconclusive
from tests.failover.faults import Fault, Faults
from tests.failover.measure import Answers, Leader, Pulse
from tests.support.stack import Stack

CALLERS = 3
LONGEST = 15.0
"""Seconds within which each request is answered."""
LATE = 5.0
"""Seconds that requests may fail for longer than there is no leader."""

REST = 180.0
"""Seconds after the last fault within which all work must be completed, which includes sending all commands again."""

PATIENCE: dict[str, Any] = {"TIMEOUT": 20.0, "DEADLINE": 40.0, "REPLAY_WITHIN": 300.0}
"""Seconds, for the callers: they wait for each answer, and nothing is purged, so replays may come late."""


def main() -> int:
    """Return the exit status: 0, 1 or 2."""
    parser = argparse.ArgumentParser(prog="make failover-drill", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats the faults and callers of an earlier drill")
    parser.add_argument("--seconds", type=float, default=math.inf, help="no fault begins later than that")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    print(f"failover drill: seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tandem-failover-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL, which may run as nobody, must be able to enter it
        try:
            return run(seed, options.seconds, Path(folder))
        except Inconclusive as reason:
            print(f"failover drill: seed {seed}: inconclusive: {reason}")
            return 2


def run(seed: int, seconds: float, folder: Path) -> int:
    """Do one drill in a folder of its own. Return the exit status. Raises Inconclusive."""
    log, answers = Log(), Answers()
    with ExitStack() as running:
        cluster = running.enter_context(Cluster(folder / "cluster"))
        databases = cluster.create_databases()
        databases.migrate()
        stack = running.enter_context(Stack(databases, folder, settings={"LEASE_SECONDS": "5"}))
        leader = Leader([member.url() for member in cluster.members.values()])
        running.callback(leader.end)
        began, until = datetime.now(UTC), time.monotonic() + seconds
        faults = Faults(seed, cluster, leader, until)
        # Only the database fails here, so that the times that are measured are those of its failover.
        broker = running.enter_context(Broker(seed, stack, databases, folder, kills=False))
        consumers: list[Consuming] = [Consumer(stack.order.url, merchant) for merchant in workload.MERCHANTS]
        consumers += broker.consumers()
        for consumer in consumers:
            consumer.start()
        with answers.recorded(), mock.patch.multiple(workload, **PATIENCE), Ticker(seconds, log, faults):
            load(seed, (stack.order.url, stack.payment.url), log, faults.run, loses_orders=True)
        leader.end()
        end = finish(log, stack, began, REST, consumers)
    return report(seed, log, faults.happened, leader, answers, end)


def load(seed: int, urls: tuple[str, str], log: Log, faults: Callable[[], None], *, loses_orders: bool = False) -> None:
    """Run callers of order and payment, which have these URLs, while `faults` runs."""
    callers = [Caller(number, seed, *urls, log, math.inf, loses_orders=loses_orders) for number in range(CALLERS)]
    with Pulse(seed, urls[0], log):
        for caller in callers:
            caller.start()
        try:
            faults()
        finally:
            for caller in callers:
                caller.finish()
    for caller in callers:
        caller.join()


def report(seed: int, log: Log, faults: list[Fault], leader: Leader, answers: Answers, end: End) -> int:
    """Print the results. Return the exit status."""
    print_requests(log)
    print("what happened")
    occurred = coverage.occurrences(end.facts)
    for what, count in sorted(occurred.items()):
        print(f"  {count:5}  {what}")
    print(end.says_rest())
    print_findings(end.findings)
    wrong = [f"{len(end.broken)} invariants broken"] if end.broken else []
    print(f"  {'fault':<30} {'no leader':>10} {'no success':>11} {'slowest answer':>15}")
    for fault in faults:
        without = leader.commits.without(fault.began, fault.ended)
        failing = answers.writes.without(fault.began, fault.ended)
        slowest = answers.slowest(fault.began, fault.ended)
        assert slowest is not None
        print(f"  {fault.name:<30} {without:8.1f} s {failing:9.1f} s {slowest.took:13.1f} s  {slowest.what}")
        if failing > without + LATE:
            wrong.append(f"requests failed for more than {LATE:.0f} s longer than there was no leader: {fault.name}")
        if slowest.took > LONGEST:
            wrong.append(f"an answer took more than {LONGEST:.0f} s: {fault.name}")
    acknowledged = {request.answer["id"] for request in log.acknowledged("place", "replay") if request.answer}
    sketched = {request.body["id"] for request in log.acknowledged("sketch order") if request.body}
    print(f"  {'acknowledged orders':<30} {len(acknowledged | sketched):8}")
    print(f"  {'lost':<30} {len(end.findings[0].wrong):8}")
    print(f"  {'charged twice':<30} {len(end.findings[2].wrong):8}")
    if wrong:
        print(f"failover drill: seed {seed}: {'; '.join(wrong)}")
        return 1
    missing = coverage.missing(occurred)
    if missing or not faults:
        print(f"failover drill: seed {seed}: inconclusive, these did not happen: {', '.join(missing) or 'faults'}")
        return 2
    print(f"failover drill: seed {seed}: every invariant holds, {len(faults)} faults")
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
