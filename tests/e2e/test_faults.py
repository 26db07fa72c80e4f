"""Pods of every kind are deleted at random under load. Afterwards the invariants of tests.chaos hold."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.chaos.consumer import Consumer
from tests.chaos.log import Log
from tests.chaos.workload import MERCHANTS, Caller
from tests.support.charts.rendering import merged
from tests.support.cluster.credentials import NAME, VALUES, Credentials
from tests.support.cluster.databases import databases, ports, server
from tests.support.cluster.invariants import Release, assert_all_hold
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
    log, began = Log(), datetime.now(UTC)
    with (
        databases(namespace) as seen,
        Logs(namespace) as logs,
        ports(order=server(namespace, "order"), payment=server(namespace, "payment")) as opened,
    ):
        urls = {name: f"http://127.0.0.1:{port}" for name, port in opened.items()}
        consumers = [Consumer(urls["order"], merchant) for merchant in MERCHANTS]
        until = time.monotonic() + SECONDS
        callers = [Caller(number, SEED, urls["order"], urls["payment"], log, until) for number in range(CALLERS)]
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
        release = Release(namespace, seen, Client(urls["order"]), Client(urls["payment"]), tmp_path)
        assert_all_hold(release, log, logs, began, consumers)
