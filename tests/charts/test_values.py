"""Wrong values are rejected with an error that names them, and every value is in the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from tests.support.charts.rendering import CHARTS, EXTERNAL, Case

WRONG: list[tuple[str, dict[str, Any], str]] = [
    # misspelled, from the umbrella's own values down to fields that are passed on to Kubernetes
    ("tandem", {"ordr": {}}, "ordr"),
    ("tandem", {"globl": {}}, "globl"),
    ("tandem", {"order": {"replicas": 2}}, "replicas"),
    ("tandem", {"order": {"postgresql": {"enbled": False}}}, "enbled"),
    ("tandem", {"order": {"enabled": False, "postgresql": {"enbled": False}}}, "enbled"),
    ("tandem", {"payment": {"postgresql": {"enable": False}}}, "enable"),
    ("tandem", {"payment": {"enabled": False, "autoscaling": {"maxReplica": 3}}}, "maxReplica"),
    ("tandem", {"order": {"chassis": {"image": "x"}}}, "image"),
    ("order", {"payment": {"uri": "http://payment"}}, "uri"),
    ("order", {"order": {"url": "http://order"}}, "order"),
    ("order", {"web": {"resources": {"request": {}}}}, "request"),
    ("order", {"image": {"name": "order"}}, "name"),
    ("order", {"webhooks": {"egress": {"enable": True}}}, "enable"),
    ("order", {"ingress": {"host": "a.example"}}, "host"),
    ("order", {"ingress": {"tls": [{"secret": "tls"}]}}, "secret"),
    ("order", {"httpRoute": {"parentRefs": [{"name": "public", "nameSpace": "gateways"}]}}, "nameSpace"),
    ("order", {"metrics": {"serviceMonitor": {"enable": True}}}, "enable"),
    ("order", {"autoscaling": {"behavior": {"scaleDown": {"stabilizationWindow": 1}}}}, "stabilizationWindow"),
    ("order", {"tolerations": [{"key": "a", "efect": "NoSchedule"}]}, "efect"),
    ("order", {"affinity": {"podAntiAfinity": {}}}, "podAntiAfinity"),
    ("order", {"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkw": 1}]}, "maxSkw"),
    ("order", {"networkPolicy": {"from": [{"ipblock": {"cidr": "10.0.0.0/8"}}]}}, "ipblock"),
    ("order", {"extraEnv": [{"name": "A", "valeFrom": {}}]}, "valeFrom"),
    ("order", {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "hostPath"),
    ("order", {"imagePullSecrets": [{"nme": "registry"}]}, "nme"),
    ("payment", {"credentials": {"merchants": []}}, "merchants"),
    ("payment", {"purge": {"cron": "@daily"}}, "cron"),
    ("payment", {"webhooks": {}}, "webhooks"),
    ("payment", {"secretEnv": {"STRIPE_API_KEY": {"secret": "stripe", "name": "key"}}}, "name"),
    # of the wrong type, or not one of the permitted values
    ("tandem", {"order": {"enabled": "yes"}}, "order.*enabled"),
    ("tandem", {"global": {"imageRegistry": 5}}, "imageRegistry"),
    ("tandem", {"payment": {"enabled": False, "replicaCount": "2"}}, "replicaCount"),
    ("order", {"replicaCount": "two"}, "replicaCount"),
    ("order", {"replicaCount": -1}, "replicaCount"),
    ("order", {"image": {"tag": 1.2}}, "tag"),
    ("order", {"image": {"digest": "sha256:abc"}}, "digest"),
    ("order", {"logLevel": "chatty"}, "logLevel"),
    ("order", {"web": {"resources": {"limits": {"memory": "lots"}}}}, "memory"),
    ("order", {"postgresql": {"enabled": "false"}}, "enabled"),
    ("order", {"postgresql": {"storage": "1 GB"}}, "storage"),
    ("order", {"podAnnotations": {"a": 1}}, "podAnnotations"),
    ("order", {"jwt": {"jwksUrl": "login.example/keys"}}, "jwksUrl"),
    ("order", {"webhooks": {"allowedNetworks": ["10.0.0.1"]}}, "allowedNetworks"),
    ("order", {"rateLimit": 100}, "rateLimit"),
    ("order", {"tracing": {"endpoint": "collector:4317"}}, "endpoint"),
    ("payment", {"tracing": {"sampleRatio": 5}}, "sampleRatio"),
    ("order", {"rateLimit": "100 a minute"}, "rateLimit"),
    ("order", {"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ("order", {"service": {"type": "Loadbalancer"}}, "type"),
    ("payment", {"database": {"url": "mysql://db"}}, "url"),
    ("order", {"extraContainers": [{"name": "a", "image": "b", "comand": ["c"]}]}, "comand"),
    ("order", {"initContainers": [{"image": "b"}]}, "name"),
    ("order", {"podSecurityContext": {"runAsUsr": 5}}, "runAsUsr"),
    ("order", {"postgresql": {"securityContext": {"readOnlyRootFileSystem": True}}}, "readOnlyRootFileSystem"),
    ("order", {"web": {"readinessProbe": {"period": 5}}}, "period"),
    ("order", {"web": {"lifecycle": {"preStopp": {}}}}, "preStopp"),
    ("order", {"service": {"ipFamilies": ["IPv5"]}}, "ipFamilies"),
    ("order", {"hostAliases": [{"ip": "10.0.0.1", "hosts": ["a"]}]}, "host"),
    ("order", {"extraObjects": [{"kind": "ConfigMap"}]}, "extraObjects"),
    ("order", {"fullnameOverride": "Shop"}, "fullnameOverride"),
    ("order", {"fullnameOverride": "x" * 42}, "fullnameOverride"),
    ("order", {"networkPolicy": {"dns": {"ports": []}}}, "dns"),
    ("order", {"purge": {"timeZone": "Europe Berlin"}}, "timeZone"),
    ("payment", {"purge": {"schedule": "every night"}}, "schedule"),
    # set by the chart, not by its users
    ("order", {"env": {"DATABASE_URL": "postgresql://a:b@c/d"}}, "DATABASE_URL"),
    ("order", {"extraEnv": [{"name": "PORT", "value": "80"}]}, "PORT|extraEnv"),
    ("order", {"commonLabels": {"app.kubernetes.io/name": "mine"}}, "app.kubernetes.io/name"),
    ("order", {"env": {"WEB_KEEP_ALIVE_SECONDS": 60}}, "WEB_KEEP_ALIVE_SECONDS"),
    ("order", {"env": {"OPERATOR_PORT": 9000}}, "OPERATOR_PORT"),
    ("payment", {"extraEnv": [{"name": "WEB_CONNECTIONS_PER_ADDRESS", "value": "9"}]}, "extraEnv"),
    ("order", {"secretEnv": {"EVENTS_URL": {"secret": "broker", "key": "url"}}}, "EVENTS_URL"),
    ("order", {"metrics": {"podMonitor": {"labels": {"app.kubernetes.io/part-of": "kps"}}}}, "part-of"),
    ("payment", {"metrics": {"rules": {"labels": {"app.kubernetes.io/name": "kps"}}}}, "app.kubernetes.io/name"),
    ("order", {"metrics": {"dashboards": {"labels": {"app.kubernetes.io/name": "kps"}}}}, "app.kubernetes.io/name"),
    # what the API server would refuse
    ("order", {"commonLabels": {"team": "orders and payments"}}, "team"),
    ("order", {"podLabels": {"team": "x" * 64}}, "team"),
    ("order", {"podLabels": {"the team": "orders"}}, "the team"),
    ("tandem", {"global": {"imageRegistry": "https://registry.example.com"}}, "imageRegistry"),
    ("tandem", {"global": {"imageRegistry": "acme"}}, "imageRegistry"),
    ("order", {"image": {"repository": "registry.example.com/order:1.0"}}, "repository"),
    ("order", {"ingress": {"hosts": ["https://shop.example.com"]}}, "hosts"),
    ("order", {"httpRoute": {"hostnames": ["shop.example.com:443"]}}, "hostnames"),
    ("order", {"networkPolicy": {"from": [{}]}}, "from"),
    ("order", {"networkPolicy": {"from": [{"ipBlock": {}}]}}, "cidr"),
    ("order", {"networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/64"}}]}}, "cidr"),
    ("order", {"service": {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv4"]}}, "ipFamilies"),
    ("order", {"web": {"resources": {"limits": {"memory": "1.2.3Gi"}}}}, "memory"),
    ("order", {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "extraVolumes"),
    ("order", {"extraVolumeMounts": [{"name": "big", "mountPath": "/tmp"}]}, "extraVolumeMounts"),
    ("order", {"extraContainers": [{"name": "web", "image": "b"}]}, "extraContainers"),
]

CONTRADICTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("order", {"payment": {"url": ""}}, "payment.url"),
    ("order", {"credentials": {"existingSecret": ""}}, "credentials.existingSecret"),
    ("payment", {"order": {"url": ""}}, "order.url"),
    ("payment", {"postgresql": {"enabled": False}}, "database.url"),
    ("payment", {"database": {"url": "postgresql://a:b@c/d"}}, "database.url.*postgresql.enabled"),
    ("order", EXTERNAL | {"database": {"url": "postgresql://c/d", "cloudNativePG": "x"}}, "database.url and .*PG"),
    ("order", {"database": {"migrationUrl": "postgresql://a:b@c/d"}}, "database.migrationUrl.*postgresql.enabled"),
    ("order", {"postgresql": {"enabled": False}, "database": {"migrationUrl": "postgresql://c/d"}}, "database.url or"),
    ("order", {"postgresql": {"enabled": False}, "database": {"migrationExistingSecret": "x"}}, "database.url or"),
    (
        "payment",
        EXTERNAL | {"database": {"url": "postgresql://c/d", "existingSecret": "x"}},
        "database.url and database.existingSecret: set only one",
    ),
    (
        "payment",
        EXTERNAL | {"database": {"existingSecret": "x", "migrationUrl": "postgresql://c/d"}},
        "database.migrationUrl: set database.url too",
    ),
    (
        "payment",
        EXTERNAL
        | {"database": {"url": "postgresql://c/d", "migrationUrl": "postgresql://c/d", "migrationExistingSecret": "x"}},
        "database.migrationUrl and database.migrationExistingSecret: set only one",
    ),
    (
        "payment",
        EXTERNAL | {"database": {"existingSecret": "x", "cloudNativePG": "y", "migrationExistingSecret": "z"}},
        "database.cloudNativePG and database.migrationExistingSecret: set only one",
    ),
    ("order", {"database": {"readExistingSecret": "x"}}, "database.readExistingSecret.*postgresql.enabled"),
    ("order", {"postgresql": {"enabled": False}, "database": {"readExistingSecret": "x"}}, "database.url or"),
    (
        "order",
        EXTERNAL | {"database": {"existingSecret": "x", "readUrl": "postgresql://c/d"}},
        "database.readUrl: set database.url too",
    ),
    (
        "order",
        EXTERNAL | {"database": {"url": "postgresql://c/d", "readUrl": "postgresql://c/d", "readExistingSecret": "x"}},
        "database.readUrl and database.readExistingSecret: set only one",
    ),
    ("order", {"ingress": {"enabled": True}}, "ingress.hosts"),
    ("tandem", {"payment": {"fullnameOverride": "pay"}}, "order.payment.url: set it to http://pay:8081"),
    ("tandem", {"order": {"nameOverride": "shop"}}, "payment.order.url: set it to http://tandem-shop:8080"),
    ("order", {"service": {"type": "NodePort"}}, "networkPolicy.from.*NodePort"),
    ("order", {"service": {"type": "LoadBalancer"}, "networkPolicy": {"from": [{"podSelector": {}}]}}, "ipBlock"),
    ("order", {"service": {"loadBalancerClass": "mine"}}, "service.loadBalancerClass: has no effect"),
    ("order", {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "service.loadBalancerSourceRanges"),
    ("order", {"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy"),
    ("order", {"service": {"ipFamilies": ["IPv6", "IPv4"]}}, "service.ipFamilyPolicy"),
    ("order", {"serviceAccount": {"create": False, "annotations": {"a": "b"}}}, "serviceAccount.annotations"),
    ("order", {"image": {"repository": "acme/order"}}, "image.repository: acme/order does not name a registry"),
    (
        "payment",
        {"autoscaling": {"enabled": True}},
        "max_connections: is 300, but 6 pods and 1 more .* 71 .* to 502, or lower autoscaling.maxReplicas",
    ),
    ("payment", {"replicaCount": 4}, "to 360, or lower replicaCount"),
    ("payment", {"replicaCount": 3, "updateStrategy": {"maxSurge": "50%"}}, "3 pods and 2 more"),
    ("payment", {"replicaCount": 3, "rateLimit": "9/second"}, "83 connections"),
    ("order", {"replicaCount": 5, "web": {"threads": 20}}, "69 connections"),
    ("order", {"postgresql": {"parameters": {"max_connections": 50}}}, "max_connections: is 50"),
    (
        "order",
        {
            "postgresql": {"enabled": False},
            "database": {"existingSecret": "x", "maxConnections": 80},
            "replicaCount": 2,
        },
        "database.maxConnections: is 80",
    ),
    ("payment", {"env": {"PROVIDER": "stripe"}}, "secretEnv.STRIPE_API_KEY.*\n.*WEBHOOK_SECRETS.*\n.*provider.egress"),
    (
        "payment",
        {"extraEnv": [{"name": "PROVIDER", "value": "stripe"}], "networkPolicy": {"enabled": False}},
        "secretEnv.STRIPE_API_KEY: must be set",
    ),
    (
        "payment",
        {"secretEnv": {"STRIPE_API_KEY": {"secret": "stripe", "key": "api-key"}}},
        "secretEnv.STRIPE_API_KEY: has no effect while env.PROVIDER is not stripe",
    ),
    ("tandem", {"global": {"previewSecrets": False}}, "credentials.existingSecret and postgresql.existingSecret"),
    ("order", {"global": {"previewSecrets": False}}, "postgresql.existingSecret .of the order chart"),
    ("order", {"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ("payment", {"ingress": {"enabled": True, "hosts": ["a.example"]}}, "networkPolicy.ingressNamespace"),
    ("order", {"service": {"nodePort": 30080}}, "service.nodePort"),
    ("order", {"service": {"type": "NodePort"}, "metrics": {"serviceMonitor": {"enabled": True}}}, "podMonitor"),
    ("order", {"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "scraped twice"),
    ("order", {"autoscaling": {"enabled": True, "minReplicas": 9}}, "autoscaling.minReplicas"),
    ("order", {"updateStrategy": {"maxSurge": "0%"}}, "updateStrategy.maxSurge"),
    ("order", {"jwt": {"jwksUrl": "https://login.example/keys", "issuer": "me"}}, "jwt.audience"),
    ("order", {"tracing": {"headers": {"existingSecret": "collector"}}}, "tracing.headers.existingSecret"),
    ("order", {"preStopSeconds": 30}, "terminationGracePeriodSeconds.* 55"),
    ("order", {"global": {"imageRegisty": "registry.example.com"}}, "global.imageRegisty"),
    ("tandem", {"global": {"imageRegisty": "registry.example.com"}}, "global.imageRegisty"),
    ("tandem", {"payment": {"ingress": {"enabled": True}}}, "ingress.hosts.*\n.*ingressNamespace"),
    ("order", {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "extraEnv: sets A twice"),
    ("tandem", {"order": {"enabled": False}}, "payment.order.url: set it, because order.enabled is false"),
    ("tandem", {"payment": {"enabled": False}}, "order.payment.url: set it, because payment.enabled is false"),
    (
        "tandem",
        {
            "order": {"fullnameOverride": "shop", "payment": {"url": "http://shop:8081"}},
            "payment": {"fullnameOverride": "shop", "order": {"url": "http://shop:8080"}},
        },
        "both services would be named shop",
    ),
    (
        "order",
        {"autoscaling": {"enabled": True}, "web": {"resources": {"requests": {"cpu": None}}}},
        "web.resources.requests.cpu",
    ),
    (
        "order",
        {"secretEnv": {"A": {"secret": "s", "key": "k"}}, "extraEnv": [{"name": "A", "value": "1"}]},
        "extraEnv: sets A, which secretEnv",
    ),
    (
        "payment",
        {"secretEnv": {"A": {"secret": "s", "key": "k"}}, "extraEnv": [{"name": "A_FILE", "value": "/a"}]},
        "extraEnv: sets A_FILE, and so does secretEnv.A",
    ),
    ("payment", {"secretEnv": {"A": {"secret": "s", "key": "k"}}, "env": {"A_FILE": "/a"}}, "env: sets A_FILE"),
]


@pytest.mark.parametrize(("chart", "values", "named"), WRONG)
def test_a_wrong_value_is_rejected_by_name(chart: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=named):
        Case(chart, values).files()


@pytest.mark.parametrize(("chart", "values", "named"), CONTRADICTIONS)
def test_missing_and_contradictory_values_are_rejected_by_name(chart: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=named):
        Case(chart, values).files()


def test_an_unknown_value_is_rejected_at_every_level() -> None:
    def closed_objects(
        schema: dict[str, Any], values: dict[str, Any], path: tuple[str, ...]
    ) -> Iterator[tuple[str, ...]]:
        if not schema.get("additionalProperties", True):
            yield path
        for name, value in values.items():
            if isinstance(value, dict) and name in schema.get("properties", {}):
                below = schema["properties"][name]
                yield from closed_objects(
                    definitions[below["$ref"].split("/")[-1]] if "$ref" in below else below, value, (*path, name)
                )

    with helm_python.Chart.load(CHARTS / "order") as loaded:
        schema, values = loaded.schema, loaded.values
    assert schema
    definitions = schema["$defs"]
    found = list(closed_objects(schema, values, ()))
    assert len(found) > 25
    for path in found:
        wrong: dict[str, Any] = {"misspelled": 1}
        for name in reversed(path):
            wrong = {name: wrong}
        for case in (Case("order", wrong), Case("tandem", {"order": wrong | {"enabled": False}})):
            with pytest.raises(helm_python.HelmValuesError, match="misspelled"):
                case.files()
    assert not [
        name
        for name, value in values.items()
        if isinstance(value, dict) and value and not any(path == (name,) for path in found) and name != "global"
    ]


def test_a_parent_chart_may_have_globals_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "shop" / "charts").mkdir(parents=True)
    (tmp_path / "shop" / "charts" / "tandem").symlink_to(CHARTS / "tandem")
    (tmp_path / "shop" / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\n")
    with helm_python.Chart.load(tmp_path / "shop") as chart:
        values = {"global": {"theirs": True, "imageRegistry": "registry.example.com", "previewSecrets": True}}
        files = chart.render(values, name="shop", namespace="shop")
    assert (
        "image: registry.example.com/tandem/order" in files["shop/charts/tandem/charts/order/templates/deployment.yaml"]
    )


@pytest.mark.parametrize("chart", ["order", "payment"])
def test_values_and_schema_have_the_same_keys(chart: str) -> None:
    with helm_python.Chart.load(CHARTS / chart) as loaded:
        schema, values = loaded.schema, loaded.values
    assert schema

    def keys(of: dict[str, Any]) -> set[str]:
        return set(of.get("properties", {}))

    assert keys(schema) - {"chassis", "enabled"} == values.keys()
    for name, value in values.items():
        if name not in ("affinity", "dnsConfig") and (of := keys(schema["properties"][name])):
            assert of == value.keys(), name


def test_image_and_settings_reach_every_role() -> None:
    values = {"image": {"repository": "example.com/order", "tag": "9"}, "logLevel": "debug"}
    images = {
        title: (container["image"], {one["name"]: one.get("value") for one in container["env"]}.get("LOG_LEVEL"))
        for title, container in Case("order", values, release="order").containers()
    }
    assert images.pop("StatefulSet/order-postgresql/postgresql") == ("postgres:18", None)
    assert images.pop("Job/order-migrate/create-service-role") == ("postgres:18", None)
    assert images.pop("Pod/order-test/test") == ("example.com/order:9", None)
    assert images == dict.fromkeys(
        ["Deployment/order/web", "Deployment/order/relay", "Job/order-migrate/migrate", "CronJob/order-purge/purge"],
        ("example.com/order:9", "debug"),
    )


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize(
    "values",
    [
        {"env": {"IDEMPOTENCY_KEY_DAYS": 90}},
        {"extraEnv": [{"name": "IDEMPOTENCY_KEY_DAYS", "value": "90"}, {"name": "POLL_SECONDS", "value": "2"}]},
    ],
)
def test_the_purge_keeps_keys_as_long_as_the_settings_say(service: str, values: dict[str, Any]) -> None:
    containers = dict(Case(service, values, release=service).containers())
    purge = {one["name"]: one.get("value") for one in containers[f"CronJob/{service}-purge/purge"]["env"]}
    assert purge["IDEMPOTENCY_KEY_DAYS"] == "90"
    assert "POLL_SECONDS" not in purge
