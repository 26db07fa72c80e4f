"""Two servers in synchronous replication: the primary freezes, is lost or is demoted, or its standby is away."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.link import Link
from tests.support.pair import ORDER, Client
from tests.support.replication import Replicated, follow, frozen, promote, query
from tests.support.stack import Stack

LONGEST = 15.0
"""Seconds within which each caller has an answer, whatever the database does."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Replicated]:
    with Replicated(tmp_path) as servers:
        yield servers


@pytest.fixture
def stack(servers: Replicated, tmp_path: Path) -> Iterator[Stack]:
    with Stack(servers.databases, tmp_path) as stack:
        yield stack


def post(stack: Stack, key: str) -> requests.Response:
    """Place an order under a key. The answer comes in time."""
    return in_time(lambda: stack.order.post("/v1/orders", ORDER, key=key))


def get(client: Client, path: str) -> requests.Response:
    return in_time(lambda: client.get(path))


def in_time(call: object, seconds: float = LONGEST) -> requests.Response:
    began = time.monotonic()
    answer: requests.Response = call()  # type: ignore[operator]
    assert time.monotonic() - began < seconds
    return answer


def placed(stack: Stack, key: str, what: str, seconds: float = 30) -> requests.Response:
    """Place an order under a key until that is answered with 201. Every answer comes in time."""
    answers: list[requests.Response] = []

    def is_answered() -> bool:
        answers.append(post(stack, key))
        return answers[-1].status_code == 201

    eventually(is_answered, what, seconds)
    return answers[-1]


def assert_each_is_paid_once(stack: Stack, orders: list[str]) -> None:
    for order_id in orders:
        eventually(
            lambda order_id=order_id: stack.order.get(f"/v1/orders/{order_id}").json().get("status") == "paid",  # type: ignore[misc]
            "an acknowledged order is there, and is paid",
            60,
        )
        assert len(stack.databases.charges(order_id)) == 1


def test_services_find_the_promoted_standby_while_the_old_primary_is_frozen(servers: Replicated, stack: Stack) -> None:
    orders = [post(stack, f"before-{number}").json()["id"] for number in range(5)]
    with frozen(servers.primary):
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(post, stack, f"frozen-{number}") for number in range(4)]
            answers += [pool.submit(get, client, "/readyz") for client in (stack.order, stack.payment)]
            answers += [pool.submit(get, stack.order, f"/v1/orders/{orders[0]}")]
            assert {answer.result().status_code for answer in answers} == {503}
        promote(servers.standby)
        for client in (stack.order, stack.payment):
            eventually(lambda client=client: get(client, "/readyz").status_code == 200, "it is ready again", 30)  # type: ignore[misc]
        for number in range(4):
            orders.append(placed(stack, f"frozen-{number}", "the retry is answered").json()["id"])
        assert_each_is_paid_once(stack, orders)
    assert {process.starts for process in stack.processes.values()} == {1}, "no process had to be restarted"


def test_a_commit_that_waits_for_its_standby_is_given_up_by_its_caller_but_not_canceled(
    servers: Replicated, stack: Stack
) -> None:
    first = post(stack, "before")
    with frozen(servers.standby):
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(post, stack, f"waits-{number}") for number in range(4)]
            while not all(answer.done() for answer in answers):
                for path in (first.headers["Location"], "/readyz", "/livez"):
                    assert in_time(lambda path=path: stack.order.get(path), 2).status_code == 200
            assert {answer.result().status_code for answer in answers} == {503}
        waiting = query(servers.primary, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        assert waiting[0]["count"] >= 4
        assert len(stack.order.get("/v1/orders").json()["data"]) == 1, "what no standby has is not shown"
    orders = [first.json()["id"]]
    for number in range(4):
        again = placed(stack, f"waits-{number}", "the retry is answered", 30)
        assert again.headers["Idempotency-Replayed"] == "true"
        orders.append(again.json()["id"])
    assert_each_is_paid_once(stack, orders)


def test_each_order_that_was_acknowledged_survives_the_loss_of_the_primary(servers: Replicated, stack: Stack) -> None:
    orders = [post(stack, "before").json()["id"]]
    servers.standby.stop()
    assert post(stack, "waits").status_code == 503
    servers.primary.stop()
    servers.primary.start()
    eventually(lambda: len(stack.order.get("/v1/orders").json().get("data", [])) == 2, "the row can be seen", 30)
    for _ in range(2):
        # 409 idempotency-key-in-use: an earlier attempt waits for the standby, too.
        assert post(stack, "waits").status_code in (503, 409)
    servers.standby.start()
    again = placed(stack, "waits", "the standby has it: it is answered", 60)
    orders.append(again.json()["id"])
    servers.primary.stop(signal.SIGKILL)
    shutil.rmtree(servers.primary.data)
    promote(servers.standby)
    later = placed(stack, "afterwards", "orders are taken again", 30)
    assert_each_is_paid_once(stack, [*orders, later.json()["id"]])


def test_writes_follow_a_name_that_leads_to_the_new_primary(servers: Replicated, tmp_path: Path) -> None:
    with Link(servers.primary.port) as name:
        ports = f"127.0.0.1:{servers.primary.port},127.0.0.1:{servers.standby.port}"
        named = [
            url.replace(ports, f"127.0.0.1:{name.port}").partition("?")[0]
            for url in (servers.databases.order_service, servers.databases.payment_service)
        ]
        databases = Databases(servers.databases.order, servers.databases.payment, *named)
        with Stack(databases, tmp_path) as stack:
            first = post(stack, "before")
            assert first.status_code == 201
            servers.primary.stop()
            promote(servers.standby)
            follow(servers.primary, servers.standby)
            eventually(lambda: get(stack.order, first.headers["Location"]).status_code == 200, "reads go on", 30)
            for client in (stack.order, stack.payment):
                ready = get(client, "/readyz")
                assert (ready.status_code, ready.json()["database"]) == (503, "read-only")
            refused = [post(stack, f"refused-{number}").status_code for number in range(20)]
            assert set(refused) == {503}
            name.target = servers.standby.port
            orders = [first.json()["id"]]
            for number in range(20):
                again = placed(stack, f"refused-{number}", "the order is taken", 5)
                orders.append(again.json()["id"])
            for client in (stack.order, stack.payment):
                assert get(client, "/readyz").status_code == 200
            assert_each_is_paid_once(stack, orders)
            assert {process.starts for process in stack.processes.values()} == {1}, "no process had to be restarted"
