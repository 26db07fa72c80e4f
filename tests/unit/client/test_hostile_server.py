"""Responses that are endless, too large, or malformed: both clients end in time, with an exception of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tandem_client import (
    AsyncClient,
    Client,
    Order,
    OutcomeUnknown,
    TandemError,
    Unavailable,
    UnexpectedAnswer,
    async_client,
    connections,
    retry,
)
from tests.unit.client import socket_server
from tests.unit.client.conftest import KEY, ORDER, TEA

Call = Callable[[str, bool], Order]
HEAD = b"HTTP/1.1 200 OK\r\n"
REDIRECT = b"HTTP/1.1 307 Temporary Redirect\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ORDER_ARGUMENTS: dict[str, Any] = {"items": [TEA], "currency": "EUR", "payment_method": "pm_ok"}


def blocking(url: str, places: bool) -> Order:
    with Client(url, api_key=KEY, timeout=0.5, deadline=1) as tandem:
        return tandem.place_order(**ORDER_ARGUMENTS) if places else tandem.get_order("1")


def asynchronous(url: str, places: bool) -> Order:
    async def run() -> Order:
        async with AsyncClient(url, api_key=KEY, timeout=0.5, deadline=1) as tandem:
            return await (tandem.place_order(**ORDER_ARGUMENTS) if places else tandem.get_order("1"))

    return asyncio.run(run())


@pytest.fixture(params=[blocking, asynchronous])
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A call with either client: it places an order, or gets one."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.01)
    chosen: Call = request.param
    return chosen


@pytest.mark.parametrize("places", [True, False])
@pytest.mark.parametrize(
    ("begin", "unit"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 ", b"a"),
        (HEAD + b"X-Long: ", b"a"),
        (HEAD + CHUNKED, b"1\r\n \r\n"),
        (HEAD + CHUNKED + b"5;", b"a"),
        (HEAD + CHUNKED + b"1\r\n \r\n0\r\n", b"X: y\r\n"),
        (REDIRECT + b"Location: http://elsewhere.test/\r\nContent-Length: 100000\r\n\r\n", b"a"),
    ],
    ids=["interim", "status line", "header", "chunks", "chunk head", "trailers", "redirect"],
)
def test_a_response_that_does_not_end_is_cut_off(call: Call, begin: bytes, unit: bytes, places: bool) -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(begin)
        for _drop in range(400):
            connection.sendall(unit)
            time.sleep(0.05)

    with socket_server.serve(drip) as (url, _):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown if places else Unavailable):
            call(url, places)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("head", [HEAD, REDIRECT + b"Location: http://elsewhere.test/\r\n"], ids=["200", "307"])
def test_a_body_that_is_too_large_is_not_read(call: Call, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    for module in (connections, async_client):
        monkeypatch.setattr(module, "LARGEST_BODY", 1 << 20)
    sent = 0

    def flood(connection: socket.socket, _: bytes) -> None:
        nonlocal sent
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % (1 << 30))
        block = b" " * 65536
        with contextlib.suppress(OSError):
            for _block in range(1 << 14):
                connection.sendall(block)
                sent += len(block)

    with socket_server.serve(flood) as (url, requests):
        with pytest.raises(UnexpectedAnswer, match="of at most"):
            call(url, False)
        assert len(requests) == 1
    assert sent < 1 << 26


@pytest.mark.parametrize("location", [b"http://\xff\xfe/", b"http://[::1", b"http:///", b"//", b"\xff" * 9000])
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_with_any_location_is_not_followed_and_ends_in_an_exception_of_the_client(
    call: Call, location: bytes, status: int
) -> None:
    def redirect(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location))

    with socket_server.serve(redirect) as (url, _), pytest.raises(TandemError):
        call(url, True)


@pytest.mark.parametrize("length", ["5, 6", "-1", "x", "9" * 30])
def test_a_post_with_an_invalid_content_length_is_retried_with_its_key(call: Call, length: str) -> None:
    body, seen = json.dumps(ORDER).encode(), list[bytes]()

    def respond(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        if len(seen) == 1:
            connection.sendall(HEAD + f"Content-Length: {length}\r\n\r\n".encode() + body[:-1])
            connection.close()
        else:
            connection.sendall(socket_server.json_response(body, "201 Created"))

    with socket_server.serve(respond) as (url, _):
        try:
            assert call(url, True).id == ORDER["id"]
        except OutcomeUnknown:  # the first response looked complete
            assert len(seen) == 1
    keys = {line for each in seen for line in each.splitlines() if line.lower().startswith(b"idempotency-key:")}
    assert len(keys) == 1


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_refused(call: Call, constant: str) -> None:
    body = json.dumps(ORDER).replace('"paid_amount": 900', f'"paid_amount": {constant}').encode()
    assert constant.encode() in body

    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(socket_server.json_response(body))

    with socket_server.serve(respond) as (url, _):
        with pytest.raises(UnexpectedAnswer):
            call(url, False)
        with pytest.raises(OutcomeUnknown):
            call(url, True)


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_interim_responses_are_skipped(call: Call, status: str) -> None:
    interim = f"HTTP/1.1 {status}\r\nLink: </style.css>\r\n\r\n".encode()

    def respond(connection: socket.socket, _: bytes) -> None:
        connection.sendall(2 * interim + socket_server.json_response(json.dumps(ORDER).encode(), "201 Created"))

    with socket_server.serve(respond) as (url, requests):
        assert call(url, True).id == ORDER["id"]
        assert len(requests) == 1
