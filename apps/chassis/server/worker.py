"""gunicorn's worker for our services: it buffers each request fully before a thread gets it.

gunicorn's gthread worker gives a new connection a thread, which waits there for the request. As many silent clients as
there are threads then block the service. Here the event loop, which waits for all connections at once, collects each
request in a RequestBuffer and submits it to the thread pool when it is complete. Responses go through a BufferedSocket,
so a thread does not wait for a client that reads slowly either. Slow connections are closed after a timeout.

A connection is in one of five states:

    receiving   the event loop collects a request (`_receiving`)
    handling    a thread runs the application
    sending     the event loop sends the rest of a response (`_sending`)
    idle        the connection is kept alive and waits for a request (gunicorn's `keepalived_conns`)
    lingering   the event loop waits for the client to read the last response and to close (`_lingering`)

A full worker closes the longest idle connection (`_make_room`). Only the thread of the event loop changes these
collections. What this worker overrides in gunicorn is listed in `chassis.server`.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import Counter
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.http import errors, wsgi
from gunicorn.workers.gthread import TConn

from chassis.http.problems import Problem
from chassis.server import rejections
from chassis.server.balance import BalancedWorker
from chassis.server.buffered_socket import BufferedSocket
from chassis.server.connection import Connection
from chassis.server.lingering import LINGER_TIMEOUT, Lingering
from chassis.server.listeners import plain
from chassis.server.received import Received
from chassis.server.request_buffer import MAX_HEAD, RequestBuffer, State
from chassis.server.response import Response
from chassis.telemetry import logs

log = logs.get_logger()

wsgi.Response = Response  # the class that wsgi.create makes, which has no setting

FIRST_BYTE_TIMEOUT = 10.0
"""Seconds that a new connection may send nothing."""
REQUEST_TIMEOUT = 20.0
"""Seconds from the first byte of a request to its last."""
_RESPONSE_TIMEOUT = 30.0  # seconds for the client to read a response
# SO_RCVTIMEO and SO_SNDTIMEO: 5 seconds. A last resort, for a call of gunicorn that blocks a thread after all.
_SOCKET_TIMEOUT = struct.pack("ll", 5, 0)
_MAX_BUFFERED = 32 * 1024 * 1024  # bytes of all unfinished requests; and of all unsent responses
_CHUNK = 64 * 1024


class Worker(BalancedWorker):
    """gunicorn's threaded worker, in which no thread waits for a client."""

    per_address = 0
    """The most connections of one client address in this worker; 0 is any number. Set by gunicorn_conf.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_keepalived = self.worker_connections  # a full worker closes idle connections by itself
        self._open_by_address: Counter[str] = Counter()
        self._receiving: dict[TConn, RequestBuffer] = {}
        self._sending: dict[TConn, Future[Any]] = {}
        self._lingering = Lingering(self)
        self._buffered = 0  # bytes in all of `_receiving`
        self._timeouts_checked = 0.0

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and start to receive its first request."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker took the connection, or the client is gone
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, _SOCKET_TIMEOUT)
        self.nr_conns += 1
        conn = Connection(
            self._open_by_address, self.cfg, BufferedSocket(client), plain(address), listener.getsockname()
        )
        crowded = 0 < self.per_address < self._open_by_address[conn.address]
        if crowded and not self._close_idle_of(conn.address):
            log.info("too_many_connections", address=conn.address)
            conn.try_send_problem(rejections.too_many_connections())
            self.close_connection(conn)
            return
        self._receive(conn, FIRST_BYTE_TIMEOUT)
        self._make_room()
        self.pause_if_ahead()

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Start to receive the next request of an idle connection."""
        if not conn.is_open:
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._receive(conn, REQUEST_TIMEOUT)
        self._on_readable(conn, client)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close idle connections that have timed out. If a request has arrived on one, receive the request instead."""
        now = time.monotonic()
        while self.keepalived_conns and (force or self.keepalived_conns[0].timeout <= now):
            conn = self.keepalived_conns[0]
            if not force and conn.has_data():
                self.on_client_socket_readable(conn, conn.sock)
            else:
                self._close_idle(conn)

    def _make_room(self) -> None:
        """Close connections until a new one can be accepted, if the worker is full.

        It closes, one at a time and by preference: the connection that has been idle for longest; the one that has
        lingered for longest; the one whose request has been incomplete for longest; the one whose client has not read
        its response for longest. It never closes the newest one, or one whose request a thread handles. A connection on
        which a request has arrived is not idle.
        """
        while self.nr_conns >= self.worker_connections:
            idle = next((conn for conn in self.keepalived_conns if not conn.has_data()), None)
            if idle is not None:
                self._close_idle(idle)
            elif self._lingering.close_oldest():
                continue
            elif len(self._receiving) > 1:
                conn, request = next(iter(self._receiving.items()))
                self._stop_receiving(conn)
                if request.data:
                    conn.try_send_problem(rejections.incomplete())
                self.close_connection(conn)
            elif self._sending:
                self._abandon_response(min(self._sending, key=lambda conn: conn.timeout))
            else:
                return

    def _close_idle_of(self, address: str) -> bool:
        """Close the connection of this client address that has been idle for longest. Returns False if none is."""
        for idle in self.keepalived_conns:
            if idle.address == address and not idle.has_data():
                self._close_idle(idle)
                return True
        return False

    def _close_idle(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self.keepalived_conns.remove(conn)
        self.close_connection(conn)

    def _receive(self, conn: TConn, timeout: float) -> None:
        self._receiving[conn] = RequestBuffer()
        conn.timeout = time.monotonic() + timeout
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _on_readable(self, conn: TConn, client: socket.socket) -> None:
        if conn not in self._receiving:
            return  # an earlier event of the same round closed it
        try:
            data = client.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._stop_receiving(conn)
            self.close_connection(conn)
            return
        self._feed(conn, data)

    def _feed(self, conn: TConn, data: bytes) -> None:
        request = self._receiving[conn]
        if not request.data:
            if not data:
                self._stop_receiving(conn)
                self.close_connection(conn)
                return
            conn.timeout = time.monotonic() + REQUEST_TIMEOUT
        before = len(request.data)
        state = request.feed(data)
        self._buffered += len(request.data) - before
        if request.expects_continue and state is State.INCOMPLETE:
            request.expects_continue = False
            conn.sock.try_send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if state is State.HEAD_TOO_LARGE:
            self._reject(conn, rejections.head_too_large(MAX_HEAD))
        elif state is State.BODY_TOO_LARGE:
            self._reject(conn, Problem("content-too-large", "The chunks of the body are too small."))
        elif state is not State.INCOMPLETE:
            self._submit(conn)
        while self._buffered > _MAX_BUFFERED:
            self._time_out(max(self._receiving, key=lambda other: len(self._receiving[other].data)))

    def _submit(self, conn: TConn) -> None:
        """Give a request to a thread. gunicorn's parser reads its bytes from there instead of from the socket."""
        request = self._stop_receiving(conn)
        conn.state = request.state
        conn.init()
        conn.parser.unreader = Received(conn.sock, bytes(request.data))
        self.enqueue_req(conn)

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Respond to a parsed request, in a thread. A request that is not complete is the connection's last."""
        if conn.state is State.MALFORMED:
            if ("TRANSFER-ENCODING", "chunked") in [(name, value.lower()) for name, value in req.headers]:
                raise rejections.ChunksMalformed  # the parser has read the head only
            raise errors.InvalidHeader("CONTENT-LENGTH", req=req)  # the parser should have rejected it
        rejections.check_head(req)
        if conn.state is not State.COMPLETE:
            req.force_close()
        # gunicorn would close the connection of an unread body of 64 KiB, although the response has said it stays open.
        return bool(super().handle_request(req, conn) and conn.parser.finish_body())

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Send the rest of a response, then go on with the connection. `fs` tells whether to keep it alive."""
        if not conn.sock.unsent:
            self._after_response(conn, fs)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + _RESPONSE_TIMEOUT
        self._sending[conn] = fs
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._on_writable, conn))
        while sum(len(other.sock.unsent) for other in self._sending) > _MAX_BUFFERED:
            self._abandon_response(max(self._sending, key=lambda other: len(other.sock.unsent)))

    def _on_writable(self, conn: TConn, _: Any) -> None:
        if conn not in self._sending:
            return
        try:
            conn.sock.flush()
        except OSError:
            self._abandon_response(conn)
            return
        if not conn.sock.unsent:
            self.poller.unregister(conn.sock)
            self._after_response(conn, self._sending.pop(conn))

    def _abandon_response(self, conn: TConn) -> None:
        log.info("answer_not_read", left=len(conn.sock.unsent))
        self.poller.unregister(conn.sock)
        del self._sending[conn]
        self.close_connection(conn)

    def _after_response(self, conn: TConn, fs: Future[Any]) -> None:
        """Close the connection, or wait for its next request. That may have been received already (pipelining)."""
        try:
            keep = not fs.cancelled() and fs.result() is True
        except Exception:
            keep = False
        if not keep:
            self._lingering.begin(conn)
            return
        following = conn.parser.unreader.take_buffered()
        if not following:
            super().finish_request(conn, fs)
            self._make_room()
            return
        conn.sock.setblocking(False)
        self._receive(conn, REQUEST_TIMEOUT)
        self._feed(conn, following)

    def murder_pending(self) -> None:
        """Close connections that have timed out. The event loop calls this in each round."""
        now = time.monotonic()
        if now - self._timeouts_checked < 0.25:
            return
        self._timeouts_checked = now
        for conn in [conn for conn in self._receiving if conn.timeout <= now]:
            self._time_out(conn)
        for conn in [conn for conn in self._sending if conn.timeout <= now]:
            self._abandon_response(conn)
        self._lingering.close_expired(now)
        if not self.alive:
            # While the worker drains, connections on which nothing was received are closed soon.
            for conn in [conn for conn, request in self._receiving.items() if not request.data]:
                conn.timeout = min(conn.timeout, now + LINGER_TIMEOUT)

    def _time_out(self, conn: TConn) -> None:
        if self._receiving[conn].data:
            self._reject(conn, rejections.incomplete())
        elif conn.has_data():
            self._on_readable(conn, conn.sock)
        else:
            self._stop_receiving(conn)
            self.close_connection(conn)

    def _reject(self, conn: TConn, problem: Problem) -> None:
        self._stop_receiving(conn)
        conn.try_send_problem(problem)
        self._lingering.begin(conn)

    def _stop_receiving(self, conn: TConn) -> RequestBuffer:
        self.poller.unregister(conn.sock)
        request = self._receiving.pop(conn)
        self._buffered -= len(request.data)
        return request

    def close_connection(self, conn: TConn) -> None:
        """Close a connection that is in none of the collections."""
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Respond to a request that could not be parsed, or that failed outside of the application."""
        problem = rejections.problem_of(exc)
        if problem.name == "internal-error":
            log.error("unexpected", exc_info=exc)
        try:
            client.sendall(rejections.response(getattr(req, "path", None) or "", problem, client.getsockname()))
        except OSError as error:
            log.info("could_not_answer", error=error)
