"""Operations on a release under load: orders are placed and read all the time, and no request may fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.charts.rendering import merged
from tests.support.cluster.credentials import NAME, VALUES, Credentials, new_key, new_secret
from tests.support.cluster.load import Load
from tests.support.cluster.logs import Logs
from tests.support.cluster.namespace import Namespace, is_ready, say, wait_until
from tests.support.cluster.notes import run_commands
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import idle_pod, run

pytestmark = pytest.mark.cluster

URL = "http://tandem-order:8080"
SERVICES = ("order", "payment")
TWO: dict[str, Any] = merged(VALUES, {service: {"replicaCount": 2} for service in SERVICES})
SCALED: dict[str, Any] = merged(
    VALUES,
    {
        "order": {
            "autoscaling": {
                "enabled": True,
                "minReplicas": 1,
                "maxReplicas": 3,
                # One pod uses about 120 % for the load and 4 % when idle. At the default of 70 % the autoscaler would
                # start two or three pods, depending on the machine.
                "cpuUtilization": 25,
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 0},
                    "scaleDown": {
                        "stabilizationWindowSeconds": 0,
                        "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}],
                    },
                },
            }
        }
    },
)


@pytest.fixture(scope="module")
def credentials() -> Credentials:
    return Credentials()


@pytest.fixture(scope="module")
def release(new_namespace: Callable[..., Namespace], credentials: Credentials) -> Namespace:
    made = new_namespace()
    made.write_secret(NAME, credentials.content())
    made.install(TWO)
    return made


@pytest.fixture
def namespace(release: Namespace) -> Namespace:
    """The release with two pods of each service."""
    release.ensure(TWO)
    for service in SERVICES:
        release.wait_rolled_out(service, 2)
    return release


@pytest.fixture
def autoscaled(release: Namespace) -> Namespace:
    """The release with an autoscaler for order."""
    release.ensure(SCALED)
    return release


def test_a_rolling_restart_of_both_services_loses_no_request(namespace: Namespace, credentials: Credentials) -> None:
    with idle_pod(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        for service in SERVICES:
            namespace.restart(service)
            namespace.wait_rolled_out(service)
            load.wait_answered()
    load.assert_nothing_lost()


@pytest.mark.long
def test_scaling_up_and_down_loses_no_request(namespace: Namespace, credentials: Credentials) -> None:
    with idle_pod(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        for pods in (3, 1):
            namespace.upgrade(merged(TWO, {service: {"replicaCount": pods} for service in SERVICES}))
            for service in SERVICES:
                namespace.wait_rolled_out(service, pods)
            load.wait_answered()
    load.assert_nothing_lost()


@pytest.mark.long
def test_replacing_every_secret_loses_no_request(namespace: Namespace, credentials: Credentials) -> None:
    old = Credentials(list(credentials.people), list(credentials.order), list(credentials.events))
    new = Credentials([new_key()], [new_key()], [new_secret()])
    steps = [
        # First all pods accept the new secrets, then they use them ...
        Credentials(old.people + new.people, old.order + new.order, old.events + new.events),
        # ... and the old ones are accepted until they are no longer used.
        Credentials(new.people + old.people, new.order + old.order, new.events + old.events),
        new,
    ]
    with idle_pod(namespace) as pod, Logs(namespace) as logs, Load(namespace, pod, URL, old.people[0]) as load:
        for step in steps:
            namespace.write_secret(NAME, step.content())
            for service in SERVICES:
                namespace.restart(service)
            for service in SERVICES:
                namespace.wait_rolled_out(service)
            key = step.people[0] if step is not steps[0] else new.people[0]
            load.use_key(key)
            load.wait_answered()
            with namespace.order(key) as tandem:  # its outcome is known later, so payment tells order by an event
                paid(tandem, place(tandem, method="pm_timeout_charged").id)
    credentials.people, credentials.order, credentials.events = new.people, new.order, new.events
    load.assert_nothing_lost()
    # The services did not reject each other's requests either, which callers would not notice.
    assert logs.requests("order", "/v1/payment-events")
    assert logs.requests("payment", "/v1/commands")
    assert [line for service in SERVICES for line in logs.requests(service) if line["status"] in (401, 403)] == []
    with namespace.order(old.people[0]) as tandem, pytest.raises(Exception, match="401"):
        place(tandem)


def test_a_merchant_s_key_is_rotated_by_commands_in_a_pod(namespace: Namespace) -> None:
    pod = namespace.servers("order")[0].metadata.name

    def keys(*arguments: str) -> str:
        return run(namespace.name, pod, "flask", "--app", "order", "keys", *arguments, container="web")

    def key(printed: str) -> str:
        (found,) = re.findall(r"tandem_[0-9A-Za-z]{46}", printed)
        return str(found)

    first = key(keys("create", "--merchant", "acme", "--scope", "orders:read", "--scope", "orders:write"))
    (number,) = re.findall(r"^\s*(\d+)\b.*acme", keys("list"), re.MULTILINE)
    second = key(keys("rotate", number, "--overlap", "1"))
    for valid in (first, second):
        with namespace.order(valid) as tandem:
            place(tandem)
    keys("revoke", number)

    def is_rejected() -> bool:
        try:
            with namespace.order(first) as tandem:
                place(tandem)
        except Exception as error:
            return "401" in str(error)
        return False

    wait_until("the old key is rejected", is_rejected, 30)
    with namespace.order(second) as tandem:
        place(tandem)


def test_a_drain_never_evicts_the_last_pod(namespace: Namespace, credentials: Credentials) -> None:
    def evict(pod: Any) -> int:
        metadata = client.V1ObjectMeta(name=pod.metadata.name, namespace=namespace.name)
        try:
            namespace.core.create_namespaced_pod_eviction(
                pod.metadata.name, namespace.name, client.V1Eviction(metadata=metadata)
            )
        except client.ApiException as error:
            return int(error.status)
        return 201

    policy: Any = client.PolicyV1Api()

    def budget() -> Any:
        return policy.read_namespaced_pod_disruption_budget("tandem-order", namespace.name).status

    with idle_pod(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        wait_until("the budget allows a disruption", lambda: budget().disruptions_allowed == 1, 60)
        first, last = namespace.servers("order")
        assert evict(first) == 201
        assert evict(last) == 429
        load.wait_answered()
        namespace.wait_rolled_out("order", 2)
        wait_until("the budget allows a disruption again", lambda: budget().disruptions_allowed == 1, 60)
        assert is_ready(namespace.core.read_namespaced_pod(last.metadata.name, namespace.name))
    load.assert_nothing_lost()


@pytest.mark.long
def test_the_autoscaler_follows_the_load(autoscaled: Namespace, credentials: Credentials) -> None:
    wait_until("one pod is enough", lambda: len(autoscaled.servers("order")) == 1, 180)
    with idle_pod(autoscaled) as pod, Load(autoscaled, pod, URL, credentials.people[0]) as load:
        wait_until("three pods are ready", lambda: len(list(filter(is_ready, autoscaled.servers("order")))) == 3, 180)
        load.wait_answered()
    wait_until("one pod is left", lambda: len(autoscaled.servers("order")) == 1, 240)
    load.assert_nothing_lost()


def test_the_commands_in_the_notes_work(autoscaled: Namespace, credentials: Credentials) -> None:
    notes = autoscaled.notes()
    assert "get hpa" in notes
    printed = run_commands(notes, removal=False)
    assert "HTTP 201" in printed
    with autoscaled.order(credentials.people[0]) as tandem:
        say(f"paid: {paid(tandem, place(tandem).id).id}")
