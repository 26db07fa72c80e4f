"""What is done to a release that is in use: orders are placed and read all the while, and not one request may fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.charts.rendering import merged
from tests.support.cluster.credentials import NAME, VALUES, Credentials, new_key, new_secret
from tests.support.cluster.logs import Logs
from tests.support.cluster.namespace import Namespace, is_ready, say, wait_until
from tests.support.cluster.notes import typed
from tests.support.cluster.orders import paid, place
from tests.support.cluster.pods import Load, bystander, run

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
                # A pod needs about 120 % for the load and 4 % when idle: at the default of 70 % it would be enough
                # for two pods, or three, as the machine has it.
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
def namespace(new_namespace: Callable[..., Namespace], credentials: Credentials) -> Namespace:
    made = new_namespace()
    made.keep_secret(NAME, credentials.content())
    made.install(TWO)
    return made


def test_a_rolling_restart_of_both_services_loses_no_request(namespace: Namespace, credentials: Credentials) -> None:
    with bystander(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        for service in SERVICES:
            namespace.restart(service)
            namespace.settled(service)
            load.goes_on()
    load.lost_nothing()


def test_scaling_up_and_down_loses_no_request(namespace: Namespace, credentials: Credentials) -> None:
    with bystander(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        for pods in (3, 1, 2):
            namespace.upgrade(merged(TWO, {service: {"replicaCount": pods} for service in SERVICES}))
            for service in SERVICES:
                namespace.settled(service, pods)
            load.goes_on()
    load.lost_nothing()


def test_every_secret_is_replaced_without_a_request_that_fails(namespace: Namespace, credentials: Credentials) -> None:
    old = Credentials(list(credentials.people), list(credentials.order), list(credentials.events))
    new = Credentials([new_key()], [new_key()], [new_secret()])
    steps = [
        # The new ones are known everywhere before anybody uses them ...
        Credentials(old.people + new.people, old.order + new.order, old.events + new.events),
        # ... and the old ones until nobody does.
        Credentials(new.people + old.people, new.order + old.order, new.events + old.events),
        new,
    ]
    with bystander(namespace) as pod, Logs(namespace) as logs, Load(namespace, pod, URL, old.people[0]) as load:
        for step in steps:
            namespace.keep_secret(NAME, step.content())
            for service in SERVICES:
                namespace.restart(service)
            for service in SERVICES:
                namespace.settled(service)
            load.use_key(step.people[0] if step is not steps[0] else new.people[0])
            load.goes_on()
    credentials.people, credentials.order, credentials.events = new.people, new.order, new.events
    load.lost_nothing()
    # Neither did the services refuse each other, which callers would not see.
    assert logs.requests("order", "/v1/payment-events")
    assert logs.requests("payment", "/v1/payments")
    assert [line for service in SERVICES for line in logs.requests(service) if line["status"] in (401, 403)] == []
    with namespace.order(old.people[0]) as tandem, pytest.raises(Exception, match="401"):
        place(tandem)


def test_a_merchant_s_key_is_replaced_by_commands_in_a_pod(namespace: Namespace) -> None:
    pod = namespace.servers("order")[0].metadata.name

    def flask(*words: str) -> str:
        return run(namespace.name, pod, "flask", "--app", "order", "keys", *words, container="web")

    def key(printed: str) -> str:
        (found,) = re.findall(r"tandem_[0-9A-Za-z]{46}", printed)
        return str(found)

    first = key(flask("create", "--merchant", "acme", "--scope", "orders:read", "--scope", "orders:write"))
    (number,) = re.findall(r"^\s*(\d+)\b.*acme", flask("list"), re.MULTILINE)
    second = key(flask("rotate", number, "--overlap", "1"))
    for good in (first, second):
        with namespace.order(good) as tandem:
            place(tandem)
    flask("revoke", number)

    def refused() -> bool:
        try:
            with namespace.order(first) as tandem:
                place(tandem)
        except Exception as error:
            return "401" in str(error)
        return False

    wait_until("the old key is refused", refused, 30)
    with namespace.order(second) as tandem:
        place(tandem)


def test_a_drain_never_takes_the_last_pod(namespace: Namespace, credentials: Credentials) -> None:
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

    with bystander(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        wait_until("the budget allows one", lambda: budget().disruptions_allowed == 1, 60)
        first, last = namespace.servers("order")
        assert evict(first) == 201
        assert evict(last) == 429
        load.goes_on()
        namespace.settled("order", 2)
        wait_until("the budget allows one again", lambda: budget().disruptions_allowed == 1, 60)
        assert is_ready(namespace.core.read_namespaced_pod(last.metadata.name, namespace.name))
    load.lost_nothing()


def test_pods_come_with_the_load_and_go_with_it(namespace: Namespace, credentials: Credentials) -> None:
    namespace.upgrade(SCALED)
    wait_until("one pod is enough", lambda: len(namespace.servers("order")) == 1, 180)
    with bystander(namespace) as pod, Load(namespace, pod, URL, credentials.people[0]) as load:
        wait_until("three pods are ready", lambda: len(list(filter(is_ready, namespace.servers("order")))) == 3, 180)
        load.goes_on()
    wait_until("one pod is left", lambda: len(namespace.servers("order")) == 1, 240)
    load.lost_nothing()


def test_the_commands_of_the_notes_work(namespace: Namespace, credentials: Credentials) -> None:
    notes = namespace.notes()
    assert "get hpa" in notes
    printed = typed(notes, removal=False)
    assert "HTTP 201" in printed
    with namespace.order(credentials.people[0]) as tandem:
        say(f"paid: {paid(tandem, place(tandem).id).id}")
