"""`AsyncClient`: how it sends requests. The decisions are those of `Client`, and tested there."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import trustme

from tandem_client import AsyncClient, Client, Order, OutcomeUnknown, Unavailable, UnexpectedAnswer, retry
from tests.unit.client import socket_server
from tests.unit.client.conftest import KEY, ORDER, TEA

T = TypeVar("T")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.002)


def call(url: str, do: Callable[[AsyncClient], Awaitable[T]], timeout: float = 2, deadline: float = 5) -> T:
    """Run a coroutine with a client in an event loop of its own."""

    async def run() -> T:
        async with AsyncClient(url, api_key=KEY, timeout=timeout, deadline=deadline) as tandem:
            return await do(tandem)

    return asyncio.run(run())


async def place(tandem: AsyncClient) -> Order:
    return await tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok", wait=3)


async def look(tandem: AsyncClient) -> Order:
    return await tandem.get_order("1")


def test_both_clients_have_the_same_methods_with_the_same_arguments_and_documentation() -> None:
    def methods(kind: type) -> dict[str, tuple[object, object]]:
        return {
            name: (list(inspect.signature(getattr(kind, name)).parameters.values()), getattr(kind, name).__doc__)
            for name in dir(kind)
            if not name.startswith("_") and name != "close"
        }

    assert methods(AsyncClient) == methods(Client)
    assert {"place_order", "list_orders", "events", "wait_until"} < methods(Client).keys()
    assert all(doc for _, doc in methods(Client).values())


def test_a_method_shows_its_arguments_and_documentation() -> None:
    tandem = Client("http://order.test", api_key=KEY)
    assert str(inspect.signature(tandem.get_order)).startswith("(order_id: 'str')")
    assert tandem.get_order.__doc__ == "Return the current state of an order."


def test_a_lost_response_is_retried_with_the_same_key_and_body() -> None:
    def respond(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        if len(seen) < 3:
            connection.close()
        else:
            connection.sendall(socket_server.json_response(json.dumps(ORDER).encode(), "201 Created"))

    seen: list[bytes] = []
    with socket_server.serve(respond) as (url, _):
        assert call(url, place).id == ORDER["id"]
    assert len(seen) == 3
    assert len({request.partition(b"\r\n\r\n")[0] for request in seen}) == 1
    assert b"prefer: wait=3" in seen[0].lower()
    assert f"authorization: Bearer {KEY}".lower().encode() in seen[0].lower()
    assert b"user-agent: tandem-client/" in seen[0].lower()


def test_a_post_without_a_response_leaves_the_outcome_unknown() -> None:
    def hang(_: socket.socket, __: bytes) -> None:
        ended.wait(20)

    ended = threading.Event()
    with socket_server.serve(hang) as (url, _):
        with pytest.raises(OutcomeUnknown) as caught:
            call(url, place, timeout=0.2, deadline=1)
        ended.set()
    assert caught.value.idempotency_key is not None
    assert KEY not in str(caught.value) + repr(vars(caught.value))


def test_a_post_that_reaches_no_server_changed_nothing() -> None:
    with socket_server.serve(lambda *_: None) as (url, _):
        pass
    with pytest.raises(Unavailable, match="This call changed nothing"):
        call(url, place, deadline=0.3)


def test_a_response_sent_very_slowly_is_cut_off() -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n")
        for _drop in range(1000):
            connection.sendall(b" ")
            time.sleep(0.05)

    with socket_server.serve(drip) as (url, _):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            call(url, place, timeout=0.5, deadline=1)
        assert time.monotonic() - began < 20


def test_an_untrusted_certificate_raises_at_once() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        connection, _ = listener.accept()
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(connection, server_side=True)
        connection.close()

    accepting = threading.Thread(target=accept)
    accepting.start()
    with pytest.raises(Unavailable, match=r"no trusted certificate \(1 attempt"):
        call(f"https://127.0.0.1:{listener.getsockname()[1]}", place)
    accepting.join()
    listener.close()


def test_redirects_are_not_followed_and_cookies_are_not_kept() -> None:
    def respond(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        if len(seen) == 1:
            body = json.dumps(ORDER).encode()
            connection.sendall(socket_server.json_response(body, more="Set-Cookie: track=me\r\n"))
        else:
            location = "Location: http://elsewhere.test/v1/orders/1\r\n"
            connection.sendall(socket_server.json_response(b"", "307 Temporary Redirect", location))

    async def twice(tandem: AsyncClient) -> None:
        await look(tandem)
        await look(tandem)

    seen: list[bytes] = []
    with socket_server.serve(respond) as (url, _), pytest.raises(UnexpectedAnswer, match="elsewhere"):
        call(url, twice)
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


def test_a_netrc_does_not_replace_the_api_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def respond(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        connection.sendall(socket_server.json_response(json.dumps(ORDER).encode()))

    (tmp_path / "netrc").write_text("default login any password one\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[bytes] = []
    with socket_server.serve(respond) as (url, _):
        call(url, look)
    assert f"Bearer {KEY}".encode() in seen[0]


def test_a_compressed_response_is_read() -> None:
    def respond(connection: socket.socket, _: bytes) -> None:
        body = gzip.compress(json.dumps(ORDER).encode())
        connection.sendall(socket_server.json_response(body, more="Content-Encoding: gzip\r\n"))

    with socket_server.serve(respond) as (url, _):
        assert call(url, look).id == ORDER["id"]


def test_tasks_share_one_client_and_its_connections() -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        order_id = request.split()[1].rpartition(b"/")[2].decode()
        connection.sendall(socket_server.json_response(json.dumps({**ORDER, "id": order_id}).encode()))

    async def many(tandem: AsyncClient) -> list[Order]:
        return list(await asyncio.gather(*(tandem.get_order(str(number)) for number in range(40))))

    with socket_server.serve(echo) as (url, connections):
        assert [order.id for order in call(url, many)] == [str(number) for number in range(40)]
    assert len(connections) <= 40


def test_a_session_of_the_caller_is_used_and_not_closed() -> None:
    async def run() -> bool:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json=ORDER))
        async with httpx.AsyncClient(transport=transport) as session:
            async with AsyncClient("http://order.test", api_key=KEY, session=session) as tandem:
                assert (await tandem.get_order("1")).id == ORDER["id"]
            return session.is_closed

    assert asyncio.run(run()) is False


def test_without_httpx_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"tandem-client\[async\]"):
        AsyncClient("http://order.test", api_key=KEY)
