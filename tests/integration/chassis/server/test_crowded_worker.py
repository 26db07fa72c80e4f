"""Connections that wait for nothing give way when a worker is full, and one address has a limited number."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client
from tests.support.raw_http import KIB, connect, head, receive
from tests.support.settings import KEY
from tests.support.stack import Stack

ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECTIONS = 20  # of each of two workers

Start = Callable[..., Stack]


@pytest.fixture
def start(server: Postgres, templates: Databases, tmp_path: Path) -> Iterator[Start]:
    """Start both services with few connections per worker, and more settings."""
    with ExitStack() as running:

        def start(**settings: str) -> Stack:
            with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
                databases = templates.copies(administrator, f"_crowded_{uuid.uuid4().hex[:12]}")
            few = {"WEB_CONNECTIONS": str(CONNECTIONS), "WEB_WORKERS": "2", **settings}
            return running.enter_context(Stack(databases, tmp_path, settings=few))

        yield start


def open_many(client: Client, running: ExitStack, number: int, begun: bytes) -> list[socket.socket]:
    """Open connections and send the same bytes on each; read the response if they are a request."""
    connections = []
    for _ in range(number):
        connection = running.enter_context(connect(client))
        connection.sendall(begun)
        if begun == ASK:
            assert receive(connection)[0] == 200
        connections.append(connection)
    return connections


def is_served(client: Client) -> bool:
    """Return whether the service answers a request on a new connection."""
    with connect(client) as connection:
        connection.sendall(ASK)
        return receive(connection)[0] == 200


def is_closed(connection: socket.socket) -> bool:
    """Return whether the service has closed the connection."""
    connection.settimeout(0.1)
    try:
        return connection.recv(64 * KIB) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "begun",
    [
        ASK,
        b"",
        b"GET /v1/orders HTTP/1.1\r\nHost: ",
        head("/v1/orders", "Content-Length: 90") + b"{",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["idle after a request", "silent", "half of a head", "half of a body", "malformed"],
)
def test_connections_that_wait_for_nothing_lock_nobody_out(start: Start, begun: bytes) -> None:
    stack = start()
    with ExitStack() as running:
        open_many(stack.order, running, 5 * CONNECTIONS, begun)
        for _ in range(5):
            began = time.monotonic()
            with connect(stack.order) as other:
                other.sendall(head("/v1/orders", f"Content-Length: {len(BODY)}") + BODY)
                assert receive(other)[0] == 201
            assert time.monotonic() - began < 2


BODY = json.dumps(ORDER).encode()


def test_clients_that_do_not_read_their_response_lock_nobody_out(start: Start) -> None:
    stack = start()
    item = {"sku": "tea-100", "name": "x" * 200, "quantity": 1, "unit_amount": 1}
    for _ in range(100):
        stack.order.post("/v1/orders", {**ORDER, "items": [item] * 100})
    page = f"GET /v1/orders?limit=100 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with ExitStack() as running:
        for _ in range(3 * CONNECTIONS):
            connection = running.enter_context(socket.socket())
            connection.settimeout(20)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            connection.connect(("127.0.0.1", stack.service_ports[0]))
            connection.sendall(page)
        with connect(stack.order) as other:
            other.sendall(ASK)
            assert receive(other)[0] == 200


def test_the_longest_idle_connection_gives_way_first(start: Start) -> None:
    stack = start(WEB_WORKERS="1", WEB_THREADS="1")  # one thread ends the requests in their sequence
    with ExitStack() as running:
        first, second, *others = open_many(stack.order, running, CONNECTIONS - 1, ASK)
        first.sendall(ASK)  # then the second is the longest idle one
        assert receive(first)[0] == 200
        (newest,) = open_many(stack.order, running, 1, ASK)
        eventually(lambda: is_closed(second), "the connection that was idle longest is closed")
        assert not any(is_closed(connection) for connection in (first, *others, newest))


def test_one_address_has_a_limited_number_of_connections(start: Start) -> None:
    stack = start(WEB_WORKERS="1", WEB_THREADS="1", WEB_CONNECTIONS_PER_ADDRESS="5")  # one thread, as above
    with ExitStack() as running:
        silent = open_many(stack.order, running, 5, b"")
        with connect(stack.order) as refused:
            status, headers, body, _ = receive(refused)
            assert (status, headers["connection"]) == (429, "close")
            assert urlsplit(json.loads(body)["type"]).path == "/problems/too-many-requests"
        for connection in silent:
            connection.close()
    eventually(lambda: is_served(stack.order), "the closed connections are no longer counted")
    with ExitStack() as running:
        idle = open_many(stack.order, running, 5, ASK)
        (newest,) = open_many(stack.order, running, 1, ASK)
        eventually(lambda: is_closed(idle[0]), "the connection that was idle longest is closed")
        assert not any(is_closed(connection) for connection in (*idle[1:], newest))


def test_an_idle_connection_is_closed_after_the_configured_time(start: Start) -> None:
    stack = start(WEB_KEEP_ALIVE_SECONDS="2")
    with connect(stack.order) as connection:
        connection.sendall(ASK)
        assert receive(connection)[0] == 200
        began = time.monotonic()
        assert connection.recv(KIB) == b""
        assert 1 < time.monotonic() - began < 6
