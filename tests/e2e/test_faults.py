"""Pods of every kind are deleted at random under load. Afterwards the invariants of tests.chaos hold."""

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
from tests.chaos.consumer import Consumer
from tests.chaos.log import Log
from tests.chaos.workload import MERCHANTS, Caller
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
    made.write_secret(NAME, Credentials().content())
    # Short leases, so that another pod claims the work of a deleted pod during the test.
    made.install(merged(VALUES, {service: {"env": {"LEASE_SECONDS": 5}} for service in ("order", "payment")}))
    return made


def delete_pods(namespace: Namespace, log: Log) -> None:
    """Delete ROUNDS pods of each kind in random order, by SIGKILL or gracefully, with requests answered in between."""
    dice = random.Random(SEED)
    for service, kind in dice.sample(KINDS * ROUNDS, k=len(KINDS) * ROUNDS):
        # Not 0: that removes the pod object at once, and then two servers may open the same database.
        delete_pod(namespace, f"app.kubernetes.io/name={service},{kind}", dice.choice([1, None]))
        enough = answered(log) + dice.randint(10, 80)
        wait_until(f"callers are answered without {service}'s pod", partial(is_answered, log, enough), 120, 0.1)


def delete_pod(namespace: Namespace, labels: str, grace: int | None) -> None:
    """Delete the pod with these labels, and wait until it is terminating."""
    wait_until(f"there is a pod with {labels}", lambda: namespace.pods(labels), 60, 0.1)
    pod = namespace.pods(labels)[0]
    say(f"deleting {pod.metadata.name}, {'killed' if grace else 'gracefully'}")
    with contextlib.suppress(client.ApiException):  # the pod is already gone
        namespace.core.delete_namespaced_pod(pod.metadata.name, namespace.name, grace_period_seconds=grace)
    wait_until("the pod is terminating", lambda: is_terminating(namespace, pod), 30, 0.1)


def is_terminating(namespace: Namespace, pod: Any) -> bool:
    """Return whether a deleted pod is terminating or gone."""
    found = [one for one in namespace.pods() if one.metadata.uid == pod.metadata.uid]
    return not found or found[0].metadata.deletion_timestamp is not None


def is_answered(log: Log, requests: int) -> bool:
    """Return whether at least this many requests have been answered."""
    return answered(log) >= requests


def answered(log: Log) -> int:
    """Return how many requests have been answered."""
    return sum(count for (_, outcome), count in list(log.outcomes.items()) if outcome != "no answer")


def test_pods_of_every_kind_are_deleted_and_every_invariant_holds(namespace: Namespace, tmp_path: Path) -> None:
    say(f"SEED={SEED} repeats this run")
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
        consumers = [Consumer(urls[0], merchant) for merchant in MERCHANTS]
        callers = [Caller(number, SEED, urls[0], urls[1], log, time.monotonic() + SECONDS) for number in range(CALLERS)]
        for consumer in consumers:
            consumer.start()
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
        for consumer in consumers:
            consumer.finish()
        texts = [tmp_path / "metrics", tmp_path / "logs"]
        texts[0].write_text("".join(scrape(opened[f"{name}_metrics"]) for name in ("order", "payment")))
        texts[1].write_text("\n".join(line for lines in logs.lines.values() for line in lines))
        findings = Checker(log, seen, Client(urls[0]), Client(urls[1]), texts, consumers=consumers).check()
    assert_all_hold(findings)


def assert_all_hold(findings: list[Finding]) -> None:
    """Print the findings. Fail if an invariant does not hold or checked nothing."""
    for finding in findings:
        say(f"{'FAIL' if finding.wrong else 'ok'} {finding.number:2}. {finding.says}: {finding.looked_at}")
    assert [wrong for finding in findings for wrong in finding.wrong] == []
    assert len(findings) == 18
    assert all(finding.looked_at for finding in findings)
