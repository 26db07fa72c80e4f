"""Pods of every kind deleted at random while callers call; afterwards the thirteen invariants hold (tests.chaos)."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.chaos.__main__ import come_to_rest, scrape
from tests.chaos.checker import Checker, Finding
from tests.chaos.workload import Caller, Log
from tests.support.charts.rendering import merged
from tests.support.cluster.credentials import NAME, VALUES, Credentials
from tests.support.cluster.databases import databases, metrics, ports, server
from tests.support.cluster.logs import Logs
from tests.support.cluster.namespace import DATABASE, SERVER, Namespace, say, wait_until
from tests.support.pair import Client

pytestmark = pytest.mark.cluster

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10_000))
CALLERS = 6
SECONDS = 240.0
KINDS = [(service, kind) for service in ("order", "payment") for kind in (SERVER, DATABASE)]
ROUNDS = 2


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[..., Namespace]) -> Namespace:
    made = new_namespace()
    made.keep_secret(NAME, Credentials().content())
    # Leases that run out soon, so that what a pod left behind is taken up within the test's time.
    made.install(merged(VALUES, {service: {"env": {"LEASE_SECONDS": 5}} for service in ("order", "payment")}))
    return made


def delete_pods(namespace: Namespace, log: Log) -> None:
    """Delete a pod of each kind so many times, in random order, killed or asked to stop; callers go on in between."""
    dice = random.Random(SEED)
    for service, kind in dice.sample(KINDS * ROUNDS, k=len(KINDS) * ROUNDS):
        # Not 0: that forgets the pod at once, and two servers might open one database.
        lose(namespace, f"app.kubernetes.io/name={service},{kind}", dice.choice([1, None]))
        enough = answered(log) + dice.randint(10, 80)
        wait_until(f"callers are answered without {service}'s pod", partial(is_answered, log, enough), 120, 0.1)


def lose(namespace: Namespace, labels: str, grace: int | None) -> None:
    """Delete the pod with these labels, and return when it is on its way out."""
    wait_until(f"there is a pod with {labels}", lambda: namespace.pods(labels), 60, 0.1)
    pod = namespace.pods(labels)[0]
    say(f"deleting {pod.metadata.name}, {'killed' if grace else 'asked to stop'}")
    with contextlib.suppress(client.ApiException):  # it has just gone
        namespace.core.delete_namespaced_pod(pod.metadata.name, namespace.name, grace_period_seconds=grace)
    wait_until("the pod is on its way", lambda: is_going(namespace, pod), 30, 0.1)


def is_going(namespace: Namespace, pod: Any) -> bool:
    """Whether a pod that was deleted is stopping, or gone."""
    found = [one for one in namespace.pods() if one.metadata.uid == pod.metadata.uid]
    return not found or found[0].metadata.deletion_timestamp is not None


def is_answered(log: Log, requests: int) -> bool:
    """Whether so many requests were answered until now."""
    return answered(log) >= requests


def answered(log: Log) -> int:
    """How many requests were answered until now."""
    return sum(count for (_, outcome), count in list(log.outcomes.items()) if outcome != "no answer")


def test_pods_of_every_kind_are_deleted_and_every_invariant_holds(namespace: Namespace, tmp_path: Path) -> None:
    say(f"SEED={SEED} does the same again")
    log = Log()
    with (
        databases(namespace) as seen,
        Logs(namespace) as logs,
        ports(
            order=server(namespace, "order"),
            payment=server(namespace, "payment"),
            order_metrics=metrics(namespace, "order"),
            payment_metrics=metrics(namespace, "payment"),
        ) as opened,
    ):
        urls = [f"http://127.0.0.1:{opened[name]}" for name in ("order", "payment")]
        callers = [Caller(number, SEED, urls[0], urls[1], log, time.monotonic() + SECONDS) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            wait_until("callers are answered", lambda: answered(log) > 50, 60)
            delete_pods(namespace, log)
        finally:
            for caller in callers:
                caller.finish()
            for caller in callers:
                caller.join()
        wait_until("every pod is ready again", namespace.ready, 120)
        rest, left = come_to_rest(seen)
        say(f"{dict(log.outcomes)}")
        say(f"MEASURED at rest after {rest:.1f} s, {len(log.requests)} requests")
        assert not left
        texts = [tmp_path / "metrics", tmp_path / "logs"]
        texts[0].write_text("".join(scrape(opened[f"{name}_metrics"]) for name in ("order", "payment")))
        texts[1].write_text("\n".join(line for lines in logs.lines.values() for line in lines))
        findings = Checker(log, seen, Client(urls[0]), Client(urls[1]), texts).check()
    assert_all_hold(findings)


def assert_all_hold(findings: list[Finding]) -> None:
    """Print the thirteen findings, and fail for any that is wrong or that looked at nothing."""
    for finding in findings:
        say(f"{'FAIL' if finding.wrong else 'ok'} {finding.number:2}. {finding.says}: {finding.looked_at}")
    assert [wrong for finding in findings for wrong in finding.wrong] == []
    assert len(findings) == 13
    assert all(finding.looked_at for finding in findings)
