"""The rendered objects fit together: services, ports, Secrets, migrations and updates."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.charts.rendering import EXTERNAL, Case, unhashed

SERVICES = ("order", "payment")


def test_containers_have_requests_and_a_memory_limit_but_no_cpu_limit(case: Case) -> None:
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


def test_services_target_ports_that_their_pods_have(case: Case) -> None:
    pods = list(case.pods())
    for service in case.objects("Service"):
        (pod,) = (pod for _, pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items())
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_mounted_secrets_are_created_or_named_in_the_values(case: Case) -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in case.objects()}
    for title, pod in case.pods():
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", [volume]):
                if not (secret := source.get("secret")):
                    continue
                name = secret.get("name", secret.get("secretName"))
                if f'"{name.removesuffix("-app")}"' in json.dumps(case.values) or (
                    name == "keys" and case.chart == "order"
                ):
                    continue
                keys = {item["key"] for item in secret["items"]}
                assert keys <= made["Secret", name]["stringData"].keys(), (title, name)


def environment(case: Case, service: str, container: str = "web") -> dict[str, str]:
    """Return the environment variables of a container of a service's Deployment."""
    (deployment,) = case.objects("Deployment", service)
    (found,) = (one for one in deployment["spec"]["template"]["spec"]["containers"] if one["name"] == container)
    return {variable["name"]: variable["value"] for variable in found["env"]}


@pytest.mark.parametrize("release", ["tandem", "order", "payment", "shop.eu"])
def test_the_services_are_configured_with_each_other_s_url(release: str) -> None:
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


def test_order_uses_a_key_that_payment_accepts() -> None:
    secret = Case().one("Secret", "tandem-credentials")["stringData"]
    keys = {entry["key"]: entry for entry in json.loads(secret["api-keys"])}
    assert keys[secret["payment-api-key"]]["merchant"] == "tandem"
    assert "merchants:any" in keys[secret["payment-api-key"]]["scopes"]
    assert keys[secret["api-key"]]["merchant"] == "demo"
    assert "merchants:any" not in keys[secret["api-key"]]["scopes"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret["events-secrets"])


def test_every_installation_generates_new_secrets() -> None:
    def generated() -> list[Any]:
        return [value for one in Case(cached=False).objects("Secret") for value in one["stringData"].values()]

    first, second = generated(), generated()
    assert not set(first) & set(second)
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("service", SERVICES)
def test_an_upgrade_first_migrates_with_the_new_database_url(service: str) -> None:
    case = Case(values={service: EXTERNAL}, upgrade=True)
    job = case.one("Job", f"tandem-{service}-migrate")
    secret = case.one("Secret", f"tandem-{service}-migrate")
    assert {job["metadata"]["annotations"]["helm.sh/hook"], secret["metadata"]["annotations"]["helm.sh/hook"]} == {
        "pre-upgrade"
    }
    assert int(secret["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert secret["stringData"] == {"url": EXTERNAL["database"]["url"]}
    assert "tandem-order-migrate" in json.dumps(job["spec"]).replace(service, "order")


@pytest.mark.parametrize("service", SERVICES)
def test_an_upgrade_first_migrates_with_both_new_urls(service: str) -> None:
    database = {"url": "postgresql://new:b@c/d", "migrationUrl": "postgresql://owner:e@c/d"}
    case = Case(values={service: EXTERNAL | {"database": database}}, upgrade=True)
    name = f"tandem-{service}-migrate"
    assert case.one("Secret", name)["stringData"] == {
        "url": database["url"],
        "migration-url": database["migrationUrl"],
    }
    (volume, *_) = case.one("Job", name)["spec"]["template"]["spec"]["volumes"]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert [(source["name"], source["items"][0]["key"]) for source in sources] == [
        (name, "url"),
        (name, "migration-url"),
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_an_upgrade_first_creates_the_account_and_the_policy_that_its_migration_needs(service: str) -> None:
    # The objects of the release change after the hook: its pod would wait for an account that does not exist yet, and
    # the policy in the cluster allows the database before this upgrade only.
    peer = {"ipBlock": {"cidr": "10.1.2.3/32"}}
    role = {"example.com/role": "shop"}
    values = EXTERNAL | {
        "serviceAccount": {"name": "money", "annotations": role},
        "networkPolicy": {"database": {"port": 6432, "to": [peer]}, "egress": [{"ports": [{"port": 15000}]}]},
    }
    case = Case(values={service: values}, upgrade=True)
    name = f"tandem-{service}-migrate"
    account, policy, job = (case.one(kind, name) for kind in ("ServiceAccount", "NetworkPolicy", "Job"))
    for one in (account, policy):
        annotations = one["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        assert int(annotations["helm.sh/hook-weight"]) < 0
    pod = job["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == name
    assert account["metadata"]["annotations"].items() > role.items()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    dns, *egress = policy["spec"]["egress"]
    assert {one["port"] for one in dns["ports"]} == {53}
    assert egress == [{"ports": [{"port": 6432}], "to": [peer]}, {"ports": [{"port": 15000}]}]


@pytest.mark.parametrize("service", SERVICES)
def test_a_migration_has_the_existing_account_and_no_policy_without_network_policies(service: str) -> None:
    values = EXTERNAL | {"serviceAccount": {"create": False, "name": "mine"}, "networkPolicy": {"enabled": False}}
    case = Case(values={service: values}, upgrade=True)
    name = f"tandem-{service}-migrate"
    assert case.one("Job", name)["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    hooks = [one["kind"] for one in case.objects() if unhashed(one) == name]
    assert sorted(hooks) == ["Job", "Secret"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_installation_migrates_together_with_its_embedded_database(service: str) -> None:
    job = Case().one("Job", f"tandem-{service}-migrate")
    assert not [name for name in job["metadata"]["annotations"] if name.startswith("helm.sh/hook")]


@pytest.mark.parametrize("service", SERVICES)
def test_uninstall_keeps_only_the_database_password(service: str) -> None:
    kept = {
        f"{one['kind']}/{one['metadata']['name']}"
        for one in Case().objects(service=service)
        if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {f"Secret/tandem-{service}-postgresql"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_rolling_update_removes_no_pod_before_the_new_one_is_ready(service: str) -> None:
    spec = Case().one("Deployment", f"tandem-{service}")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (web, _) = spec["template"]["spec"]["containers"]
    assert web["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert web["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    pause = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < pause < spec["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_large_number_of_a_values_file_has_no_exponent(service: str) -> None:
    # Helm reads the numbers of a values file as floats: 1000000 became 1e+06, which no service and no shell reads.
    large = 1000000.0
    web = {"keepAliveSeconds": large, "connectionsPerAddress": large}
    case = Case(values={service: {"web": web, "migration": {"wait": large}}})
    variables = environment(case, service)
    assert {variables["WEB_KEEP_ALIVE_SECONDS"], variables["WEB_CONNECTIONS_PER_ADDRESS"]} == {"1000000"}
    spec = case.one("Job", f"tandem-{service}-migrate")["spec"]["template"]["spec"]
    assert spec["containers"][0]["command"][-1] == "1000000"
    assert "-le 1000000 ]" in spec["initContainers"][0]["args"][0]
