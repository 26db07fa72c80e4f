"""More slow and silent clients than there are threads do not delay other clients."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.support.fixtures.processes import stack
from tests.support.pair import ORDER
from tests.support.raw_http import KIB, chunked, connect, exchange, head, receive
from tests.support.settings import KEY
from tests.support.stack import Stack

__all__ = ["stack"]

MANY = 24  # three times the threads of a service
BODY = json.dumps(ORDER).encode()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Close these connections at the end of the test."""
    with ExitStack() as stack:
        yield stack


def open_many(stack: Stack, opened: ExitStack, begun: bytes) -> list[socket.socket]:
    """Open MANY connections, and send the same bytes on each."""
    connections = [opened.enter_context(connect(stack.order)) for _ in range(MANY)]
    for connection in connections:
        connection.sendall(begun)
    return connections


def assert_prompt(stack: Stack) -> None:
    for _ in range(8):
        began = time.monotonic()
        assert stack.order.get(f"/v1/orders/{uuid.uuid4()}").status_code == 404
        assert time.monotonic() - began < 2


BEGUN = {
    "nothing": b"",
    "a letter": b"G",
    "half of a line": b"POST /v1/ord",
    "half of a head": b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "a head": head("/v1/orders", f"Content-Length: {len(BODY)}"),
    "half of a body": head("/v1/orders", f"Content-Length: {len(BODY)}") + BODY[:9],
    "half of a chunk": head("/v1/orders", "Transfer-Encoding: chunked") + b"ff\r\n{",
    "chunks": head("/v1/orders", "Transfer-Encoding: chunked") + chunked(BODY)[:-5],
    "a chunk that contains what looks like the last chunk": head("/v1/orders", "Transfer-Encoding: chunked")
    + b"ff\r\n0\r\n\r\n",
    "an expectation": head("/v1/orders", f"Content-Length: {len(BODY)}", "Expect: 100-continue"),
    "a head with too large a length": head("/v1/orders", f"Content-Length: {1024 * KIB}"),
    "a request and half of another": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li",
    "the last request of a connection": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a malformed request": b"NONSENSE\r\n\r\n",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
def test_many_stalled_clients_delay_nobody(stack: Stack, opened: ExitStack, begun: bytes) -> None:
    open_many(stack, opened, begun)
    assert_prompt(stack)


def test_many_slow_clients_delay_nobody_and_are_served(stack: Stack, opened: ExitStack) -> None:
    requests = [head("/v1/orders", f"Content-Length: {len(BODY)}") + BODY for _ in range(MANY)]
    connections = open_many(stack, opened, b"")
    for at in range(0, len(requests[0]), 40):
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request[at : at + 40])
    assert_prompt(stack)
    for connection in connections:
        assert receive(connection)[0] == 201


def test_pipelined_requests_are_answered_in_order(stack: Stack) -> None:
    wanted = [str(uuid.uuid4()) for _ in range(20)]
    get = "GET /v1/orders/{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n"
    first = head("/v1/orders", "Transfer-Encoding: chunked") + chunked(BODY, 10)
    row = first + "".join(get.format(order_id, KEY) for order_id in wanted).encode()
    for pieces in ([row], [row[:700], row[700:705], row[705:]]):
        with connect(stack.order) as connection:
            for piece in pieces:
                connection.sendall(piece)
            status, _, _, rest = receive(connection)
            assert status == 201
            for order_id in wanted:
                status, _, body, rest = receive(connection, rest)
                assert (status, json.loads(body)["instance"]) == (404, f"/v1/orders/{order_id}")


def test_100_continue_is_sent_once(stack: Stack) -> None:
    with connect(stack.order) as connection:
        connection.sendall(head("/v1/orders", f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
        assert connection.recv(KIB) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert receive(connection)[0] == 201


def test_100_continue_is_not_sent_for_too_large_a_body(stack: Stack) -> None:
    status, headers, body = exchange(
        stack.order, head("/v1/orders", f"Content-Length: {1024 * KIB}", "Expect: 100-continue")
    )
    assert (status, urlsplit(body["type"]).path, headers["connection"]) == (413, "/problems/content-too-large", "close")


def test_a_slow_request_is_408_and_a_silent_connection_is_closed(stack: Stack, opened: ExitStack) -> None:
    slow, silent = (
        opened.enter_context(connect(stack.payment)),
        opened.enter_context(connect(stack.payment)),
    )
    slow.settimeout(40)
    slow.sendall(b"GET /v1/payments HTTP/1.1\r\n")
    began = time.monotonic()
    assert silent.recv(KIB) == b""
    assert 5 < time.monotonic() - began < 18
    status, headers, body, _ = receive(slow)
    assert (status, urlsplit(json.loads(body)["type"]).path) == (408, "/problems/request-timeout")
    assert headers["connection"] == "close"
    assert headers["x-request-id"] == json.loads(body)["request_id"]
    assert slow.recv(KIB) == b""


def test_clients_that_read_slowly_delay_nobody_and_receive_everything(stack: Stack, opened: ExitStack) -> None:
    item = {"sku": "tea-100", "name": "x" * 200, "quantity": 1, "unit_amount": 1}
    large = {**ORDER, "items": [item] * 100}
    for _ in range(100):
        stack.order.post("/v1/orders", large)
    whole = stack.order.get("/v1/orders?limit=100")
    assert len(whole.content) > 900 * KIB
    entries = len(whole.json()["data"])
    page = f"GET /v1/orders?limit=100 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    connections = []
    for _ in range(10):
        connection = socket.socket()
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        # The kernel buffers twenty segments for the sender, which are more than a page unless they are small.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        connection.connect(("127.0.0.1", stack.service_ports[0]))
        connections.append(opened.enter_context(connection))
        connection.sendall(page + page)
    assert_prompt(stack)
    for connection in connections[:2]:
        status, _, body, rest = receive(connection)
        assert (status, len(json.loads(body)["data"])) == (200, entries)
        status, _, body, _ = receive(connection, rest)
        assert (status, len(json.loads(body)["data"])) == (200, entries)
