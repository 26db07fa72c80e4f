"""READ_DATABASE_URL: lists come from a replica, what was just written from the primary, and both without a replica."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ci.laptop.postgres import Postgres
from tests.support.applications import make
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.replication import Replicated, frozen, query
from tests.support.settings import KEY
from tests.support.stack import Stack


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Replicated]:
    with Replicated(tmp_path) as servers:
        yield servers


def on(server: Postgres, url: str) -> str:
    """Return a URL of both servers as one of this server alone."""
    return re.sub(r"@[^/]*/", f"@127.0.0.1:{server.port}/", url).partition("?")[0]


@pytest.fixture
def stack(servers: Replicated, tmp_path: Path) -> Iterator[Stack]:
    url = on(servers.standby, servers.databases.order_service)
    with Stack(servers.databases, tmp_path, order_settings={"READ_DATABASE_URL": url}) as stack:
        yield stack


def listed(stack: Stack) -> list[str]:
    return [order["id"] for order in stack.order.get("/v1/orders").json()["data"]]


def lag(stack: Stack, unit: str) -> float | None:
    text = requests.get(f"http://127.0.0.1:{stack.admin_ports[0]}/metrics", timeout=10).text
    found = re.search(rf"^replica_lag_{unit}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def test_lists_come_from_the_replica_and_what_was_just_written_from_the_primary(
    servers: Replicated, stack: Stack
) -> None:
    first = stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()["id"]
    eventually(lambda: listed(stack) == [first], "the replica has the order")
    eventually(lambda: lag(stack, "bytes") == 0, "the replica has everything")
    assert lag(stack, "seconds") == 0
    query(servers.standby, "SELECT pg_wal_replay_pause()")
    eventually(
        lambda: query(servers.standby, "SELECT pg_get_wal_replay_pause_state() AS it")[0]["it"] == "paused", "it pauses"
    )
    second = stack.order.post("/v1/orders", ORDER).json()["id"]  # the standby has it, but does not show it
    for path in ("", "/events", "/refunds"):
        assert stack.order.get(f"/v1/orders/{second}{path}").status_code == 200
    assert listed(stack) == [first]
    assert (lag(stack, "bytes") or 0) > 0
    assert (lag(stack, "seconds") or 0) > 0
    query(servers.standby, "SELECT pg_wal_replay_resume()")
    eventually(lambda: listed(stack) == [second, first], "the replica has both")


def test_lists_come_from_the_primary_while_the_replica_is_away(servers: Replicated, stack: Stack) -> None:
    first = stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()["id"]
    eventually(lambda: listed(stack) == [first], "the replica has the order")
    with frozen(servers.standby):
        began = time.monotonic()
        assert listed(stack) == [first]
        assert time.monotonic() - began < 10
        assert stack.order.get("/readyz").status_code == 200
    query(servers.primary, "ALTER SYSTEM RESET synchronous_standby_names")
    query(servers.primary, "SELECT pg_reload_conf()")
    servers.standby.stop()
    second = stack.order.post("/v1/orders", ORDER).json()["id"]
    assert listed(stack) == [second, first]
    assert lag(stack, "bytes") is None, "how far it is behind is not known"
    servers.standby.start()
    eventually(lambda: lag(stack, "bytes") == 0, "the replica has everything", 60)
    eventually(lambda: listed(stack) == [second, first], "lists go on")


def test_payments_of_one_order_come_from_the_primary(servers: Replicated, tmp_path: Path) -> None:
    with Stack(servers.databases, tmp_path) as stack:
        first = stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
        replica = on(servers.standby, servers.databases.payment_service)
        payment = make(servers.databases, "payment", READ_DATABASE_URL=replica).test_client()

        def found(path: str) -> int:
            answer = payment.get(path, headers={"Authorization": f"Bearer {KEY}"})
            assert answer.status_code == 200, answer.text
            return len(answer.get_json()["data"])

        eventually(lambda: (found("/v1/payments"), found("/v1/ledger/entries")) == (1, 2), "the replica has it")
        query(servers.standby, "SELECT pg_wal_replay_pause()")
        second = stack.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
        assert (first["status"], second["status"]) == ("paid", "paid")
        assert found(f"/v1/payments?order_id={second['id']}") == 1
        assert found(f"/v1/ledger/entries?payment_id={second['payment']['id']}") == 2
        assert (found("/v1/payments"), found("/v1/ledger/entries")) == (1, 2)
        query(servers.standby, "SELECT pg_wal_replay_resume()")
        eventually(lambda: (found("/v1/payments"), found("/v1/ledger/entries")) == (2, 4), "the replica has both")


def test_a_replica_that_was_never_there_is_no_reason_to_fail(databases: Databases) -> None:
    order = make(databases, "order", READ_DATABASE_URL="postgresql://order@127.0.0.1:1/order").test_client()
    for _ in range(2):
        answer = order.get("/v1/orders", headers={"Authorization": f"Bearer {KEY}"})
        assert (answer.status_code, answer.get_json()["data"]) == (200, [])
