"""Connections that time out.

The event loop first handles the events of a round, then the timeouts. A request that arrives in between is not lost.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter

import pytest
from gunicorn.config import Config

from chassis.server.buffered_socket import BufferedSocket
from chassis.server.connection import Connection
from chassis.server.worker import Worker

BEGUN = b"GET /livez HTTP/1.1\r\n"


@pytest.fixture
def worker() -> Worker:
    worker = Worker(0, 0, [], None, 30, Config(), None)
    worker.poller = selectors.DefaultSelector()
    return worker


def connect(worker: Worker) -> tuple[Connection, socket.socket]:
    """Return a connection of the worker, and the client's side of it."""
    client, server = socket.socketpair()
    client.settimeout(5)
    conn = Connection(Counter(), worker.cfg, BufferedSocket(server), ("192.0.2.1", 1), ("192.0.2.2", 8080))
    conn.sock.setblocking(False)
    worker.nr_conns += 1
    return conn, client


def test_a_request_that_arrives_as_its_idle_connection_times_out_is_received(worker: Worker) -> None:
    (begun, busy), (idle, silent), (gone, closed) = (connect(worker) for _ in range(3))
    for conn in (begun, idle, gone):
        conn.timeout = time.monotonic() - 1
        worker.keepalived_conns.append(conn)
        worker.poller.register(conn.sock, selectors.EVENT_READ, lambda _: None)
    busy.sendall(BEGUN)
    closed.close()
    worker.murder_keepalived()
    assert list(worker.keepalived_conns) == []
    assert {conn: bytes(request.data) for conn, request in worker._receiving.items()} == {begun: BEGUN}
    assert silent.recv(1) == b""
    assert not gone.is_open
    assert worker.nr_conns == 1


def test_a_request_that_arrives_as_its_new_connection_times_out_is_received(worker: Worker) -> None:
    (begun, busy), (new, silent) = (connect(worker) for _ in range(2))
    for conn in (begun, new):
        worker._receive(conn, -1)
    busy.sendall(BEGUN)
    worker.murder_pending()
    assert {conn: bytes(request.data) for conn, request in worker._receiving.items()} == {begun: BEGUN}
    assert silent.recv(1) == b""
    assert worker.nr_conns == 1
