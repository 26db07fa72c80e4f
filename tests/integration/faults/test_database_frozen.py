"""PostgreSQL answers nothing although its connections stay open, or can't commit, or accepts no writes."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.replication import configure, frozen
from tests.support.stack import Stack

LONGEST = 15.0
"""Seconds within which each caller has an answer, whatever the database does."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres", durable=False) as server:
        configure(server, "ALTER ROLE ALL SET synchronous_commit = on")  # a role's setting wins over the server's
        yield server


@pytest.fixture
def stack(server: Postgres, tmp_path: Path) -> Iterator[Stack]:
    databases = Databases(server.create_database("order"), server.create_database("payment"))
    databases.migrate()
    with Stack(databases, tmp_path) as stack:
        yield stack


def timed(call: object, *arguments: object, **headers: str) -> tuple[requests.Response, float]:
    began = time.monotonic()
    answer: requests.Response = call(*arguments, **headers)  # type: ignore[operator]
    return answer, time.monotonic() - began


def is_paid(stack: Stack, placed: requests.Response) -> bool:
    return bool(stack.order.get(placed.headers["Location"]).json()["status"] == "paid")


def test_a_frozen_database_delays_nobody_for_longer_than_15_seconds(server: Postgres, stack: Stack) -> None:
    placed = stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
    with frozen(server), ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(timed, stack.order.post, "/v1/orders", ORDER) for _ in range(4)]
        waits = [pool.submit(timed, stack.order.post, "/v1/orders", ORDER, Prefer="wait=10")]
        gets = [pool.submit(timed, client.get, "/readyz") for client in (stack.order, stack.payment)]
        gets.append(pool.submit(timed, stack.order.get, placed.headers["Location"]))
        for answer, took in [future.result() for future in (*posts, *waits, *gets)]:
            assert answer.status_code == 503
            assert took < LONGEST
        assert stack.order.get("/livez").status_code == 200
    eventually(lambda: stack.order.get("/readyz").status_code == 200, "order is ready again")
    placed = stack.order.post("/v1/orders", ORDER)
    assert placed.status_code == 201
    eventually(lambda: is_paid(stack, placed), "an order placed afterwards is paid", 60)
    assert {process.starts for process in stack.processes.values()} == {1}, "no process had to be restarted"


def test_without_a_synchronous_standby_writes_are_refused_and_reads_go_on(server: Postgres, stack: Stack) -> None:
    placed = stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
    configure(server, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    with ThreadPoolExecutor(24) as pool:
        posts = [pool.submit(timed, stack.order.post, "/v1/orders", ORDER) for _ in range(20)]
        eventually(lambda: any(post.done() for post in posts), "the first writes are given up", 9)
        posts += [pool.submit(timed, stack.order.post, "/v1/orders", ORDER) for _ in range(20)]
        for path in (placed.headers["Location"], "/v1/orders", "/readyz", "/livez"):
            answer, took = timed(stack.order.get, path)
            assert (answer.status_code, took < 2) == (200, True), path
        for answer, took in [post.result() for post in posts]:
            assert (answer.status_code, took < LONGEST) == (503, True)
    configure(server, "ALTER SYSTEM RESET synchronous_standby_names")
    again = stack.order.post("/v1/orders", ORDER)
    assert again.status_code == 201
    eventually(lambda: is_paid(stack, again), "an order placed afterwards is paid", 60)


def test_a_database_that_only_reads_is_not_ready_and_writes_succeed_as_soon_as_it_accepts_them(
    server: Postgres, stack: Stack
) -> None:
    placed = stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
    name = stack.databases.order.rpartition("/")[2]
    configure(server, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    configure(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    eventually(lambda: stack.order.post("/v1/orders", ORDER).status_code == 503, "writes are refused")
    ready = stack.order.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (503, "read-only")
    assert stack.order.get(placed.headers["Location"]).status_code == 200
    configure(server, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    answers = [stack.order.post("/v1/orders", ORDER) for _ in range(40)]
    refused = [answer.status_code for answer in answers if answer.status_code != 201]
    assert len(refused) <= 24, "each thread's connection is refused once at most"
    eventually(lambda: stack.order.get("/readyz").status_code == 200, "order is ready again")
    eventually(lambda: is_paid(stack, answers[-1]), "an order placed afterwards is paid", 60)


def test_a_retry_is_not_answered_from_an_order_that_no_standby_has(server: Postgres, stack: Stack) -> None:
    sketch = {"id": str(uuid.uuid4()), "items": ["tea"], "total": 4.5}

    def place(path: str, body: dict[str, Any]) -> requests.Response:
        return stack.order.post(path, body, key="waits-for-its-standby")

    placing: list[tuple[str, dict[str, Any]]] = [("/v1/orders", ORDER), ("/orders", sketch)]
    configure(server, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    for request in placing:
        answer, took = timed(place, *request)
        assert (answer.status_code, took < LONGEST) == (503, True)
    server.stop(signal.SIGINT)
    server.start()  # now both orders can be seen, but a standby that takes over does not have them
    eventually(lambda: stack.order.get("/v1/orders").status_code == 200, "order has its database again", 60)
    assert len(stack.order.get("/v1/orders").json()["data"]) == 2
    for request in placing:
        answer, took = timed(place, *request)
        # 409 idempotency-key-in-use: a later step of this order waits for its standby, too.
        assert (answer.status_code in (503, 409), took < LONGEST) == (True, True)
        assert int(answer.headers["Retry-After"]) >= 1
    configure(server, "ALTER SYSTEM RESET synchronous_standby_names")
    for path, body in placing:
        eventually(
            lambda path=path, body=body: place(path, body).status_code == 201,  # type: ignore[misc]
            "the retry is answered once its order is durable",
            30,
        )
    assert len(stack.order.get("/v1/orders").json()["data"]) == 2
