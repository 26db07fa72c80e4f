"""Two values that are valid each, and of which one would undo the other, or would silently do nothing."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.support.charts.rendering import EXTERNAL, Case

TWO = ("order", "payment")


def both(**values: Any) -> dict[str, Any]:
    """Return the same values for both services of the umbrella chart."""
    return dict.fromkeys(TWO, values)


def each(order: dict[str, Any], payment: dict[str, Any]) -> dict[str, Any]:
    """Return values of `database` for each service, with databases of one's own."""
    return {"order": EXTERNAL | {"database": order}, "payment": EXTERNAL | {"database": payment}}


ONE_DATABASE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("url", {"url": "postgres://a:b@c:5432/d?sslmode=require"}, {"url": "postgresql://e:f@c:5432/d"}),
    (
        "migrationUrl",
        {"url": "postgresql://a:b@c/order", "migrationUrl": "postgresql://o:b@c/d"},
        {"url": "postgresql://a:b@c/payment", "migrationUrl": "postgresql://o:b@c/d"},
    ),
    ("existingSecret", {"existingSecret": "x"}, {"existingSecret": "x"}),
    (
        "migrationExistingSecret",
        {"existingSecret": "x", "migrationExistingSecret": "z"},
        {"existingSecret": "y", "migrationExistingSecret": "{{ print `z` }}"},
    ),
    ("cloudNativePG", {"cloudNativePG": "x"}, {"cloudNativePG": "x"}),
]
"""A value that names the database, and the values of `database` of order and of payment."""

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("tandem", both(**EXTERNAL), "order.database.url and payment.database.url: name the same database"),
    *(
        ("tandem", each(*values), f"order.database.{name} and payment.database.{name}: name the same database")
        for name, *values in ONE_DATABASE
    ),
    ("tandem", both(postgresql={"existingSecret": "x"}), "order.postgresql.existingSecret and payment.postgresql"),
    (
        "tandem",
        {"payment": {"credentials": {"existingSecret": "mine"}}},
        "order.credentials.existingSecret: set it to mine.* nothing creates its Secret tandem-credentials",
    ),
    (
        "tandem",
        {"order": {"credentials": {"existingSecret": "mine"}}},
        "payment.credentials.existingSecret: set it to mine",
    ),
    ("payment", {"database": {"maxConnections": 50}}, "database.maxConnections: has no effect while postgresql"),
    ("order", {"networkPolicy": {"database": {"port": 6432}}}, "networkPolicy.database.port: has no effect"),
    (
        "payment",
        EXTERNAL | {"database": {"cloudNativePG": "x"}, "networkPolicy": {"database": {"to": [{"podSelector": {}}]}}},
        "networkPolicy.database.to: has no effect while database.cloudNativePG is set.*networkPolicy.egress",
    ),
    ("order", {"webhooks": {"egress": {"cidrs": ["192.0.2.0/24"]}}}, "webhooks.egress.cidrs: has no effect"),
    ("payment", {"provider": {"egress": {"cidrs": ["192.0.2.0/24"]}}}, "provider.egress.cidrs: has no effect"),
    ("order", {"publisher": {"credentials": {"existingSecret": "x"}}}, "publisher.credentials.existingSecret has no"),
    ("order", {"publisher": {"clientCertificate": {"existingSecret": "x"}}}, "publisher.clientCertificate"),
    (
        "payment",
        {"web": {"lifecycle": {"preStop": {"sleep": {"seconds": 30}}}}},
        "at least 55 seconds, which is web.lifecycle.preStop.sleep.seconds plus 25",
    ),
    (
        "order",
        {"secretEnv": {"IDEMPOTENCY_KEY_DAYS": {"secret": "s", "key": "k"}}},
        "secretEnv.IDEMPOTENCY_KEY_DAYS: set IDEMPOTENCY_KEY_DAYS in env",
    ),
    ("payment", {"env": {"IDEMPOTENCY_KEY_DAYS_FILE": "/a"}}, "IDEMPOTENCY_KEY_DAYS_FILE: set IDEMPOTENCY_KEY_DAYS"),
    ("order", {"extraEnv": [{"name": "DATABASE_POOLED_FILE", "value": "/a"}]}, "set DATABASE_POOLED in env"),
]


@pytest.mark.parametrize(("chart", "values", "named"), REFUSED)
def test_a_value_that_undoes_another_is_rejected_by_name(chart: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=f"(?s){named}"):
        Case(chart, values).files()


ACCEPTED: list[dict[str, Any]] = [
    each({"url": "postgresql://a:b@c/order"}, {"url": "postgresql://a:b@c/payment"}),
    each({"url": "postgresql://order:b@c"}, {"url": "postgresql://payment:b@c"}),  # the name is that of the role
    each({"url": "postgresql://c/?dbname=order"}, {"url": "postgresql://c/?dbname=payment"}),
    each(
        {"existingSecret": "x", "existingSecretKey": "order"},
        {"existingSecret": "x", "existingSecretKey": "payment"},
    ),
    both(credentials={"existingSecret": "mine"}),
    {  # two Secrets with the same keys
        "order": {"credentials": {"existingSecret": "tandem-credentials"}},
        "payment": {"credentials": {"existingSecret": "payment-keys"}},
    },
    {  # payment of another installation
        "order": {"credentials": {"existingSecret": "other"}, "payment": {"url": "http://payment.other:8081"}},
    },
    both(web={"lifecycle": {"preStop": {"sleep": {"seconds": 20}}}}),
    both(env={"IDEMPOTENCY_KEY_DAYS": 90}),
]


@pytest.mark.parametrize("values", ACCEPTED)
def test_values_that_belong_together_are_accepted(values: dict[str, Any]) -> None:
    assert Case("tandem", values).files()


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://otel-collector.monitoring:4318", "otel-collector.monitoring"),
        ("http://collector:4318", "collector"),
        ("http://collector.monitoring.svc.:4318", "collector.monitoring.svc"),
    ],
)
@pytest.mark.parametrize("service", TWO)
def test_a_proxy_is_not_between_the_pods_and_a_service_of_the_cluster(service: str, endpoint: str, host: str) -> None:
    values = {
        "proxy": {"url": "http://proxy.example.com:3128"},
        "tracing": {"endpoint": endpoint},
        "jwt": {"jwksUrl": "http://keycloak.auth/keys", "issuer": "i", "audience": "a"},
    }
    direct = no_proxy(service, values)
    assert {host, "keycloak.auth"} <= direct


@pytest.mark.parametrize("url", ["https://login.example/keys", "https://login.example.com/keys", "http://[fd00::1]/"])
def test_hosts_outside_of_the_cluster_are_reached_through_the_proxy(url: str) -> None:
    proxy = {"proxy": {"url": "http://proxy.example.com:3128"}}
    values = {"tracing": {"endpoint": url}, "jwt": {"jwksUrl": url, "issuer": "i", "audience": "a"}}
    assert no_proxy("order", proxy | values) == no_proxy("order", proxy)


def no_proxy(service: str, values: dict[str, Any]) -> set[str]:
    """Return the hosts that the containers of a service reach without the proxy."""
    spec = Case(values={service: values}).one("Deployment", f"tandem-{service}")["spec"]["template"]["spec"]
    (given,) = {
        one["value"] for container in spec["containers"] for one in container["env"] if one["name"] == "NO_PROXY"
    }
    assert given
    return set(given.split(","))
