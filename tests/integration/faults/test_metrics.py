"""The metrics of real processes contain every metric that the dashboards and alerts use."""

from __future__ import annotations

import json
import re
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ci.generate import alerts, dashboards
from ci.laptop.ports import free_port
from ci.laptop.postgres import Postgres
from tests.support import publishing
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.processes import new_databases
from tests.support.pair import ORDER
from tests.support.stack import Stack

SERVICES = ("order", "payment")
METRIC = re.compile(r'([a-z_]+)\{[^}]*tandem=~?"([^"]+)"')


def scrape(stack: Stack, service: str) -> dict[str, float]:
    port = dict(zip(SERVICES, stack.admin_ports, strict=True))[service]
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def wanted(service: str) -> set[str]:
    """Return the metrics of a service that its alerts and the dashboards name."""
    expressions = [rule["expr"] for group in alerts.groups(service)["groups"] for rule in group["rules"]]
    for path, text in dashboards.texts().items():
        if path.suffix == ".json":
            for panel in json.loads(text)["panels"]:
                expressions += [target["expr"] for target in panel.get("targets", [])]
    found = (METRIC.findall(re.sub(r"tandem:[\w:]+\{[^}]*\}", "", expression)) for expression in expressions)
    return {metric for pairs in found for metric, of in pairs if service in of.split("|")}


@pytest.fixture(scope="module")
def stack(server: Postgres, templates: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both services, with a URL for reads, without which nothing is known of a replica, and with a publisher."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        Stack(new_databases(server, templates), folder, reads=True) as stack,
        publishing.to_nats(stack, folder),
    ):
        yield stack


@pytest.fixture(scope="module")
def busy_stack(stack: Stack) -> Stack:
    """A stack that has placed, paid and refunded an order, so that every metric has a value."""
    hook = {"url": f"http://127.0.0.1:{free_port()}/hook"}
    assert stack.order.post("/v1/webhook-endpoints", hook).status_code == 201
    paid = stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert paid["status"] == "paid"
    refund = stack.order.post(f"/v1/orders/{paid['id']}/refunds", {"amount": 100}, Prefer="wait=10").json()
    assert refund["status"] == "succeeded"
    orphan = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok"}
    assert stack.payment.post("/v1/payments", orphan).status_code == 201
    return stack


@pytest.mark.parametrize("service", SERVICES)
def test_a_scrape_contains_every_metric_that_dashboards_and_alerts_name(busy_stack: Stack, service: str) -> None:
    def scraped() -> set[str]:
        mine = (name for name in scrape(busy_stack, service) if f'tandem="{service}"' in name)
        return wanted(service) & {name.partition("{")[0] for name in mine}

    assert len(wanted(service)) > 12
    eventually(lambda: scraped() == wanted(service), f"all of these are measured: {sorted(wanted(service))}")


def test_ledger_metrics_count_captures_and_refunds(busy_stack: Stack) -> None:
    def sums() -> dict[tuple[str, str], float]:
        seen = scrape(busy_stack, "payment")
        found = (
            re.fullmatch(r'ledger_minor_units_total\{account="(\w+)",currency="EUR",direction="(\w+)",.*\}', name)
            for name in seen
        )
        return {(match[1], match[2]): seen[match[0]] for match in found if match}

    before = sums()
    order: dict[str, Any] = busy_stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert order["status"] == "paid"
    busy_stack.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 300}, Prefer="wait=10")
    grown = {entry: value - before.get(entry, 0.0) for entry, value in sums().items()}
    assert grown["provider_clearing", "debit"] == grown["merchant_payable", "credit"] == 900
    assert grown["provider_clearing", "credit"] == grown["merchant_payable", "debit"] == 300


def test_the_beat_of_a_stopped_loop_stands_still_until_it_continues(busy_stack: Stack) -> None:
    beat = 'loop_beat_timestamp_seconds{loop="relay",tandem="order"}'
    relay = busy_stack.processes["order-relay"]
    relay.kill(signal.SIGSTOP)
    try:
        stopped = scrape(busy_stack, "order")[beat]
        busy_stack.order.post("/v1/orders", ORDER)
        eventually(
            lambda: scrape(busy_stack, "order")['outbox_depth{tandem="order",topic="payment.create"}'] >= 1,
            "an order waits",
        )
        assert scrape(busy_stack, "order")[beat] == stopped
    finally:
        relay.kill(signal.SIGCONT)
    eventually(lambda: scrape(busy_stack, "order")[beat] > stopped, "the loop has made another pass")


@pytest.mark.parametrize("service", SERVICES)
def test_connections_of_requests_are_told_from_those_of_loops(busy_stack: Stack, service: str) -> None:
    """By their names a relay sees whether requests are being served."""

    def applications() -> set[str]:
        names = (re.match(r'database_connections\{application="([^"]+)"', name) for name in scrape(busy_stack, service))
        return {name[1] for name in names if name}

    eventually(lambda: {service, f"{service}-relay"} <= applications(), "both have connections")


def test_the_breaker_is_open_while_the_other_service_is_down(busy_stack: Stack) -> None:
    def is_open() -> bool:
        return scrape(busy_stack, "order")['breaker_open{destination="payment",tandem="order"}'] == 1

    assert not is_open()
    busy_stack.held.add("payment-web")
    busy_stack.processes["payment-web"].kill()
    try:
        orders = [busy_stack.order.post("/v1/orders", ORDER, str(uuid.uuid4())).json()["id"] for _ in range(3)]
        eventually(is_open, "the breaker is open")
    finally:
        busy_stack.held.discard("payment-web")
    eventually(
        lambda: all(busy_stack.order.get(f"/v1/orders/{order}").json()["status"] == "paid" for order in orders),
        "the orders are paid",
        60,
    )
    eventually(lambda: not is_open(), "the breaker is closed")
