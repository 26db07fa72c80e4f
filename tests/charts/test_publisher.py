"""The publisher in the order chart: off by default, with the broker's credentials in its own pods only."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.support.charts.rendering import Case, from_file

URL = "tls://publisher:pa55word@nats.messaging:4443, tls://10.1.2.3"


def publishing(**values: Any) -> Case:
    return Case("order", {"publisher": {"enabled": True, **values}}, release="shop")


def env(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_there_is_no_publisher_by_default() -> None:
    for case in (Case("order"), Case()):
        assert [one for one in case.objects() if "publisher" in one["metadata"]["name"]] == []


def test_the_url_is_in_a_secret_that_only_the_publisher_mounts() -> None:
    case = publishing(url=URL)
    assert case.one("Secret", "shop-order-publisher")["stringData"] == {"url": URL}
    for title, pod in case.pods():
        mounted = [
            source["secret"]["name"]
            for volume in pod["spec"]["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            if "secret" in source
        ]
        assert ("shop-order-publisher" in mounted) == (title == "Deployment/shop-order-publisher"), title
        if title == "Deployment/shop-order-publisher":
            assert "keys" not in mounted, "it needs no API keys"
    assert "pa55word" not in str([one for one in case.objects() if one["kind"] != "Secret"])


def test_the_publisher_runs_the_command_with_its_settings() -> None:
    case = publishing(url=URL, replicas=2, streamReplicas=3, stream="SHOP", source="/shop")
    deployment = case.one("Deployment", "shop-order-publisher")
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["flask", "--app", "order", "publisher"]
    settings = env(container)
    assert settings["EVENTS_URL_FILE"] == "/etc/tandem/events-url"
    assert (settings["EVENTS_STREAM"], settings["EVENTS_REPLICAS"], settings["EVENTS_SOURCE"]) == ("SHOP", "3", "/shop")
    assert settings["RELAY_ADMIN_PORT"] == "9090"
    assert "API_KEYS_FILE" not in settings


def test_credentials_and_the_client_certificate_are_files() -> None:
    (container,) = from_file("order", "publisher").one("Deployment", "order-publisher")["spec"]["template"]["spec"][
        "containers"
    ]
    settings = env(container)
    assert settings["EVENTS_CREDENTIALS_FILE"] == "/etc/tandem/events-credentials"
    assert settings["EVENTS_CLIENT_CERTIFICATE_FILE"] == "/etc/tandem/events-client.crt"
    assert settings["EVENTS_CLIENT_KEY_FILE"] == "/etc/tandem/events-client.key"
    assert settings["TRUSTED_CA_FILE"] == "/etc/tandem/trusted-ca.crt"
    assert len(from_file("order", "publisher").objects("PodMonitor")) == 2


def test_the_network_policy_admits_each_server_of_the_url_from_the_publishers_pods_only() -> None:
    policy = publishing(url=URL).one("NetworkPolicy", "shop-order-publisher")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "publisher"
    assert policy["policyTypes"] == ["Egress"]
    assert policy["egress"] == [
        {
            "ports": [{"port": 4443}],
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "messaging"}}}],
        },
        {"ports": [{"port": 4222}], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
    ]
    secret = publishing(existingSecret="nats", egress={"port": 4333}).one("NetworkPolicy", "shop-order-publisher")
    assert secret["spec"]["egress"] == [{"ports": [{"port": 4333}]}]


def test_kafkas_servers_are_admitted_too() -> None:
    url = "kafkas://me:pa55word@kafka-0.messaging:9093,10.1.2.3/shop.orders"
    case = publishing(url=url, kafka={"saslMechanism": "PLAIN", "partitions": 12})
    assert case.one("Secret", "shop-order-publisher")["stringData"] == {"url": url}
    (container,) = case.one("Deployment", "shop-order-publisher")["spec"]["template"]["spec"]["containers"]
    settings = env(container)
    assert (settings["EVENTS_SASL_MECHANISM"], settings["EVENTS_PARTITIONS"]) == ("PLAIN", "12")
    assert case.one("NetworkPolicy", "shop-order-publisher")["spec"]["egress"] == [
        {
            "ports": [{"port": 9093}],
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "messaging"}}}],
        },
        {"ports": [{"port": 9092}], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
    ]


def test_the_publishers_pods_reach_the_embedded_database() -> None:
    case = publishing(url=URL)
    (rule,) = case.one("NetworkPolicy", "shop-order-postgresql")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert "publisher" in peer["podSelector"]["matchExpressions"][0]["values"]


def test_the_publishers_connections_count() -> None:
    values = {"postgresql": {"parameters": {"max_connections": 87}}}
    Case("order", values).objects()
    with pytest.raises(helm_python.errors.HelmError, match="11 are for migration, purge, publisher and superusers"):
        Case("order", values | {"publisher": {"enabled": True, "url": URL, "replicas": 2}}).objects()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"enabled": True}, "publisher.url: must be"),
        ({"enabled": True, "url": URL, "existingSecret": "nats"}, "set only one of them"),
        ({"url": URL}, "publisher.enabled: is false, so publisher.url has no effect"),
        ({"enabled": True, "url": "http://nats:4222"}, "url"),
        ({"enabled": True, "url": "kafka://kafka:9092"}, "url"),
        ({"enabled": True, "url": "kafka://kafka:9092/t", "kafka": {"saslMechanism": "GSSAPI"}}, "saslMechanism"),
        ({"enabled": True, "url": URL, "replicas": 3}, "replicas"),
    ],
)
def test_contradictions_are_rejected(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.errors.HelmError, match=named):
        Case("order", {"publisher": values}).objects()
