"""The admin port under clients that send nothing, or slowly: probes and scrapes are answered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chassis.server import admin
from tests.support.eventually import eventually

pytestmark = pytest.mark.adversarial

Address = tuple[str, int]
MOST = admin.MAX_CONNECTIONS_PER_ADDRESS
REQUEST = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


class Busy(threading.Event):
    """Requests for /slow end when this is set; `requests` counts them."""

    requests = 0


@pytest.fixture
def busy() -> Busy:
    return Busy()


@pytest.fixture
def address(busy: Busy) -> Iterator[Address]:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            busy.requests += 1
            busy.wait(20)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        admin.serve(listener, app)
        yield listener.getsockname()[:2]
        busy.set()


def threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def status(address: Address) -> int:
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(REQUEST)
        return int(client.recv(1000).split()[1])


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: a\r\nX: "])
def test_probes_are_answered_whatever_other_clients_of_their_address_leave_open(address: Address, sent: bytes) -> None:
    others = []
    for _ in range(300):
        client = socket.create_connection(address, timeout=5)
        client.sendall(sent)
        others.append(client)
    for _ in range(20):
        began = time.monotonic()
        assert status(address) == 200
        assert time.monotonic() - began < 1
    eventually(lambda: threads() <= MOST, "the threads of closed connections end")
    for client in others:
        client.close()


def test_a_client_that_drips_is_closed_when_others_come(address: Address) -> None:
    dripping = [socket.create_connection(address, timeout=5) for _ in range(MOST)]
    for client in dripping:
        client.sendall(b"GET /livez HTTP/1.1\r\n")
    assert [status(address) for _ in range(MOST)] == [200] * MOST
    assert dripping[0].recv(1000).startswith(b"HTTP/1.1 429 ")
    for client in dripping:
        client.close()


def test_requests_that_have_arrived_are_not_closed_for_new_ones(address: Address, busy: Busy) -> None:
    working = [socket.create_connection(address, timeout=20) for _ in range(MOST)]
    for client in working:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: busy.requests == MOST, "all places are taken")
    assert [status(address) for _ in range(5)] == [429] * 5
    busy.set()
    assert [client.recv(1000).split()[1] for client in working] == [b"200"] * MOST
    eventually(lambda: status(address) == 200, "the places are free again")
    for client in working:
        client.close()
