"""Responses of servers that never finish one: every client of the services gives up in time, with little memory."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import stripe

from chassis import outgoing
from chassis.auth import tokens
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Remote, Unreachable
from order.gateway import PaymentGateway
from order.operator.payments import Payments
from payment.gateway import OrderGateway
from payment.providers.stripe import _HttpClient
from tests.support.listening import listening

pytestmark = pytest.mark.adversarial

MIB = 1024 * 1024
TIMEOUT = 0.5

Answer = Callable[[], Iterator[bytes]]


@contextlib.contextmanager
def answering(answer: Answer, *, times: int = 1) -> Iterator[str]:
    """A server that sends what `answer` yields to each request, as long as the client reads it. Yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            for _ in range(times):
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    connection.settimeout(10)
                    with connection:
                        # All of the request: if a socket is closed with unread data, the client gets a reset.
                        with connection.makefile("rb") as request:
                            head = b"".join(itertools.takewhile(b"\r\n".__ne__, request))
                            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                            request.read(int(length[1]) if length else 0)
                        for part in answer():
                            connection.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def dripping(start: bytes, drop: bytes) -> Answer:
    def answer() -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(0.1)
            yield drop

    return answer


def endless(start: bytes, part: bytes) -> Answer:
    def answer() -> Iterator[bytes]:
        yield start
        while True:
            yield part

    return answer


def once(whole: bytes) -> Answer:
    return lambda: iter([whole])


BOMB = gzip.compress(b" " * 64 * MIB)

ANSWERS = {
    "a status line that drips": dripping(b"HTTP/1.1 200 ", b"O"),
    "headers that drip": dripping(HEAD, b"a: b\r\n"),
    "interim responses that drip": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body that drips": dripping(HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
    "a body without a length that drips": dripping(HEAD + b"\r\n", b" "),
    "chunks that drip": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "an endless status line": endless(b"HTTP/1.1 200 ", b"O" * 65536),
    "endless headers": endless(HEAD, b"a: b\r\n" * 4096),
    "one endless header": endless(HEAD + b"a: ", b"b" * 65536),
    "endless interim responses": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1024),
    "an endless body": endless(HEAD + b"\r\n", b" " * 65536),
    "a body with a huge length": endless(HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * 65536),
    "endless chunks": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "an endless chunk size": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
    "endless trailers": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 4096),
    "a body that is compressed": once(
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB
    ),
}


def message() -> Message:
    return Message(1, "0192a5b4-0000-7000-8000-000000000001", "m", "o", "payment.create", {}, {}, 1, "me")


def order_to_payment(url: str) -> object:
    return PaymentGateway(url, "key", TIMEOUT).send(message())


def page_to_payment(url: str) -> object:
    payments = Payments(url, "key")
    payments.timeout = TIMEOUT
    return payments.faults()


def payment_to_order(url: str) -> object:
    OrderGateway(url, ["whsec_" + "a" * 32], TIMEOUT).send(message())
    return None


def payment_to_stripe(url: str) -> object:
    return _HttpClient(timeout=(TIMEOUT, TIMEOUT)).request("GET", url, {})


def issuer(url: str) -> object:
    return tokens._fetch(url)


CLIENTS = [order_to_payment, page_to_payment, payment_to_order, payment_to_stripe, issuer]
FAILURES = (Unreachable, stripe.APIConnectionError, requests.RequestException)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_response_that_does_not_end_is_given_up_in_time_and_with_little_memory(
    client: Callable[[str], object], answer: Answer
) -> None:
    with answering(answer) as url:
        tracemalloc.start()
        began = time.monotonic()
        try:
            with pytest.raises(FAILURES):
                client(url)
            seconds, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert seconds < 3.5  # tokens.FETCH_TIMEOUT is 3 s, the other clients wait for 0.5 s
    assert peak < 5 * outgoing.LARGEST


def test_a_response_of_the_largest_size_is_read_and_its_connection_is_used_again() -> None:
    length = outgoing.LARGEST - 1024
    connections = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(b" " * length)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with listening(server):
        remote = Remote("destination", f"http://127.0.0.1:{server.server_port}", {}, 10.0)
        assert [len(remote.get("/", {}).content) for _ in range(3)] == [length] * 3
        remote.close()
    assert len(connections) == 1


def test_a_redirect_is_not_followed_and_a_cookie_is_not_kept() -> None:
    for location in (b"/", b"http://[::1", b"\xff\xfe"):
        found = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with answering(once(found)) as url:
            assert outgoing.limit(requests.Session()).get(url, timeout=TIMEOUT).status_code == 302
        with answering(once(found)) as url, pytest.raises(Refused, match="302"):
            Remote("destination", url, {}, TIMEOUT).get("/", {})
    cookie = HEAD + b"Set-Cookie: a=b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    session = outgoing.limit(requests.Session())
    with answering(once(cookie)) as url:
        assert session.get(url, timeout=TIMEOUT).status_code == 200
    assert not session.cookies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"data": ' * 50_000,
        b"NaN",
        b'{"a": "\xff"}',
        b"9" * 10_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_valid_is_refused(body: bytes) -> None:
    whole = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    calls: list[Callable[[PaymentGateway], Any]] = [
        lambda gateway: gateway.send(message()),
        lambda gateway: gateway.payments("m", "o"),
        lambda gateway: gateway.payment("m", "p"),
    ]
    with answering(once(whole), times=len(calls)) as url:
        for call in calls:
            with pytest.raises(Refused, match="not valid"):
                call(PaymentGateway(url, "key", 10.0))


def test_the_text_of_a_refusal_is_short_however_long_its_body_is() -> None:
    body = "４é".encode() * 300_000
    whole = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    with answering(once(whole)) as url:
        began = time.process_time()
        with pytest.raises(Refused) as refused:
            Remote("destination", url, {}, 5.0).get("/", {})
    assert time.process_time() - began < 1.0
    assert len(str(refused.value)) < 300


def test_the_text_of_a_refusal_is_printable_and_has_no_card_number() -> None:
    body = b"\x00\xff\x1b[31m 4539 5787 6362 1486"
    whole = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    with answering(once(whole)) as url, pytest.raises(Refused) as refused:
        Remote("destination", url, {}, 5.0).get("/", {})
    assert str(refused.value) == "destination answered 400: ?\ufffd?[31m [card ...1486]"


def test_interim_responses_are_skipped() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    with answering(once(2 * interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as url:
        response = outgoing.limit(requests.Session()).get(url, timeout=5)
    assert (response.status_code, response.content) == (200, b"{}")
