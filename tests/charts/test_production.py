"""What production needs from the charts: scaling, scheduling, ingress, monitoring and registries."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts.rendering import CHARTS, Case, from_file, merged

SERVICES = ("order", "payment")


def pod_of(case: Case, service: str) -> dict[str, Any]:
    """Return the pod template of a service's Deployment."""
    pod: dict[str, Any] = case.one("Deployment", f"tandem-{service}")["spec"]["template"]
    return pod


def variables(case: Case, service: str, container: int = 0) -> dict[str, str]:
    """Return the environment variables with a literal value of the web container (0) or the relay (1)."""
    found = pod_of(case, service)["spec"]["containers"][container]["env"]
    return {one["name"]: one["value"] for one in found if "value" in one}


# --- number of pods and scheduling


@pytest.mark.parametrize("service", SERVICES)
def test_with_an_autoscaler_the_deployment_sets_no_number_of_pods(service: str) -> None:
    case = from_file("tandem", "autoscaling")
    scaler = case.one("HorizontalPodAutoscaler", f"tandem-{service}")["spec"]
    deployment = case.one("Deployment", f"tandem-{service}")
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"tandem-{service}"}
    assert "replicas" not in deployment["spec"]
    container = scaler["metrics"][0]["containerResource"]["container"]
    (scaled,) = (one for one in deployment["spec"]["template"]["spec"]["containers"] if one["name"] == container)
    assert "cpu" in scaled["resources"]["requests"]  # the percentage refers to it


@pytest.mark.parametrize(
    ("values", "budgets"),
    [
        ({"replicaCount": 0}, 0),
        ({"replicaCount": 1}, 0),  # a budget would block every drain or none
        ({"replicaCount": 2}, 1),
        ({"replicaCount": 2, "podDisruptionBudget": {"enabled": False}}, 0),
        ({"replicaCount": 1, "autoscaling": {"enabled": True, "maxReplicas": 3}}, 1),
        ({"replicaCount": 5, "autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 1}}, 0),
    ],
)
@pytest.mark.parametrize("service", SERVICES)
def test_several_pods_have_a_disruption_budget_and_one_has_none(
    service: str, values: dict[str, Any], budgets: int
) -> None:
    case = Case(values={service: values})
    found = case.objects("PodDisruptionBudget", service)
    assert len(found) == budgets
    for budget in found:
        labels = pod_of(case, service)["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert budget["spec"]["maxUnavailable"] == 1


def test_pods_of_a_revision_spread_over_zones_and_nodes() -> None:
    for case, required in ((Case(), "ScheduleAnyway"), (from_file("tandem", "high-availability"), "DoNotSchedule")):
        pod = pod_of(case, "order")
        zone, host = pod["spec"]["topologySpreadConstraints"]
        assert (zone["topologyKey"], zone["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", required)
        assert host["topologyKey"] == "kubernetes.io/hostname"
        for one in (zone, host):
            assert one["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert one["matchLabelKeys"] == ["pod-template-hash"]


def test_a_spread_constraint_may_have_its_own_selector() -> None:
    own = {"topologyKey": "rack", "labelSelector": {"matchLabels": {"app.kubernetes.io/part-of": "tandem"}}}
    values = {"order": {"topologySpreadConstraints": [own | {"matchLabelKeys": []}]}}
    (found,) = pod_of(Case(values=values), "order")["spec"]["topologySpreadConstraints"]
    assert found["labelSelector"] == own["labelSelector"]


def test_scheduling_values_apply_to_every_pod() -> None:
    for title, pod in from_file("tandem", "high-availability").pods():
        assert pod["spec"]["priorityClassName"] == "business-critical", title
        assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}, title
        assert pod["spec"]["tolerations"][0]["key"] == "dedicated", title
        assert "nodeAffinity" in pod["spec"]["affinity"], title
        assert pod["metadata"]["labels"]["team"] == "shop", title


def test_labels_are_on_every_object_and_in_no_selector() -> None:
    case = from_file("tandem", "high-availability")
    for one in case.objects():
        assert one["metadata"]["labels"]["team"] == "shop", one["metadata"]["name"]
        assert "team" not in json.dumps(one.get("spec", {}).get("selector", {}))
    pod = pod_of(case, "order")
    assert pod["metadata"]["labels"]["tier"] == "backend"
    assert pod["metadata"]["annotations"]["example.com/contact"] == "shop"


# --- contents of a pod


def test_the_values_set_how_long_a_pod_may_take_to_stop() -> None:
    case = from_file("tandem", "high-availability")
    deployment = case.one("Deployment", "tandem-order")["spec"]
    pod = deployment["template"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "50%"}
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 15
    assert pod["terminationGracePeriodSeconds"] == 60


def test_every_pod_of_the_service_has_the_service_account_and_dns_config() -> None:
    for release, account in (("order", "default"), ("payment", "money")):
        case = from_file(release, "other-namespace")
        assert [one["metadata"]["name"] for one in case.objects("ServiceAccount")] == ["money"] * (account == "money")
        for title, pod in case.pods():
            if not title.startswith("StatefulSet"):
                assert pod["spec"]["serviceAccountName"] == account, title
                assert pod["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "2"}]}, title


def test_settings_with_values_of_their_own_reach_web_and_relay() -> None:
    case = from_file("tandem", "gateway")
    for container in (0, 1):
        assert {
            "JWT_JWKS_URL": "https://login.shop.example/.well-known/jwks.json",
            "JWT_ISSUER": "https://login.shop.example/",
            "JWT_AUDIENCE": "tandem",
            "RATE_LIMIT": "600/minute; 50/second",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector.monitoring:4318",
            "OTEL_EXPORTER_OTLP_HEADERS_FILE": "/etc/tandem/OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.05",
        }.items() <= variables(case, "order", container).items()
    networks = variables(from_file("tandem", "ingress-tls"), "order")["WEBHOOK_ALLOWED_NETWORKS"]
    assert networks == "10.30.0.0/16,fd00:30::/64"


def test_the_headers_for_a_collector_are_mounted_from_their_secret() -> None:
    case = from_file("tandem", "gateway")
    for service in ("order", "payment"):
        sources = [
            source["secret"]
            for volume in pod_of(case, service)["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
        ]
        (mine,) = (source for source in sources if source["name"] == "collector-headers")
        assert mine["items"] == [{"key": "headers", "path": "OTEL_EXPORTER_OTLP_HEADERS"}]


def test_unset_values_are_not_in_the_environment() -> None:
    names = set(variables(Case(), "order"))
    assert not [name for name in names if name.startswith(("JWT", "RATE", "OTEL", "WEBHOOK"))]


def test_the_most_specific_way_to_set_a_variable_wins() -> None:
    values: dict[str, Any] = {
        "rateLimit": "1/second",
        "env": {"RATE_LIMIT": "2/second", "LEASE_SECONDS": 1000000, "PAYMENT_URL": "http://proxy:1"},
    }
    assert {"RATE_LIMIT": "2/second", "LEASE_SECONDS": "1000000", "PAYMENT_URL": "http://proxy:1"}.items() <= variables(
        Case(values={"order": values}), "order"
    ).items()
    values["extraEnv"] = [{"name": "RATE_LIMIT", "value": "3/second"}]
    assert variables(Case(values={"order": values}), "order")["RATE_LIMIT"] == "3/second"


def test_extra_variables_and_volumes_reach_the_service_s_pods() -> None:
    for container in pod_of(from_file("tandem", "high-availability"), "order")["spec"]["containers"]:
        assert {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in container["env"]
        assert container["envFrom"] == [{"configMapRef": {"name": "shop-settings", "optional": True}}]
    case = from_file("tandem", "existing-secrets")
    mounting = {
        title
        for title, container in case.containers()
        if {"name": "ca", "mountPath": "/etc/database-ca", "readOnly": True} in container["volumeMounts"]
    }
    assert mounting == {
        "Deployment/tandem-order/web",
        "Deployment/tandem-order/relay",
        "Job/tandem-order-migrate/migrate",
        "CronJob/tandem-order-purge/purge",
    }


def test_the_global_registry_applies_to_images_without_one_of_their_own() -> None:
    images = {title: container["image"] for title, container in from_file("tandem", "private-registry").containers()}
    digest = "sha256:" + "0123456789abcdef" * 4
    mirror = "registry.shop.example:5000/mirror"
    assert images["Deployment/tandem-order/web"] == f"{mirror}/tandem/order@{digest}"
    assert images["CronJob/tandem-payment-purge/purge"] == "ghcr.io/shop/payment:0.1.0"
    assert images["StatefulSet/tandem-payment-postgresql/postgresql"] == f"{mirror}/postgres:18"
    assert "Pod/tandem-order-test/test" in images


def test_every_pod_has_each_image_pull_secret_once() -> None:
    for title, pod in from_file("tandem", "private-registry").pods():
        names = [one["name"] for one in pod["spec"]["imagePullSecrets"]]
        assert names == (["ghcr", "registry"] if "payment" in title else ["registry"]), title


def test_nothing_is_generated_if_every_secret_exists() -> None:
    case = from_file("tandem", "existing-secrets")
    assert case.objects("Secret") == []
    assert case.files() == replace(case, cached=False).files()
    keys = {
        title: item["key"]
        for title, pod in case.pods()
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
        if item["path"] == "database-url"
    }
    assert keys["Deployment/tandem-order"] == keys["Job/tandem-order-migrate"] == "dsn"
    assert keys["Deployment/tandem-payment"] == "service-url"


def test_a_cloudnativepg_cluster_is_used_by_its_name() -> None:
    case = from_file("tandem", "cloudnativepg")
    assert case.objects("StatefulSet") == []
    (source, *_) = pod_of(case, "payment")["spec"]["volumes"][0]["projected"]["sources"]
    assert source["secret"] == {"name": "payment-service-database", "items": [{"key": "url", "path": "database-url"}]}
    database = {"postgresql": {"enabled": False}, "database": {"cloudNativePG": "payment-db"}}
    (source, *_) = pod_of(Case(values={"payment": database}), "payment")["spec"]["volumes"][0]["projected"]["sources"]
    assert source["secret"] == {"name": "payment-db-app", "items": [{"key": "uri", "path": "database-url"}]}
    for container in pod_of(case, "payment")["spec"]["containers"]:
        assert {"name": "PGTARGETSESSIONATTRS", "value": "read-write"} in container["env"], container["name"]


def test_the_pods_reach_only_the_members_of_a_patroni_cluster() -> None:
    case = from_file("tandem", "patroni")
    members = [{"podSelector": {"matchLabels": {"application": "patroni", "cluster-name": "pg"}}}]
    for service in SERVICES:
        rules = case.one("NetworkPolicy", f"tandem-{service}")["spec"]["egress"]
        assert [rule["to"] for rule in rules if {"port": 5432} in rule["ports"]] == [members]
        assert case.objects("PodDisruptionBudget", service)


# --- ingress


def test_an_ingress_routes_to_the_api_s_port() -> None:
    case = from_file("tandem", "ingress-tls")
    ingress = case.one("Ingress", "tandem-order")
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}
    assert {rule["host"] for rule in ingress["spec"]["rules"]} == set(ingress["spec"]["tls"][0]["hosts"])
    backends = {
        (path["path"], path["pathType"], json.dumps(path["backend"]))
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    backend = {"service": {"name": "tandem-order", "port": {"name": "http"}}}
    assert backends == {("/", "Prefix", json.dumps(backend))}
    (rule,) = case.one("Ingress", "tandem-payment")["spec"]["rules"]
    assert rule["http"]["paths"][0]["path"] == "/v1/provider-events"


def test_an_http_route_routes_to_the_api_s_port() -> None:
    case = from_file("tandem", "gateway")
    spec = case.one("HTTPRoute", "tandem-order")["spec"]
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    assert spec["parentRefs"] == [gateway | {"name": "public", "namespace": "gateways", "sectionName": "https"}]
    (rule,) = spec["rules"]
    (port,) = (one["port"] for one in case.one("Service", "tandem-order")["spec"]["ports"] if one["name"] == "http")
    backend = {"group": "", "kind": "Service", "name": "tandem-order", "port": port, "weight": 1}
    assert rule["backendRefs"] == [backend]
    assert rule["timeouts"] == {"request": "30s"}


def test_an_http_route_can_have_a_parent_that_is_no_gateway() -> None:
    parent = {"group": "", "kind": "Service", "name": "payment"}
    route = {"enabled": True, "parentRefs": [parent]}
    spec = Case("order", {"httpRoute": route}).one("HTTPRoute", "tandem-order")["spec"]
    assert spec["parentRefs"] == [parent]


def test_a_node_port_service_has_the_configured_port() -> None:
    spec = from_file("tandem", "no-network-policies").one("Service", "tandem-order")["spec"]
    assert (spec["type"], spec["ports"][0]["nodePort"]) == ("NodePort", 30080)


# --- monitoring


def test_prometheus_finds_the_metrics_by_annotations() -> None:
    for service in SERVICES:
        pod = pod_of(Case(), service)
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert annotations["prometheus.io/port"] == "9090"
        assert {"name": "admin", "containerPort": 9090} in pod["spec"]["containers"][0]["ports"]


@pytest.mark.parametrize(
    ("name", "kind", "endpoints"),
    [("gateway", "ServiceMonitor", "endpoints"), ("no-network-policies", "PodMonitor", "podMetricsEndpoints")],
)
def test_the_operator_finds_the_metrics_by_a_monitor(name: str, kind: str, endpoints: str) -> None:
    case = from_file("tandem", name)
    for service in SERVICES:
        monitor = case.one(kind, f"tandem-{service}")["spec"]
        (endpoint,) = monitor[endpoints]
        assert (endpoint["port"], endpoint["path"]) == ("admin", "/metrics")
        for one in (pod_of(case, service), case.one("Service", f"tandem-{service}")):
            labels = one["metadata"]["labels"]
            assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_a_monitor_has_the_configured_labels_and_replaces_the_annotations() -> None:
    case = from_file("tandem", "gateway")
    assert case.one("ServiceMonitor", "tandem-order")["metadata"]["labels"]["release"] == "prometheus"
    assert "prometheus.io/scrape" not in pod_of(case, "order")["metadata"]["annotations"]


RULES = """\
groups:
  - name: tandem
    rules:
      - alert: Slow
        expr: histogram_quantile(0.99, sum by (le) (rate(http_seconds_bucket[5m]))) > 1
        for: 5m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.route }} takes {{ $value }} s"}
"""
DASHBOARD = '{"title": "Money {{currency}}", "panels": []}\n'


def test_the_charts_rules_and_dashboards_become_objects_unchanged() -> None:
    case = from_file("tandem", "gateway")
    for service in SERVICES:
        files = CHARTS / service / "files"
        rule = case.one("PrometheusRule", f"tandem-{service}-alerts")
        text = (files / "rules" / "alerts.yaml").read_text()
        assert rule["spec"] == yaml.safe_load(re.sub(r" *runbook_url: .*\n", "", text))
        for path in (files / "dashboards").iterdir():
            data = case.one("ConfigMap", f"tandem-{service}-{path.stem}")["data"]
            assert json.loads(data[f"{service}-{path.name}"]) == json.loads(path.read_text())


def test_alerts_link_to_the_runbook_in_the_values() -> None:
    given = from_file("tandem", "gateway")
    elsewhere = {"metrics": {"rules": {"runbookUrl": "https://wiki.example.com/tandem"}}}
    case = Case(given.chart, merged(given.values, {"order": elsewhere}), given.release)
    for service in SERVICES:
        groups = case.one("PrometheusRule", f"tandem-{service}-alerts")["spec"]["groups"]
        alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
        assert alerts
        for alert in alerts:
            link = f"https://wiki.example.com/tandem#{alert['alert'].lower()}" if service == "order" else None
            assert alert["annotations"].get("runbook_url") == link, "a link leads somewhere, or there is none"
            assert alert["annotations"]["description"]


def test_the_values_for_kube_prometheus_stack_match_the_charts_objects() -> None:
    monitoring = CHARTS.parent / "k8s" / "monitoring"
    case = Case(values=yaml.safe_load((monitoring / "tandem.yaml").read_text()))
    stack = yaml.safe_load((monitoring / "kube-prometheus-stack.yaml").read_text())
    assert "exemplar-storage" in stack["prometheus"]["prometheusSpec"]["enableFeatures"]
    sidecar = stack["grafana"]["sidecar"]["dashboards"]
    for service in SERVICES:
        assert case.one("ServiceMonitor", f"tandem-{service}")
        assert case.one("PrometheusRule", f"tandem-{service}-alerts")
        dashboard = case.one("ConfigMap", f"tandem-{service}-service")["metadata"]
        assert dashboard["labels"][sidecar["label"]] == sidecar["labelValue"]
        assert sidecar["folderAnnotation"] in dashboard["annotations"]


def test_added_rules_and_dashboards_become_objects(tmp_path: Path) -> None:
    files = {"rules/red_alerts.yaml": RULES, "rules/money.yaml": RULES, "dashboards/red.json": DASHBOARD}
    for chart in CHARTS.iterdir():
        shutil.copytree(chart, tmp_path / chart.name, symlinks=True)
    for service in SERVICES:
        for path, text in files.items():
            file = tmp_path / service / "files" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    given = from_file("tandem", "gateway")
    case = Case(given.chart, given.values, given.release, charts=tmp_path)
    for name in ("tandem-order-red-alerts", "tandem-order-money"):
        rule = case.one("PrometheusRule", name)
        assert rule["spec"] == yaml.safe_load(RULES)
        assert rule["metadata"]["labels"]["release"] == "prometheus"
    dashboard = case.one("ConfigMap", "tandem-order-red")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Tandem"}
    assert {name: json.loads(text) for name, text in dashboard["data"].items()} == {
        "order-red.json": json.loads(DASHBOARD)
    }
    assert len(case.objects("PrometheusRule", "payment")) == 3
    assert Case(charts=tmp_path).objects("PrometheusRule") == []
