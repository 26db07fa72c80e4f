"""gunicorn's threaded worker, made patient: threads are for requests that are there, not for those to come.

gunicorn gives a connection a thread as soon as it is made and lets it wait there: as many silent clients as there
are threads, and nobody else is served. Here the loop that waits for all connections collects each request
(chassis.arrivals) and gives it a thread when all of it has come; a connection that is too slow is closed, and one
that is being closed is waited for by the loop too. The worker's own refusals are problem+json as well.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

import uuid_utils
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn

from chassis import cards
from chassis.http.generic_problems import GENERIC
from chassis.http.problems import Problem, render
from chassis.server.arrivals import MAX_HEAD, Arrival, State
from chassis.server.balance import Balanced
from chassis.telemetry import logs, metrics

log = logs.get_logger()

SILENCE = 10.0
"""How long a new connection may say nothing, in seconds."""
ARRIVAL = 20.0
"""How long a request may take to arrive, in seconds."""
_LINGER = 2.0  # how long a client has to read the last answer and close
_ANSWER = 30.0  # how long a client may take to read an answer
_STALL = struct.pack("ll", 5, 0)  # seconds and microseconds; for what no thread should wait for, should it do so
_MAX_HELD = 32 * 1024 * 1024  # bytes of requests that are arriving, in all; and of answers that are not yet read
_RECEIVE = 64 * 1024


class Patient:
    """A socket whose writer never waits: what the client does not take at once is kept, for the loop to send."""

    def __init__(self, client: socket.socket) -> None:
        """All but `sendall` is the socket's own."""
        self._client = client
        self.unsent = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Send what there is room for. Raises OSError when the client has gone."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Send more of what is left. Raises OSError when the client has gone."""
        try:
            while self.unsent:
                del self.unsent[: self._client.send(self.unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass


class Worker(Balanced):
    """gthread's worker, whose threads never wait for a client: not to begin, not to go on, not to read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take gunicorn's arguments."""
        super().__init__(*args, **kwargs)
        self._arrivals: dict[TConn, Arrival] = {}
        self._answered: dict[TConn, Future[Any]] = {}
        self._closing: set[TConn] = set()
        self._held = 0
        self._looked = 0.0

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; its request is to come."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was quicker, or the client has gone
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, _STALL)
        self.nr_conns += 1
        self.leave_the_next()
        conn = TConn(self.cfg, Patient(client), address, listener.getsockname())
        self._await(conn, SILENCE)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Begin to collect the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await(conn, ARRIVAL)
        self._on_readable(conn, client)

    def _await(self, conn: TConn, seconds: float) -> None:
        self._arrivals[conn] = Arrival()
        conn.timeout = time.monotonic() + seconds
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _on_readable(self, conn: TConn, client: socket.socket) -> None:
        try:
            data = client.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._forget(conn)
            self._drop(conn)
            return
        self._take(conn, data)

    def _take(self, conn: TConn, data: bytes) -> None:
        arrival = self._arrivals[conn]
        if not arrival.data:
            if not data:
                self._forget(conn)
                self._drop(conn)
                return
            conn.timeout = time.monotonic() + ARRIVAL
        before = len(arrival.data)
        state = arrival.feed(data)
        self._held += len(arrival.data) - before
        if arrival.wants_continue and state is State.ARRIVING:
            arrival.wants_continue = False
            _say(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
        if state is State.HEAD_TOO_LARGE:
            self._refuse(conn, "headers-too-large", f"The head has more than {MAX_HEAD} bytes.")
        elif state is State.BODY_TOO_LARGE:
            self._refuse(conn, "content-too-large", "The body is sent in chunks that are too small.")
        elif state is not State.ARRIVING:
            self._hand_over(conn)
        while self._held > _MAX_HELD:
            self._expire(max(self._arrivals, key=lambda other: len(self._arrivals[other].data)))

    def _hand_over(self, conn: TConn) -> None:
        arrival = self._forget(conn)
        conn.state = arrival.state
        conn.init()
        conn.parser.unreader.unread(bytes(arrival.data))
        self.enqueue_req(conn)

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Answer a request that has been read; what is not whole is the last of its connection."""
        if conn.state is State.BROKEN:
            raise errors.InvalidHeader("CONTENT-LENGTH", req=req)  # as the parser should have done
        if conn.state is not State.WHOLE:
            req.force_close()
        answered: bool = super().handle_request(req, conn)
        return answered

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Let the client read the rest of its answer; then wait for the next request of the connection, or close it."""
        if not conn.sock.unsent:
            self._go_on(conn, fs)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + _ANSWER
        self._answered[conn] = fs
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._on_writable, conn))
        while sum(len(other.sock.unsent) for other in self._answered) > _MAX_HELD:
            self._give_up(max(self._answered, key=lambda other: len(other.sock.unsent)))

    def _on_writable(self, conn: TConn, _: Any) -> None:
        try:
            conn.sock.flush()
        except OSError:
            self._give_up(conn)
            return
        if not conn.sock.unsent:
            self.poller.unregister(conn.sock)
            self._go_on(conn, self._answered.pop(conn))

    def _give_up(self, conn: TConn) -> None:
        log.info("answer_not_read", left=len(conn.sock.unsent))
        self.poller.unregister(conn.sock)
        del self._answered[conn]
        self._drop(conn)

    def _go_on(self, conn: TConn, fs: Future[Any]) -> None:
        try:
            keep = not fs.cancelled() and fs.result() is True
        except Exception:
            keep = False
        if not keep:
            self._linger(conn)
            return
        following = conn.parser.unreader.take_buffered()
        if not following:
            super().finish_request(conn, fs)
            return
        conn.sock.setblocking(False)
        self._await(conn, ARRIVAL)
        self._take(conn, following)

    def murder_pending(self) -> None:
        """Close connections whose time is over."""
        now = time.monotonic()
        if now - self._looked < 0.25:
            return
        self._looked = now
        for conn in [conn for conn in self._arrivals if conn.timeout <= now]:
            self._expire(conn)
        for conn in [conn for conn in self._answered if conn.timeout <= now]:
            self._give_up(conn)
        for conn in [conn for conn in self._closing if conn.timeout <= now]:
            self._end(conn)
        if not self.alive:
            for conn in [conn for conn, arrival in self._arrivals.items() if not arrival.data]:
                conn.timeout = min(conn.timeout, now + _LINGER)

    def _expire(self, conn: TConn) -> None:
        if self._arrivals[conn].data:
            self._refuse(conn, "request-timeout", "The request did not arrive as a whole in its time.")
        else:
            self._forget(conn)
            self._drop(conn)

    def _refuse(self, conn: TConn, name: str, detail: str) -> None:
        self._forget(conn)
        _say(conn, _refusal("", Problem(name, detail)))
        self._linger(conn)

    def _forget(self, conn: TConn) -> Arrival:
        self.poller.unregister(conn.sock)
        arrival = self._arrivals.pop(conn)
        self._held -= len(arrival.data)
        return arrival

    def _linger(self, conn: TConn) -> None:
        """Say that no more follows, and let the client read what it was told before the connection goes."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + _LINGER
        self._closing.add(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_closing, conn))

    def _on_closing(self, conn: TConn, client: socket.socket) -> None:
        try:
            if client.recv(_RECEIVE):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._end(conn)

    def _end(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self._closing.remove(conn)
        self._drop(conn)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or that failed outside of the application."""
        problem = _problem(exc)
        if problem.name == "internal-error":
            log.error("unexpected", exc_info=exc)
        try:
            client.sendall(_refusal(getattr(req, "path", None) or "", problem))
        except OSError as error:
            log.info("could_not_answer", error=error)


def _say(conn: TConn, data: bytes) -> None:
    """Send a few bytes, or none where there is no room for them: who is told does not read."""
    try:
        conn.sock.send(data)
    except OSError as error:
        log.debug("could_not_answer", error=error)


def _refusal(path: str, problem: Problem) -> bytes:
    request_id = str(uuid_utils.uuid7())
    rendered = render(problem, GENERIC, instance=cards.mask(path), request_id=request_id)
    status = rendered.status
    metrics.requests.labels("OTHER", "unread", str(status)).inc()
    log.info("request", method=None, route="unread", status=status, problem=problem.name, request_id=request_id)
    headers = {
        "Connection": "close",
        "X-Request-Id": request_id,
        **rendered.headers,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": len(rendered.body),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {rendered.title}\r\n{head}\r\n".encode() + rendered.body


# What is wrong, without what was sent: a header that can't be read may well be the one with the key in it.
_REFUSALS: tuple[tuple[type[BaseException], str, str], ...] = (
    (errors.LimitRequestLine, "uri-too-long", "The request line has more than 4094 bytes."),
    (errors.LimitRequestHeaders, "headers-too-large", "There are too many header fields, or one is too long."),
    (errors.UnsupportedTransferCoding, "not-implemented", "No transfer coding but chunked is known here."),
    (errors.ExpectationFailed, "expectation-failed", "No expectation but 100-continue can be met here."),
    (errors.ObsoleteFolding, "malformed-request", "A header field goes on in a second line."),
    (errors.InvalidHeaderName, "malformed-request", "The name of a header field has characters that it may not have."),
    (errors.InvalidHeader, "malformed-request", "A header field is malformed, or stands twice where it may not."),
    (errors.InvalidRequestMethod, "malformed-request", "The method is not one of HTTP's."),
    (errors.InvalidHTTPVersion, "malformed-request", "The version of HTTP is not 1.0 or 1.1."),
    (errors.InvalidRequestLine, "malformed-request", "The request line is malformed."),
    (errors.ParseException, "malformed-request", "The request is malformed."),
    (OSError, "malformed-request", "The request breaks off."),
)


def _problem(exc: BaseException) -> Problem:
    if not isinstance(exc, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        for kind, name, detail in _REFUSALS:
            if isinstance(exc, kind):
                return Problem(name, detail)
    return Problem("internal-error", "An unexpected error; nothing is half done.")
