"""Inputs that are easily mistaken for something else: text that looks like a number, nulls, names that are taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml
from kubernetes_validate import utils

from tests.support.charts import custom_resources
from tests.support.charts.kubernetes import NEWEST
from tests.support.charts.rendering import ALONE, CHARTS, Case, merged

EVERYTHING: dict[str, Any] = {  # values with which most templates of a service render something
    "replicaCount": 2,
    "postgresql": {"parameters": {"max_connections": 900}},
    "ingress": {"enabled": True, "hosts": ["shop.example.com"]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "networkPolicy": {"ingressNamespace": "gateways", "monitoringNamespace": "monitoring"},
    "metrics": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "tracing": {"endpoint": "http://collector.monitoring:4317"},
    "autoscaling": {"enabled": True},
}
PUBLISHER = {"publisher": {"enabled": True, "url": "nats://nats.messaging:4222"}}


def everything(service: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return `EVERYTHING` for a service, overridden by these values."""
    return merged(EVERYTHING | (PUBLISHER if service == "order" else {}), values)


def valid(case: Case) -> list[dict[str, Any]]:
    """Return the objects of a case, all of which the API server would take."""
    objects = case.objects()
    for one in objects:
        if (one["apiVersion"], one["kind"]) in custom_resources.SHAPES:
            custom_resources.check(one)
        else:
            utils.validate(one, NEWEST, strict=True)
    for title, container in case.containers():
        names = [variable["name"] for variable in container.get("env", [])]
        assert len(set(names)) == len(names), title
    return objects


# --- text that YAML would read as a number, a boolean or null


@pytest.mark.parametrize("text", ["true", "on", "null", "e1"])
def test_a_release_may_have_any_word_as_its_name(text: str) -> None:
    for one in valid(Case(release=text)):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == text


@pytest.mark.parametrize("text", ["123", "1e3", "0123", "null", "on"])
def test_a_namespace_may_look_like_a_number(text: str) -> None:
    peer = {"order": {"payment": {"namespace": text}, "networkPolicy": {"ingressNamespace": text}}}
    for one in valid(Case(values=peer, namespace=text)):
        assert one["metadata"]["namespace"] == text


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize("text", ["123", "1e3", "0123", "null", "on"])
def test_names_in_values_may_look_like_numbers(service: str, text: str) -> None:
    own = {"url": "http://other", "namespace": text}
    values: dict[str, Any] = {
        ("payment" if service == "order" else "order"): own,
        "image": {"tag": text},
        "credentials": {"existingSecret": text},
        "serviceAccount": {"name": text},
        "secretEnv": {"A": {"secret": text, "key": text}},
        "trustedCA": {"configMap": text, "key": text},
        "ingress": {"className": text},
        "priorityClassName": text,
        "commonLabels": {"text": text},
        "nodeSelector": {"text": text},
        "postgresql": {"existingSecret": text, "storageClass": text},
        "networkPolicy": {"ingressNamespace": text, "monitoringNamespace": text},
        "env": {"TEXT": text},
    }
    valid(Case(service, everything(service, values)))
    database = {"existingSecret": text, "existingSecretKey": text}
    database |= {f"{role}ExistingSecret{part}": text for role in ("migration", "read") for part in ("", "Key")}
    for given in (database, {"cloudNativePG": text}):
        valid(Case(service, merged(everything(service, values), {"postgresql": {"enabled": False}, "database": given})))


def test_a_release_whose_name_starts_with_a_digit_needs_other_names() -> None:
    with pytest.raises(helm_python.HelmRenderError, match="fullnameOverride: must be set, because .* is 123"):
        Case("order", release="123").files()
    for one in valid(Case("order", {"fullnameOverride": "orders"}, release="123")):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "123"


@pytest.mark.parametrize("registry", ["localhost:5000", "registry:5000/shop", "Registry.example.com/a/b_c", "ghcr.io"])
def test_a_registry_may_have_a_port_and_folders(registry: str) -> None:
    for title, container in Case(values={"global": {"imageRegistry": registry}}).containers():
        assert container["image"].startswith(f"{registry}/"), title


# --- names that are taken


@pytest.mark.parametrize(
    "values",
    [
        {"env": {"URL": "http://elsewhere", "API_KEY_FILE": "/elsewhere"}},
        {"extraEnv": [{"name": "EVENTS_STREAM", "value": "MINE"}, {"name": "EVENTS_SOURCE", "value": "/mine"}]},
        {"env": {"EVENTS_STREAM": "MINE"}},
        {
            "postgresql": {"enabled": False},
            "database": {"cloudNativePG": "orders"},
            "env": {"PGTARGETSESSIONATTRS": "any"},
        },
    ],
)
def test_a_variable_that_the_chart_sets_too_is_set_once(values: dict[str, Any]) -> None:
    case = Case("order", everything("order", values))
    assert valid(case)
    given = {
        variable["name"]: variable["value"]
        for title, container in case.containers()
        for variable in container["env"]
        if title.endswith(("order-publisher/publisher", "order/web"))
    }
    assert (
        given.items()
        >= {name: value for name, value in values.get("env", {}).items() if name not in ("URL", "API_KEY_FILE")}.items()
    )
    assert all(given[one["name"]] == one["value"] for one in values.get("extraEnv", []))


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize(
    "values",
    [
        {"env": {"DATABASE_POOLED": True}},
        {"extraEnv": [{"name": "DATABASE_POOLED", "value": "true"}]},
    ],
)
def test_every_role_knows_of_a_pooler(service: str, values: dict[str, Any]) -> None:
    case = Case(service, everything(service, values))
    for title, container in case.containers():
        if "DATABASE_URL_FILE" in [variable["name"] for variable in container["env"]]:
            assert {"name": "DATABASE_POOLED", "value": "true"} in container["env"], title


def test_pod_annotations_override_those_of_the_chart() -> None:
    mine = {"prometheus.io/scrape": "false", "kubectl.kubernetes.io/default-container": "relay", "note": "a: b\nc # d"}
    deployment = Case(values={"order": {"podAnnotations": mine}}).one("Deployment", "tandem-order")
    found = deployment["spec"]["template"]["metadata"]["annotations"]
    assert found == mine | {"prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}


def test_the_labels_of_one_object_override_the_common_ones() -> None:
    values = {
        "commonLabels": {"team": "shop", "release": "shop"},
        "podLabels": {"team": "orders"},
        "metrics": {
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboards": {"enabled": True, "labels": {"release": "grafana"}},
        },
    }
    case = Case("order", values, release="order")
    deployment = case.one("Deployment", "order")
    assert deployment["metadata"]["labels"]["team"] == "shop"
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "orders"
    for one in case.objects("PodMonitor") + case.objects("PrometheusRule"):
        assert one["metadata"]["labels"]["release"] == "prometheus"
    dashboards = [one for one in case.objects("ConfigMap") if "postgresql" not in one["metadata"]["name"]]
    assert {one["metadata"]["labels"]["release"] for one in dashboards} == {"grafana"}


# --- nulls, which remove the default of a value


def paths(of: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each value and of each section."""
    for name, value in of.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def with_null(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the values with null at the path."""
    null: Any = None
    for name in reversed(path):
        null = {name: null}
    return merged(values, null)


@pytest.mark.parametrize("service", ["order", "payment"])
def test_null_is_an_empty_value_or_an_error_that_names_the_value(service: str) -> None:
    given = set(paths(ALONE[service]))  # what the chart cannot do without
    empty: dict[str, Any] = {}
    required = 0
    for path in paths(yaml.safe_load((CHARTS / service / "values.yaml").read_text())):
        try:
            Case(service, with_null({}, path), cached=False).files()
        except helm_python.HelmValuesError as error:
            assert f"missing property '{path[-1]}'" in str(error), path  # noqa: PT017
            required += 1
        except helm_python.HelmRenderError as error:
            refused = "execution error at" in str(error) and path[0] in str(error)
            assert path in given or refused, (path, error)  # noqa: PT017
        else:
            empty = with_null(empty, path)
    assert required > 80
    assert valid(Case(service, empty))
    del empty["ingress"], empty["httpRoute"], empty["postgresql"], empty["web"]["resources"]
    del empty["networkPolicy"]["ingressNamespace"]
    if service == "order":
        del empty["publisher"]["url"]
    assert valid(Case(service, everything(service, empty)))
