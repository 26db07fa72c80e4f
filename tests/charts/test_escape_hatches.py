"""Values that adapt the charts to a cluster: names, annotations, containers, objects, security, addresses, probes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.charts.rendering import CHARTS, Case, from_file

SERVICES = ("order", "payment")


def pod(case: Case, title: str) -> dict[str, Any]:
    """Return the spec of a pod by its title."""
    spec: dict[str, Any] = dict(case.pods())[title]["spec"]
    return spec


def everywhere(values: dict[str, Any], chart: str = "tandem") -> Case:
    """Return the chart with these values for both services."""
    return Case(chart, {"order": values, "payment": values})


def test_common_annotations_are_on_every_object_beside_its_own() -> None:
    case = everywhere({"commonAnnotations": {"a.example/owner": "shop"}, "deploymentAnnotations": {"b.example": "1"}})
    for one in case.objects():
        assert one["metadata"]["annotations"]["a.example/owner"] == "shop", one["metadata"]["name"]
        assert (one["metadata"]["annotations"].get("b.example") == "1") is (one["kind"] == "Deployment")
    kept = case.one("Secret", "tandem-order-postgresql")["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"


def test_an_object_s_own_annotation_overrides_the_common_one() -> None:
    values = {"commonAnnotations": {"a": "common"}, "service": {"annotations": {"a": "own"}}}
    case = Case(values={"order": values})
    assert case.one("Service", "tandem-order")["metadata"]["annotations"] == {"a": "own"}
    assert case.one("ServiceAccount", "tandem-order")["metadata"]["annotations"] == {"a": "common"}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"fullnameOverride": "shop-orders"}, "shop-orders"),
        ({"nameOverride": "orders"}, "tandem-orders"),
    ],
)
def test_the_names_of_objects_can_be_chosen(values: dict[str, Any], name: str) -> None:
    case = Case("order", values)
    for one in case.objects():
        assert one["metadata"]["name"].startswith(name), one
        assert one["metadata"]["labels"]["app.kubernetes.io/name"] == "order"
    assert case.one("Deployment", name)
    secret = case.one("Secret", f"{name}-postgresql")["stringData"]
    assert f"@{name}-postgresql:5432/order" in secret["url"]


@pytest.mark.parametrize("service", SERVICES)
def test_containers_and_init_containers_are_added_to_the_deployment_only(service: str) -> None:
    sidecar = {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "args": ["{{ .Release.Name }}"]}
    case = Case(values={service: {"initContainers": [sidecar], "extraContainers": [{"name": "log", "image": "log:1"}]}})
    spec = pod(case, f"Deployment/tandem-{service}")
    assert spec["initContainers"] == [sidecar | {"args": ["tandem"]}]
    assert [one["name"] for one in spec["containers"]] == ["web", "relay", "log"]
    for title, other in case.pods():
        if title != f"Deployment/tandem-{service}":
            assert "proxy:1" not in str(other), title


def test_extra_objects_are_templates_in_the_release() -> None:
    objects = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-more", "labels": {"app.kubernetes.io/name": "order"}},
        },
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\n  labels: {app.kubernetes.io/name: order}\n",
    ]
    case = Case(values={"order": {"extraObjects": objects}})
    assert {"tandem-more", "text"} <= {one["metadata"]["name"] for one in case.objects("ConfigMap")}


def test_every_pod_can_get_another_security_context_or_none() -> None:
    values = {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "securityContext": {"readOnlyRootFilesystem": False},
        "postgresql": {"podSecurityContext": None, "securityContext": None},
    }
    case = everywhere(values)
    for title, one in case.pods():
        given = one["spec"].get("securityContext")
        if "StatefulSet" in title:
            assert given is None
            continue
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & given.keys()
        assert given["runAsNonRoot"] is True
    for title, container in case.containers():
        if "StatefulSet" in title:
            assert "securityContext" not in container
        else:
            assert container["securityContext"]["readOnlyRootFilesystem"] is False, title


def test_no_pod_chooses_a_user_on_openshift() -> None:
    case = from_file("tandem", "openshift")
    for title, one in case.pods():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & one["spec"]["securityContext"].keys(), title
    for policy in case.objects("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert {"port": 53, "protocol": "UDP"} not in rule["ports"]


def test_scheduling_values_reach_every_pod() -> None:
    case = everywhere({"priorityClassName": "high", "runtimeClassName": "gvisor"})
    for title, one in case.pods():
        assert (one["spec"]["priorityClassName"], one["spec"]["runtimeClassName"]) == ("high", "gvisor"), title


def test_host_aliases_reach_the_service_s_pods() -> None:
    aliases = [{"ip": "10.0.0.9", "hostnames": ["api.stripe.com"]}]
    case = everywhere({"hostAliases": aliases})
    for title, one in case.pods():
        assert one["spec"].get("hostAliases") == (None if "StatefulSet" in title else aliases), title


@pytest.mark.parametrize("service", SERVICES)
def test_probes_and_lifecycle_can_be_changed(service: str) -> None:
    values: dict[str, Any] = {
        "web": {
            "readinessProbe": {"periodSeconds": 7, "initialDelaySeconds": 3},
            "lifecycle": {
                "postStart": {"exec": {"command": ["true"]}},
                "preStop": {"exec": {"command": ["sleep", "9"]}},
            },
        },
        "relay": {"livenessProbe": {"timeoutSeconds": 9}, "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}},
        "postgresql": {"livenessProbe": {"periodSeconds": 60}},
    }
    case = Case(values={service: values})
    web, relay = pod(case, f"Deployment/tandem-{service}")["containers"]
    assert web["readinessProbe"] == {
        "httpGet": {"path": "/readyz", "port": "admin"},
        "periodSeconds": 7,
        "initialDelaySeconds": 3,
        "timeoutSeconds": 2,
    }
    assert web["lifecycle"] == values["web"]["lifecycle"]
    assert relay["livenessProbe"]["timeoutSeconds"] == 9
    assert relay["lifecycle"] == values["relay"]["lifecycle"]
    (database,) = pod(case, f"StatefulSet/tandem-{service}-postgresql")["containers"]
    assert database["livenessProbe"]["periodSeconds"] == 60


def test_the_database_s_liveness_probe_differs_from_its_readiness_probe() -> None:
    (database,) = pod(Case(), "StatefulSet/tandem-order-postgresql")["containers"]
    assert database["livenessProbe"]["exec"] != database["readinessProbe"]["exec"]
    assert database["livenessProbe"]["exec"] == database["startupProbe"]["exec"]


def test_the_database_has_a_headless_service_for_its_pod_and_one_for_clients() -> None:
    case = Case()
    headless = case.one("StatefulSet", "tandem-order-postgresql")["spec"]["serviceName"]
    assert case.one("Service", headless)["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in case.one("Service", "tandem-order-postgresql")["spec"]


def test_services_have_the_ip_families_of_the_values() -> None:
    case = everywhere({"service": {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}})
    for one in case.objects("Service"):
        assert one["spec"]["ipFamilyPolicy"] == "RequireDualStack"
        assert one["spec"]["ipFamilies"] == ["IPv6", "IPv4"]
    assert not [one for one in Case().objects("Service") if "ipFamilyPolicy" in one["spec"]]


def test_a_load_balancer_has_its_class_source_ranges_and_traffic_policy() -> None:
    service = {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "externalTrafficPolicy": "Local",
    }
    values = {"service": service, "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}
    assert service.items() <= Case(values={"order": values}).one("Service", "tandem-order")["spec"].items()


@pytest.mark.parametrize(
    ("database", "ports"),
    [
        ({"url": "postgresql://a:b@c/d"}, [5432]),
        ({"url": "postgresql://a:b@c:6432/d"}, [6432]),
        ({"url": "postgresql://a:p:9@c:6432,e:6433,f/d?sslmode=require"}, [6432, 6433, 5432]),
        ({"url": "postgresql://a:b@[fd00::1]:6432/d", "migrationUrl": "postgresql://o:b@c:5433/d"}, [6432, 5433]),
        ({"url": "postgresql://a:b@c/d", "readUrl": "postgresql://a:b@r:6434/d"}, [5432, 6434]),
        ({"url": "postgresql://a:b@/d?host=c&port=7000"}, [7000]),
        ({"existingSecret": "x"}, [5432]),
        ({"cloudNativePG": "x"}, [5432]),
    ],
)
def test_the_network_policy_takes_the_database_s_port_from_its_url(database: dict[str, Any], ports: list[int]) -> None:
    case = Case("order", {"postgresql": {"enabled": False}, "database": database}, release="order")
    rules = [[port["port"] for port in rule["ports"]] for rule in case.one("NetworkPolicy", "order")["spec"]["egress"]]
    assert ports in rules


def test_a_database_s_pods_may_have_another_port_than_its_url() -> None:
    values = {
        "postgresql": {"enabled": False},
        "database": {"url": "postgresql://a:b@db.data:6432/d"},
        "networkPolicy": {"database": {"port": 5432}},
    }
    spec = Case("order", values, release="order").one("NetworkPolicy", "order")["spec"]
    assert [{"port": 5432}] in [rule["ports"] for rule in spec["egress"]]


def test_dns_egress_has_the_ports_and_addresses_of_the_values() -> None:
    there = [{"ipBlock": {"cidr": "10.96.0.10/32"}}]
    case = everywhere({"networkPolicy": {"dns": {"ports": [53, 5353], "to": there}}})
    for policy in case.objects("NetworkPolicy"):
        if "egress" in policy["spec"]:
            rule = policy["spec"]["egress"][0]
            assert [port["port"] for port in rule["ports"]] == [53, 53, 5353, 5353]
            assert rule["to"] == there


def test_the_test_pod_has_a_policy_and_the_server_admits_it() -> None:
    case = from_file("tandem", "gateway")
    labels = dict(case.pods())["Pod/tandem-order-test"]["metadata"]["labels"]
    policy = next(
        one
        for one in case.objects("NetworkPolicy")
        if one["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component") == "test"
    )
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53, "http", 8081]


@pytest.mark.parametrize("service", SERVICES)
def test_the_purge_has_a_time_zone_and_a_deadline(service: str) -> None:
    spec = Case().one("CronJob", f"tandem-{service}-purge")["spec"]
    assert (spec["timeZone"], spec["startingDeadlineSeconds"]) == ("Etc/UTC", 3600)
    values = {service: {"purge": {"timeZone": "Europe/Berlin", "startingDeadlineSeconds": 600}}}
    spec = Case(values=values).one("CronJob", f"tandem-{service}-purge")["spec"]
    assert (spec["timeZone"], spec["startingDeadlineSeconds"]) == ("Europe/Berlin", 600)


def test_the_existing_service_account_is_used_by_every_pod_of_the_service() -> None:
    case = Case("order", {"serviceAccount": {"create": False, "name": "workload"}})
    assert case.objects("ServiceAccount") == []
    for title, one in case.pods():
        if "StatefulSet" not in title:
            assert one["spec"]["serviceAccountName"] == "workload", title


@pytest.mark.parametrize("service", SERVICES)
def test_a_proxy_and_a_ca_reach_both_containers_and_the_policy(service: str) -> None:
    values = {
        "proxy": {"url": "http://10.9.8.7:3128", "noProxy": ["login.shop.example"]},
        "trustedCA": {"configMap": "{{ .Release.Name }}-ca"},
    }
    case = Case(values={service: values})
    spec = pod(case, f"Deployment/tandem-{service}")
    for container in spec["containers"]:
        given = {one["name"]: one["value"] for one in container["env"]}
        assert given["HTTPS_PROXY"] == given["HTTP_PROXY"] == "http://10.9.8.7:3128"
        peer = "tandem-payment" if service == "order" else "tandem-order"
        assert {peer, ".svc", ".cluster.local", "login.shop.example"} <= set(given["NO_PROXY"].split(","))
        assert given.get("WEBHOOK_PROXY") == (given["HTTPS_PROXY"] if service == "order" else None)
        assert given["TRUSTED_CA_FILE"] == "/etc/tandem/trusted-ca.crt"
    sources = spec["volumes"][0]["projected"]["sources"]
    assert {"configMap": {"name": "tandem-ca", "items": [{"key": "ca.crt", "path": "trusted-ca.crt"}]}} in sources
    rules = case.one("NetworkPolicy", f"tandem-{service}")["spec"]["egress"]
    assert {"ports": [{"port": 3128}], "to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}]} in rules


def test_stripe_through_a_proxy_needs_no_other_egress() -> None:
    secret = {"secret": "stripe", "key": "key"}
    values = {
        "env": {"PROVIDER": "stripe"},
        "secretEnv": {"STRIPE_API_KEY": secret, "STRIPE_WEBHOOK_SECRETS": secret},
        "proxy": {"url": "http://proxy.example.com:3128"},
    }
    assert Case("payment", values).objects("Deployment")


# --- images


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_registry_the_images_are_those_that_were_loaded_into_the_nodes(service: str) -> None:
    for title, container in Case(values={}).containers():
        if f"-{service}" in title and "postgresql" not in title and container["name"] != "create-service-role":
            assert container["image"].startswith(f"localhost/tandem/{service}:"), title


def test_every_image_comes_from_the_registry_of_the_values() -> None:
    for title, container in Case(values={"global": {"imageRegistry": "registry.example.com/shop"}}).containers():
        assert container["image"].startswith("registry.example.com/shop/"), title


# --- Jobs that kubectl and Argo CD apply


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("changed", [{"image": {"tag": "9.9.9"}}, {"migration": {"wait": 9}}, {"logLevel": "debug"}])
def test_a_changed_migration_is_another_job(service: str, changed: dict[str, Any]) -> None:
    def name(values: dict[str, Any]) -> Any:
        (job,) = Case(values={service: values}).objects("Job", service)
        return job["metadata"]["name"]

    assert name({}) == name({"replicaCount": 2}) != name(changed)


def test_another_database_is_another_job() -> None:
    def name(url: str) -> Any:
        database = {"postgresql": {"enabled": False}, "database": {"url": url}}
        return Case("order", database).objects("Job")[0]["metadata"]["name"]

    assert name("postgresql://a:b@one/d") != name("postgresql://a:b@two/d")


def test_finished_migrations_are_deleted_and_argo_and_flux_do_not_make_them_again(case: Case) -> None:
    for job in case.objects("Job"):
        assert job["spec"]["ttlSecondsAfterFinished"] > 0
        annotations = job["metadata"]["annotations"]
        assert annotations["argocd.argoproj.io/hook"] == "Sync"
        assert annotations["helm.toolkit.fluxcd.io/driftDetection"] == "disabled"


def test_a_rendering_for_gitops_is_the_same_each_time() -> None:
    values = {
        "global": {"previewSecrets": False},
        "order": {"credentials": {"existingSecret": "keys"}, "postgresql": {"existingSecret": "order-database"}},
        "payment": {"credentials": {"existingSecret": "keys"}, "postgresql": {"existingSecret": "payment-database"}},
    }
    first, second = (Case(values=values, cached=False).files() for _ in range(2))
    assert first == second
    assert not [path for path, text in first.items() if "kind: Secret" in text]


def test_every_value_of_the_pod_s_security_is_documented() -> None:
    for chart in SERVICES:
        text = (CHARTS / chart / "README.md").read_text()
        assert "| `podSecurityContext` |" in text
        assert "| `postgresql.securityContext` |" in text
