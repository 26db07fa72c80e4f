"""What the event loop does with connections between two rounds."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter

from gunicorn.config import Config

from chassis.server.buffered_socket import BufferedSocket
from chassis.server.crowding import Connection
from chassis.server.worker import Worker


def idle_connection(worker: Worker) -> tuple[Connection, socket.socket]:
    """Return a connection whose time as an idle one is over, and the client's side of it."""
    client, server = socket.socketpair()
    client.settimeout(5)
    conn = Connection(Counter(), worker.cfg, BufferedSocket(server), ("192.0.2.1", 1), ("192.0.2.2", 8080))
    conn.sock.setblocking(False)
    conn.timeout = time.monotonic() - 1
    worker.keepalived_conns.append(conn)
    worker.poller.register(conn.sock, selectors.EVENT_READ, lambda _: None)
    worker.nr_conns += 1
    return conn, client


def test_a_request_that_arrives_as_its_connection_times_out_is_received() -> None:
    """As after the events of a round, when the loop waited for a processor: the client has not been told of the end."""
    worker = Worker(0, 0, [], None, 30, Config(), None)
    worker.poller = selectors.DefaultSelector()
    (begun, busy), (_, silent), (gone, closed) = (idle_connection(worker) for _ in range(3))
    busy.sendall(b"GET /livez HTTP/1.1\r\n")
    closed.close()
    worker.murder_keepalived()
    assert list(worker.keepalived_conns) == []
    assert list(worker._receiving) == [begun]
    assert silent.recv(1) == b""
    assert not gone.is_open
    assert worker.nr_conns == 1
