"""What the charts make: valid for Kubernetes old and new, safe to run anywhere, and wired together."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
from kubernetes_validate import utils

from tests.charts.rendering import EXTERNAL, MATRIX, Case

OLDEST, NEWEST = "1.30.0", utils.latest_version()
SERVICES = ("order", "payment")


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> None:
    utils.schema_contents = functools.cache(utils.schema_contents)


@pytest.fixture(params=list(MATRIX.values()), ids=list(MATRIX))
def case(request: pytest.FixtureRequest) -> Case:
    assert isinstance(request.param, Case)
    return request.param


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(case: Case, version: str) -> None:
    objects = case.objects()
    assert objects
    for one in objects:
        utils.validate(one, version, strict=True)


def test_names_are_unique_and_short_enough(case: Case) -> None:
    # https://kubernetes.io/docs/concepts/overview/working-with-objects/names/, and for StatefulSets and CronJobs
    # what is left of 63 characters after the suffixes of their pods and jobs.
    longest = {"StatefulSet": 52, "CronJob": 52, "Secret": 253, "ConfigMap": 253}
    names = [(one["kind"], one["metadata"]["name"]) for one in case.objects()]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert len(name) <= longest.get(kind, 63), (kind, name)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or kind == "Secret", (kind, name)


def test_pods_are_restricted(case: Case) -> None:
    for title, pod in case.pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, title
        assert spec["securityContext"]["runAsNonRoot"] is True, title
        assert spec["securityContext"]["runAsUser"] > 0, title
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, title
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), title
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}, title
    for title, container in case.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, title


def test_containers_ask_for_what_they_need_and_have_no_processor_limit(case: Case) -> None:
    for title, container in case.containers():
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys(), title
        assert resources["limits"].keys() == {"memory"}, title


def test_no_secret_is_in_the_environment(case: Case) -> None:
    for title, container in case.containers():
        for variable in container.get("env", []):
            assert not re.search(r"tdm_|whsec_|postgresql://|pa55word", variable.get("value", "")), title
            if re.search("PASSWORD|SECRETS|KEY|DATABASE", variable["name"]):
                assert variable["name"].endswith("_FILE"), title
                assert any(
                    variable["value"].startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"]
                ), title


def test_no_environment_variable_is_set_twice(case: Case) -> None:
    for title, container in case.containers():
        names = [variable["name"] for variable in container.get("env", [])]
        assert len(set(names)) == len(names), title


def test_services_reach_the_ports_of_pods(case: Case) -> None:
    pods = list(case.pods())
    for service in case.objects("Service"):
        (pod,) = (pod for _, pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items())
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_secrets_that_pods_mount_are_made_or_named_in_the_values(case: Case) -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in case.objects()}
    for title, pod in case.pods():
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", [volume]):
                if not (secret := source.get("secret")):
                    continue
                name = secret.get("name", secret.get("secretName"))
                if f'"{name}"' in json.dumps(case.values) or (name == "keys" and case.chart == "order"):
                    continue
                keys = {item["key"] for item in secret["items"]}
                assert keys <= made["Secret", name]["stringData"].keys(), (title, name)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
def test_more_than_one_pod_has_a_disruption_budget(service: str, replicas: int, budgets: int) -> None:
    case = Case(values={service: {"replicaCount": replicas}})
    assert len(case.objects("PodDisruptionBudget", service)) == budgets
    assert case.one("Deployment", f"tandem-{service}")["spec"]["replicas"] == replicas


def environment(case: Case, service: str, container: str = "web") -> dict[str, str]:
    """The variables of a container of a service's Deployment."""
    (deployment,) = case.objects("Deployment", service)
    (found,) = (one for one in deployment["spec"]["template"]["spec"]["containers"] if one["name"] == container)
    return {variable["name"]: variable["value"] for variable in found["env"]}


@pytest.mark.parametrize("release", ["tandem", "order", "payment", "shop.eu"])
def test_the_services_know_each_other_by_name(release: str) -> None:
    case = Case(release=release)
    ports = {
        service: next(
            f"http://{one['metadata']['name']}:{one['spec']['ports'][0]['port']}"
            for one in case.objects("Service", service)
            if one["spec"]["ports"][0]["name"] == "http"
        )
        for service in SERVICES
    }
    for container in ("web", "relay"):
        assert environment(case, "order", container)["PAYMENT_URL"] == ports["payment"]
        assert environment(case, "payment", container)["ORDER_URL"] == ports["order"]


def test_payment_lets_in_the_order_service_and_nobody_else() -> None:
    case = Case()
    policy = case.one("NetworkPolicy", "tandem-payment")
    (api,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "http"}])
    (peer,) = api["from"]
    allowed = peer["podSelector"]["matchLabels"].items()
    served = {title for title, pod in case.pods() if allowed <= pod["metadata"]["labels"].items()}
    assert "Deployment/tandem-order" in served
    assert not [title for title in served if "payment" in title]


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_lets_in_its_own_service_and_nobody_else(service: str) -> None:
    case = Case()
    policy = case.one("NetworkPolicy", f"tandem-{service}-postgresql")
    ((rule,), (peer,)) = policy["spec"]["ingress"], policy["spec"]["ingress"][0]["from"]
    assert rule["ports"] == [{"port": "postgresql"}]
    (components,) = peer["podSelector"]["matchExpressions"]
    served = {
        title
        for title, pod in case.pods()
        if peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        and pod["metadata"]["labels"]["app.kubernetes.io/component"] in components["values"]
    }
    assert served == {
        f"Deployment/tandem-{service}",
        f"Job/tandem-{service}-migrate",
        f"CronJob/tandem-{service}-purge",
    }
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"]


def test_order_has_the_key_that_payment_knows() -> None:
    secret = Case().one("Secret", "tandem-credentials")["stringData"]
    keys = {entry["key"]: entry for entry in json.loads(secret["api-keys"])}
    assert keys[secret["payment-api-key"]]["merchant"] == "tandem"
    assert "merchants:any" in keys[secret["payment-api-key"]]["scopes"]
    assert keys[secret["api-key"]]["merchant"] == "demo"
    assert "merchants:any" not in keys[secret["api-key"]]["scopes"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret["events-secrets"])


def test_generated_secrets_are_different_in_every_installation() -> None:
    def generated() -> list[Any]:
        return [value for one in Case().objects("Secret") for value in one["stringData"].values()]

    first, second = generated(), generated()
    assert not set(first) & set(second)
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("service", SERVICES)
def test_an_upgrade_migrates_before_anything_else_with_the_new_database(service: str) -> None:
    case = Case(values={service: EXTERNAL}, upgrade=True)
    job = case.one("Job", f"tandem-{service}-migrate-first")
    secret = case.one("Secret", f"tandem-{service}-migrate-first")
    assert {job["metadata"]["annotations"]["helm.sh/hook"], secret["metadata"]["annotations"]["helm.sh/hook"]} == {
        "pre-upgrade"
    }
    assert int(secret["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert secret["stringData"]["url"] == EXTERNAL["database"]["url"]
    assert "tandem-order-migrate-first" in json.dumps(job["spec"]).replace(service, "order")


@pytest.mark.parametrize("service", SERVICES)
def test_an_installation_migrates_beside_the_database_that_comes_with_it(service: str) -> None:
    job = Case().one("Job", f"tandem-{service}-migrate")
    assert "annotations" not in job["metadata"]


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_password_of_a_database_outlives_the_release(service: str) -> None:
    kept = {
        f"{one['kind']}/{one['metadata']['name']}"
        for one in Case().objects(service=service)
        if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {f"Secret/tandem-{service}-postgresql"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_rolling_update_takes_no_pod_away_before_the_new_one_is_ready(service: str) -> None:
    spec = Case().one("Deployment", f"tandem-{service}")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (web, _) = spec["template"]["spec"]["containers"]
    assert web["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert web["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    pause = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < pause < spec["template"]["spec"]["terminationGracePeriodSeconds"]


def test_prometheus_finds_the_metrics() -> None:
    for deployment in Case().objects("Deployment"):
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert annotations["prometheus.io/port"] == "9090"
        (web, _) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"name": "admin", "containerPort": 9090} in web["ports"]


def test_notes_name_what_there_is() -> None:
    case = Case(release="shop")
    notes = case.files()["tandem/templates/NOTES.txt"]
    assert "kubectl -n shop port-forward service/shop-order 8080" in notes
    assert "get secret shop-credentials" in notes
    assert "helm -n shop test shop" in notes
    assert case.one("Service", "shop-order")
    assert "api-key" in case.one("Secret", "shop-credentials")["stringData"]
