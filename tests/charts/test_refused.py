"""Values that the API server refuses are refused by the charts, before a part of a release is applied."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.support.charts.rendering import Case

REFUSED: list[tuple[dict[str, Any], str]] = [  # the API server refuses each, after a part of the release is applied
    ({"replicaCount": 3_000_000_000}, "replicaCount"),
    ({"web": {"livenessProbe": {"successThreshold": 2}}}, "successThreshold"),
    ({"web": {"readinessProbe": {"terminationGracePeriodSeconds": 5}}}, "terminationGracePeriodSeconds"),
    ({"web": {"lifecycle": {"preStop": {"sleep": {"seconds": 5}, "exec": {"command": ["a"]}}}}}, "preStop"),
    ({"relay": {"lifecycle": {"preStop": {}}}}, "preStop"),
    ({"podSecurityContext": {"runAsUser": 3_000_000_000}}, "runAsUser"),
    ({"postgresql": {"storageClass": "A_b"}}, "storageClass"),
    ({"serviceAccount": {"name": "A_b"}}, "serviceAccount"),
    ({"priorityClassName": "A_b"}, "priorityClassName"),
    ({"runtimeClassName": "A_b"}, "runtimeClassName"),
    ({"commonAnnotations": {"a b": "c"}}, "'a b'"),
    ({"service": {"annotations": {"a/b/c": "d"}}}, "'a/b/c'"),
    ({"commonLabels": {"a..b/c": "d"}}, "'a..b/c'"),
    ({"updateStrategy": {"maxUnavailable": "200%"}}, "maxUnavailable"),
    ({"updateStrategy": {"maxUnavailable": "00%", "maxSurge": "0%"}}, "maxUnavailable"),
    ({"autoscaling": {"behavior": {"scaleUp": {"policies": []}}}}, "policies"),
    ({"ingress": {"path": "/a//b"}}, "path"),
    ({"ingress": {"path": "/a/.."}}, "path"),
    ({"ingress": {"className": "A_b"}}, "className"),
    ({"ingress": {"tls": [{"secretName": "A_b"}]}}, "secretName"),
    ({"httpRoute": {"path": "/a b"}}, "path"),
    ({"httpRoute": {"timeout": "999999s"}}, "timeout"),
    ({"httpRoute": {"parentRefs": [{"name": "a", "port": 70_000}]}}, "port"),
    ({"httpRoute": {"parentRefs": [{"name": "a", "namespace": "A_b"}]}}, "namespace"),
    ({"httpRoute": {"hostnames": [f"{n}.example.com" for n in range(17)]}}, "hostnames"),
    ({"metrics": {"podMonitor": {"interval": "1s1h"}}}, "interval"),
    ({"networkPolicy": {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}]}}, "from"),
    ({"networkPolicy": {"from": [{"ipBlock": {"cidr": "300.0.0.0/8"}}]}}, "cidr"),
    ({"networkPolicy": {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}}, "values"),
    (
        {"networkPolicy": {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]}},
        "operator",
    ),
    ({"jwt": {"jwksUrl": "https://idp.example.com:99999/"}}, "jwksUrl"),
    ({"proxy": {"url": "http://proxy:0"}}, "proxy"),
    ({"extraEnv": [{"name": "A", "valueFrom": {}}]}, "valueFrom"),
    ({"extraEnv": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a"}}}]}, "secretKeyRef"),
    ({"extraVolumes": [{"name": "A_b", "emptyDir": {}}]}, "extraVolumes"),
    ({"extraContainers": [{"name": "A", "image": "a"}]}, "extraContainers"),
    ({"dnsConfig": {"nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]}}, "nameservers"),
]

SCHEDULES = [
    "60 3 * * *",
    "0 24 * * *",
    "0 0 0 * *",
    "0 0 * 13 *",
    "0 0 * * 7",
    "*/0 * * * *",
    "a b c d e",
    "@foo",
    "@reboot",
]


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize(("values", "named"), REFUSED)
def test_what_the_api_server_refuses_is_rejected_by_name(service: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=named):
        Case(service, values).files()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_that_no_cronjob_takes_is_rejected(schedule: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="purge.schedule"):
        Case("order", {"purge": {"schedule": schedule}}).files()


@pytest.mark.parametrize(
    "schedule", ["*/5 0-6 1,15 JAN-Mar mon", "0  0 ? * ?", "59 23 31 12 6", "@daily", "@every 1h30m"]
)
def test_every_form_of_a_schedule_is_accepted(schedule: str) -> None:
    assert (
        Case("order", {"purge": {"schedule": schedule}}).one("CronJob", "tandem-order-purge")["spec"]["schedule"]
        == schedule
    )


@pytest.mark.parametrize(
    "url", ["postgresql://db:99999/shop", "postgresql://db:0/shop", "postgresql://db/shop?port=70000"]
)
def test_a_port_of_the_database_is_in_range(url: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="database: a URL has the port"):
        Case("order", {"postgresql": {"enabled": False}, "database": {"url": url}}).files()


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize("container", ["web", "relay", "job", "postgresql"])
@pytest.mark.parametrize(
    "resources",
    [
        {"requests": {"memory": "1Gi"}},  # the limit is the chart's own
        {"limits": {"memory": "32Mi"}},
        {"requests": {"cpu": 2}, "limits": {"cpu": "1900m"}},
        {"requests": {"memory": "1Gi"}, "limits": {"memory": 1e9}},
        {"requests": {"memory": "1E"}, "limits": {"memory": "1e3"}},
        {"requests": {"ephemeral-storage": "1.5Gi"}, "limits": {"ephemeral-storage": "1500Mi"}},
    ],
)
def test_a_request_above_its_limit_is_rejected(service: str, container: str, resources: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=f"{container}.resources.requests.*raise {container}"):
        Case(service, {container: {"resources": resources}}).files()


@pytest.mark.parametrize(
    "resources",
    [
        {"requests": {"memory": "384Mi"}},
        {"requests": {"memory": "0.375Gi"}},
        {"requests": {"cpu": 0.5}, "limits": {"cpu": "500m"}},
        {"requests": {"memory": 1_000_000}, "limits": {"memory": "1M"}},
        {"requests": {"cpu": "32", "memory": "1Gi"}, "limits": {"memory": None}},
    ],
)
def test_a_request_up_to_its_limit_is_accepted(resources: dict[str, Any]) -> None:
    found = Case("order", {"web": {"resources": resources}}).one("Deployment", "tandem-order")
    (web,) = (each for each in found["spec"]["template"]["spec"]["containers"] if each["name"] == "web")
    assert web["resources"]["requests"].items() >= resources["requests"].items()
