"""Pods meet Pod Security "restricted", and network policies permit only the connections that are needed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import pytest

from chassis.auth import stored_keys
from tests.support.charts.pod_security import violations
from tests.support.charts.rendering import CHARTS, Case, from_file

SERVICES = ("order", "payment")


def test_pods_are_restricted(case: Case) -> None:
    for title, pod in case.pods():
        assert violations(pod) == [], title


def test_pods_write_only_to_their_volumes_and_have_no_token(case: Case) -> None:
    for title, pod in case.pods():
        assert pod["spec"]["automountServiceAccountToken"] is False, title
        assert not {"serviceAccountToken"} & set(re.findall(r"\w+", str(pod["spec"]["volumes"]))), title
    for title, container in case.containers():
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, title
    for account in case.objects("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_a_pod_that_is_not_restricted_is_detected() -> None:
    _, pod = next(Case().pods())
    (first, *_) = pod["spec"]["containers"]
    changes: list[Callable[[], object]] = [
        lambda: first.update(securityContext={}),
        lambda: pod["spec"].update(hostNetwork=True),
        lambda: pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda: pod["spec"].pop("securityContext"),
    ]
    for change in changes:
        before = violations(pod)
        change()
        assert set(before) < set(violations(pod))


def test_payment_admits_only_the_order_service() -> None:
    case = Case()
    policy = case.one("NetworkPolicy", "tandem-payment")
    (api,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "http"}])
    (peer,) = api["from"]
    allowed = peer["podSelector"]["matchLabels"].items()
    served = {title for title, pod in case.pods() if allowed <= pod["metadata"]["labels"].items()}
    assert "Deployment/tandem-order" in served
    assert not [title for title in served if "payment" in title]


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_admits_only_its_own_service(service: str) -> None:
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


def policy(case: Case, service: str) -> dict[str, Any]:
    """Return the network policy of a service's pods."""
    name = service if case.release == service else f"{case.release}-{service}"
    spec: dict[str, Any] = case.one("NetworkPolicy", name)["spec"]
    return spec


def admitted(case: Case, service: str, port: str = "http") -> list[dict[str, Any]]:
    """Return the peers that may connect to a port of a service."""
    (rule,) = (rule for rule in policy(case, service)["ingress"] if rule["ports"] == [{"port": port}])
    peers: list[dict[str, Any]] = rule["from"]
    return peers


def egress(case: Case, service: str) -> dict[tuple[int, ...], list[dict[str, Any]]]:
    """Return the peers that a service may connect to, by ports. An empty list permits all peers."""
    return {
        tuple(port["port"] for port in rule["ports"]): rule.get("to", []) for rule in policy(case, service)["egress"]
    }


def in_namespace(name: str) -> dict[str, Any]:
    """Return a peer that stands for all pods of a namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_by_default_only_dns_queries_leave_the_release() -> None:
    for service, port in (("order", 8081), ("payment", 8080)):
        allowed = egress(Case(), service)
        assert allowed.keys() == {(53, 53), (port,), (5432,)}
        assert [peers for ports, peers in allowed.items() if not peers] == [allowed[53, 53]]


def test_gateway_and_prometheus_are_admitted_by_namespace() -> None:
    case = from_file("tandem", "gateway")
    own = {"app.kubernetes.io/name": "payment", "app.kubernetes.io/part-of": "tandem"}
    (payment, test, gateway) = admitted(case, "order")
    assert payment == {"podSelector": {"matchLabels": own}}
    assert (
        test["podSelector"]["matchLabels"].items() <= case.one("Pod", "tandem-order-test")["metadata"]["labels"].items()
    )
    assert gateway == in_namespace("gateways")
    assert admitted(case, "order", "admin") == admitted(case, "payment", "admin") == [in_namespace("monitoring")]
    assert egress(case, "order")[443,] == public_addresses()


def test_only_pods_of_the_release_namespace_reach_the_operators_page_and_prometheus_reads_metrics_anywhere() -> None:
    case = Case()
    web = dict(case.containers())["Deployment/tandem-order/web"]
    assert {"name": "operator", "containerPort": 9092} in web["ports"]
    assert {"name": "OPERATOR_PORT", "value": "9092"} in web["env"]
    assert admitted(case, "order", "operator") == [{"podSelector": {}}]
    assert admitted(case, "order", "admin") == admitted(case, "payment", "admin") == [{"namespaceSelector": {}}]
    assert not any(rule["ports"] == [{"port": "operator"}] for rule in policy(case, "payment")["ingress"])
    more = Case(values={"order": {"operator": {"from": [in_namespace("desk")]}}})
    assert admitted(more, "order", "operator") == [{"podSelector": {}}, in_namespace("desk")]


def test_only_the_ingress_controller_and_order_reach_payment() -> None:
    assert admitted(from_file("tandem", "ingress-tls"), "payment")[1:] == [in_namespace("ingress-nginx")]


@pytest.mark.parametrize("release", ["order", "payment"])
def test_the_other_service_may_be_in_another_namespace(release: str) -> None:
    case = from_file(release, "other-namespace")
    peer, port, namespace = ("payment", 8081, "money") if release == "order" else ("order", 8080, "sales")
    labels = {"app.kubernetes.io/name": peer, "app.kubernetes.io/part-of": "tandem"}
    there = {"podSelector": {"matchLabels": labels}} | in_namespace(namespace)
    assert admitted(case, release)[0] == there
    assert egress(case, release)[port,] == [there]


def test_webhooks_and_the_provider_are_reached_on_the_internet_but_not_in_private_networks() -> None:
    case = from_file("tandem", "ingress-tls")
    rules = [rule["to"] for rule in policy(case, "order")["egress"] if rule["ports"] == [{"port": 443}]]
    allowed, (world, world6) = rules
    assert [peer["ipBlock"]["cidr"] for peer in allowed] == ["10.30.0.0/16", "fd00:30::/64"]
    assert [world, world6] == public_addresses()
    assert egress(case, "payment")[443,] == [{"ipBlock": {"cidr": "198.51.100.0/24"}}]


def test_the_database_is_reached_where_the_values_say() -> None:
    external = from_file("tandem", "external-database")
    assert egress(external, "order")[6432,] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]
    assert egress(external, "payment")[5432,] == []
    operated = from_file("tandem", "cloudnativepg")
    assert egress(operated, "order")[5432,] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "order-db"}}}]


def test_the_trace_collector_is_reached_if_there_is_one() -> None:
    for service in SERVICES:
        assert egress(from_file("tandem", "gateway"), service)[4318,] == [in_namespace("monitoring")]
        public = Case(values={service: {"tracing": {"endpoint": "https://collector.example"}}})
        assert egress(public, service)[443,] == public_addresses()


def public_addresses() -> list[dict[str, Any]]:
    """Return the peers that stand for all public addresses, from the chart's own template."""
    case = Case(values={"payment": {"provider": {"egress": {"enabled": True, "ports": [8443]}}}})
    return egress(case, "payment")[8443,]


@pytest.mark.adversarial
@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),  # metadata of Alibaba Cloud
        ("169.254.169.254", False),  # metadata of most clouds
        ("169.254.170.2", False),  # credentials of containers at AWS
        ("168.63.129.16", False),  # Azure
        ("192.0.0.192", False),  # Oracle Cloud
        ("fd00:ec2::254", False),  # AWS
        ("fd20:ce::254", False),  # Google Cloud
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1 by NAT64
        ("2002:a00:1::", False),  # 10.0.0.1 by 6to4
        ("fe80::1", False),
        ("fc00::1", False),
        ("3fff::1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_public_addresses_contain_no_private_network_and_no_metadata_service(address: str, reached: bool) -> None:
    blocks = [peer["ipBlock"] for peer in public_addresses()]
    found = ipaddress.ip_address(address)

    def within(cidr: str) -> bool:
        return found in ipaddress.ip_network(cidr)

    assert reached is any(within(one["cidr"]) and not any(map(within, one["except"])) for one in blocks)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("http://otel-collector.monitoring:4318", in_namespace("monitoring")),
        ("http://otel-collector.monitoring.svc:4318/otlp", in_namespace("monitoring")),
        ("https://otel-collector.monitoring.svc.cluster.local:4318", in_namespace("monitoring")),
        ("https://otel-collector.monitoring.svc.cluster.local.:4318", in_namespace("monitoring")),
        ("http://otel-collector:4318", {"podSelector": {}}),
        ("http://10.1.2.3:4318", {"ipBlock": {"cidr": "10.1.2.3/32"}}),
        ("http://[fd00::7]:4318", {"ipBlock": {"cidr": "fd00::7/128"}}),
        ("https://example.com:4318", None),
        ("https://otlp.example.com:4318", None),
        ("http://otlp.example.com:4318", None),
    ],
)
def test_the_destination_of_an_url_follows_from_its_host(host: str, expected: dict[str, Any] | None) -> None:
    peers = public_addresses() if expected is None else [expected]
    for values in ({"tracing": {"endpoint": host}}, {"jwt": {"jwksUrl": host, "issuer": "a", "audience": "b"}}):
        assert egress(Case(values={"order": values}), "order")[4318,] == peers


@pytest.mark.parametrize("name", ["jwks", "tracing"])
def test_named_destinations_replace_the_derived_ones(name: str) -> None:
    private = [{"ipBlock": {"cidr": "169.254.10.0/24"}}]
    values = {
        "jwt": {"jwksUrl": "https://login.example.com:4318/keys", "issuer": "a", "audience": "b"},
        "tracing": {"endpoint": "https://otlp.example.com:4319"},
        "networkPolicy": {name: {"to": private}},
    }
    allowed = egress(Case(values={"payment": values}), "payment")
    assert allowed[(4318,) if name == "jwks" else (4319,)] == private
    assert allowed[(4319,) if name == "jwks" else (4318,)] == public_addresses()


# --- roles of the database


PRIMARY = ("database-url", "migration-database-url")


def database_files(case: Case, names: tuple[str, ...] = PRIMARY) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the database URLs that each pod mounts: the Secret and key by the name of the file."""
    return {
        title: {
            item["path"]: (source["secret"]["name"], item["key"])
            for volume in pod["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
            if item["path"] in names
        }
        for title, pod in case.pods()
    }


@pytest.mark.adversarial
@pytest.mark.parametrize(
    ("values", "owner", "serving"),
    [
        ("laptop", ("tandem-order-postgresql", "url"), ("tandem-order-postgresql", "service-url")),
        ("external-database", ("tandem-order-database", "migration-url"), ("tandem-order-database", "url")),
        ("existing-secrets", ("order-migration", "migration-url"), ("order-database", "dsn")),
        ("cloudnativepg", ("order-db-app", "uri"), ("order-service-database", "url")),
        ("patroni", ("order-database", "migration-url"), ("order-database", "url")),
    ],
)
def test_only_the_migration_has_the_url_of_the_owner_of_the_tables(
    values: str, owner: tuple[str, str], serving: tuple[str, str]
) -> None:
    case = from_file("tandem", values)
    files = {title: found for title, found in database_files(case).items() if "order" in title and found}
    assert files.pop("Job/tandem-order-migrate") == {"database-url": serving, "migration-database-url": owner}
    assert "Deployment/tandem-order" in files
    assert files == dict.fromkeys(files, {"database-url": serving})
    for title, container in case.containers():
        named = {one["name"] for one in container.get("env", [])}
        migrates = title.endswith("-migrate/migrate")
        assert ("MIGRATION_DATABASE_URL_FILE" in named) is migrates, title
        assert "postgres-password" not in str(container) or "postgresql" in title or "create-service-role" in title


@pytest.mark.parametrize(
    ("values", "secret"), [("external-database", "tandem-order-database"), ("patroni", "order-database")]
)
def test_web_and_relay_have_the_url_of_the_replica_and_jobs_do_not(values: str, secret: str) -> None:
    case = from_file("tandem", values)
    files = database_files(case, ("read-database-url",))
    mounted = {title: found for title, found in files.items() if "order" in title and found}
    assert mounted == {"Deployment/tandem-order": {"read-database-url": (secret, "read-url")}}
    variable = {"name": "READ_DATABASE_URL_FILE", "value": "/etc/tandem/read-database-url"}
    titles = {
        title for title, container in case.containers() if variable in container.get("env", []) and "order" in title
    }
    assert titles == {"Deployment/tandem-order/web", "Deployment/tandem-order/relay"}
    text = "\n".join(Case().files().values())
    assert "READ_DATABASE_URL" not in text


def test_the_password_in_the_url_of_a_replica_is_in_the_secret_only() -> None:
    case = from_file("tandem", "external-database")
    secret = case.one("Secret", "tandem-order-database")["stringData"]
    assert secret["read-url"] == "postgresql://order_service:pa55word@replica.shop.example:6432/order?sslmode=require"
    others = [one for one in case.objects() if one["kind"] != "Secret"]
    assert "replica.shop.example" not in str(others)


def test_one_url_still_serves_and_migrates() -> None:
    external = {"postgresql": {"enabled": False}}
    for database in ({"url": "postgresql://a:b@c/d"}, {"existingSecret": "one"}, {"cloudNativePG": "one"}):
        case = Case(values={"order": external | {"database": database}})
        files = {title: found for title, found in database_files(case).items() if "order" in title and found}
        assert {tuple(found) for found in files.values()} == {("database-url",)}
        ours = [container for title, container in case.containers() if "order" in title]
        assert "MIGRATION_DATABASE_URL_FILE" not in str(ours)


def test_the_role_that_serves_is_created_in_the_embedded_database_before_the_migration() -> None:
    _, pod = next(one for one in Case().pods() if one[0] == "Job/tandem-order-migrate")
    (created,) = pod["spec"]["initContainers"]
    (statements,) = (one["value"] for one in created["env"] if one["name"] == "CREATE_ROLE")
    assert 'CREATE ROLE "order_service" LOGIN' in statements
    (script,) = created["args"]
    # The container's user id has no name there, so each command has to say who connects.
    assert script.count("--username=postgres") == len(re.findall(r"\b(?:psql|pg_isready) -", script)) == 2
    secret = Case().one("Secret", "tandem-order-postgresql")["stringData"]
    assert secret["service-url"].startswith(f"postgresql://order_service:{secret['service-password']}@")
    assert len({secret["password"], secret["service-password"], secret["postgres-password"]}) == 3


def test_keys_that_the_chart_makes_have_the_documented_format() -> None:
    secret = Case().one("Secret", "tandem-credentials")["stringData"]
    assert stored_keys.is_well_formed(secret["api-key"])
    assert stored_keys.is_well_formed(secret["payment-api-key"])


def test_network_policies_can_be_disabled() -> None:
    assert from_file("tandem", "no-network-policies").objects("NetworkPolicy") == []


def test_a_node_port_service_has_no_metrics_port() -> None:
    case = from_file("tandem", "no-network-policies")
    assert [port["name"] for port in case.one("Service", "tandem-order")["spec"]["ports"]] == ["http"]
    assert {port["name"] for port in case.one("Service", "tandem-payment")["spec"]["ports"]} == {"http", "admin"}


def test_every_values_file_is_rendered() -> None:
    assert len(list((CHARTS / "tandem" / "ci").glob("*-values.yaml"))) >= 10
    assert not [path for path in CHARTS.glob("*/ci/*") if not path.name.endswith("-values.yaml")]
