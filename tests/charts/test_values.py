"""The values: a wrong one is refused by its name, each one is explained, and none is without effect."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest
import yaml

from tests.charts.rendering import CHARTS, Case


@pytest.mark.parametrize(
    ("chart", "values", "named"),
    [
        ("tandem", {"ordr": {}}, "ordr"),
        ("tandem", {"order": {"replicas": 2}}, "replicas"),
        ("tandem", {"payment": {"postgresql": {"enable": False}}}, "enable"),
        ("order", {"payment": {"uri": "http://payment"}}, "uri"),
        ("order", {"web": {"resources": {"request": {}}}}, "request"),
        ("order", {"replicaCount": "two"}, "replicaCount"),
        ("order", {"logLevel": "chatty"}, "logLevel"),
        ("order", {"env": {"DATABASE_URL": "postgresql://a:b@c/d"}}, "DATABASE_URL"),
        ("payment", {"database": {"url": "mysql://db"}}, "url"),
        ("payment", {"credentials": {"merchants": []}}, "merchants"),
        ("payment", {"purge": {"cron": "@daily"}}, "cron"),
    ],
)
def test_a_wrong_value_is_refused_by_name(chart: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=named):
        Case(chart, values).files()


@pytest.mark.parametrize(
    ("chart", "values", "named"),
    [
        ("order", {"payment": {"url": ""}}, "payment.url"),
        ("order", {"credentials": {"existingSecret": ""}}, "credentials.existingSecret"),
        ("payment", {"order": {"url": ""}}, "order.url"),
        ("payment", {"postgresql": {"enabled": False}}, "database.url"),
    ],
)
def test_a_missing_value_is_asked_for_by_name(chart: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=named):
        Case(chart, values).files()


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_every_value_is_explained(chart: str) -> None:
    text = (CHARTS / chart / "values.yaml").read_text()
    lines = text.splitlines()

    def explained(node: yaml.MappingNode, below: bool) -> None:
        for key, value in node.value:
            above = lines[key.start_mark.line - 1].strip()
            told = below or above.startswith("#")
            if isinstance(value, yaml.MappingNode) and value.value:
                explained(value, told)
            else:
                assert told, f"{chart}/values.yaml:{key.start_mark.line + 1}: {key.value}"

    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    explained(root, below=False)


@pytest.mark.parametrize("chart", ["order", "payment"])
def test_every_value_is_in_the_schema_and_the_other_way_round(chart: str) -> None:
    with helm_python.Chart.load(CHARTS / chart) as loaded:
        schema, values = loaded.schema, loaded.values
    assert schema

    def keys(of: dict[str, Any]) -> set[str]:
        return set(of.get("properties", {}))

    assert keys(schema) - {"global", "chassis", "enabled"} == values.keys()
    for name, value in values.items():
        if of := keys(schema["properties"][name]):
            assert of == value.keys(), name


def test_image_and_settings_reach_every_role() -> None:
    values = {"image": {"repository": "example.com/order", "tag": "9"}, "logLevel": "debug"}
    images = {
        title: (container["image"], {one["name"]: one.get("value") for one in container["env"]}.get("LOG_LEVEL"))
        for title, container in Case("order", values, release="order").containers()
    }
    assert images.pop("StatefulSet/order-postgresql/postgresql") == ("postgres:18", None)
    assert images.pop("Pod/order-test/test") == ("example.com/order:9", None)
    assert images == dict.fromkeys(
        ["Deployment/order/web", "Deployment/order/relay", "Job/order-migrate/migrate", "CronJob/order-purge/purge"],
        ("example.com/order:9", "debug"),
    )


def test_the_service_s_own_settings_win_over_the_chart_s() -> None:
    case = Case(values={"order": {"env": {"PAYMENT_URL": "http://proxy:1"}}})
    (web, _) = case.one("Deployment", "tandem-order")["spec"]["template"]["spec"]["containers"]
    assert {"name": "PAYMENT_URL", "value": "http://proxy:1"} in web["env"]
