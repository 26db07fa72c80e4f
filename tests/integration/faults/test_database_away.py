"""PostgreSQL is down at the start, stopped or killed: requests get 503, and succeed as soon as it is back."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.stack import Stack, answers


def assert_is_unavailable(answer: requests.Response) -> None:
    assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (503, "/problems/unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_requests_get_503_while_the_database_is_away_and_succeed_afterwards(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    databases = Databases.create(server)
    server.stop()
    with Stack(databases, tmp_path, ready=False) as stack:
        for client in (stack.order, stack.payment):
            eventually(lambda client=client: answers(client, "/livez"), "the service starts without its database", 60)  # type: ignore[misc]
            assert client.get("/readyz").status_code == 503
        assert_is_unavailable(stack.order.post("/v1/orders", ORDER))
        assert_is_unavailable(stack.payment.get(f"/v1/payments/{uuid.uuid4()}"))
        server.start()
        assert_is_unavailable(stack.order.post("/v1/orders", ORDER))  # PostgreSQL is up, but has no tables yet
        databases.migrate()
        placed = [stack.order.post("/v1/orders", ORDER)]
        for how in (signal.SIGINT, signal.SIGKILL):
            server.stop(how)
            assert_is_unavailable(stack.order.post("/v1/orders", ORDER))
            assert_is_unavailable(stack.order.get(placed[0].headers["Location"]))
            assert stack.order.get("/livez").status_code == 200
            server.start()
            placed.append(stack.order.post("/v1/orders", ORDER))
        assert [answer.status_code for answer in placed] == [201, 201, 201]
        for answer in placed:
            order_id = answer.json()["id"]
            eventually(
                lambda order_id=order_id: stack.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid",  # type: ignore[misc]
                "an order placed around an outage is paid",
            )
            assert len(databases.charges(order_id)) == 1
        assert {process.starts for process in stack.processes.values()} == {1}, "no process had to be restarted"
    server.stop()
