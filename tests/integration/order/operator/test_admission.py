"""One client address can neither take all threads of the operator's page nor send any number of forms."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from chassis.auth.rate_limits import Limit
from order.operator import admission
from tests.support.operator_client import Desk
from tests.support.pair import Client
from tests.support.raw_http import connect, receive

SLOW = (
    b"POST /operator/sign-in HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 500\r\n\r\nt"
)


@pytest.fixture
def desk(browser_for: Callable[..., Desk]) -> Desk:
    """A browser behind a proxy, whose address the proxy names."""
    desk = browser_for(TRUSTED_PROXIES="1")
    desk.session.headers["X-Forwarded-For"] = "192.0.2.2"
    return desk


def test_an_address_that_sends_slow_forms_delays_no_other(desk: Desk) -> None:
    with ExitStack() as running:
        connections = [
            running.enter_context(connect(Client(desk.url))) for _ in range(admission.MAX_PENDING_PER_ADDRESS + 1)
        ]
        for connection in connections:
            connection.sendall(SLOW)
        # Each has a thread of its own, so any of them may be the last to be admitted.
        refused, _, _ = select.select(connections, [], [], 20)
        assert len(refused) == 1
        status, headers, _, _ = receive(refused[0])
        assert (status, headers["retry-after"]) == (429, "1")
        began = time.monotonic()
        assert desk.sign_in().status_code == 303
        assert time.monotonic() - began < 3


def test_a_form_that_arrives_slowly_is_refused_in_bounded_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_TIMEOUT", 0.5)
    with connect(Client(desk.url)) as connection:
        connection.sendall(SLOW)
        began = time.monotonic()
        connection.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - began < 10:
            connection.sendall(b"t")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        connection.settimeout(20)
        assert receive(connection, answer)[0] == 408


def test_forms_from_one_address_are_limited_before_they_are_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit("minute", 3, 60)
    monkeypatch.setattr(admission, "FORMS", (limit,))
    assert [desk.send("/operator/sign-in", {}).status_code for _ in range(4)] == [403, 403, 403, 429]
    with connect(Client(desk.url)) as connection:
        connection.sendall(SLOW.replace(b"192.0.2.1", b"192.0.2.2"))
        connection.shutdown(socket.SHUT_WR)
        status, headers, _, _ = receive(connection)
        assert (status, int(headers["retry-after"]) > 10) == (429, True)
    desk.session.headers["X-Forwarded-For"] = "192.0.2.3"
    assert desk.sign_in().status_code == 303


def test_the_cookie_is_secure_if_a_trusted_proxy_received_the_request_by_tls(
    desk: Desk, browser_for: Callable[..., Desk]
) -> None:
    direct = browser_for()
    for browser, secure in ((desk, True), (direct, False)):
        browser.session.headers["X-Forwarded-Proto"] = "https"
        cookie = browser.get("/operator/sign-in").headers["Set-Cookie"]
        assert ("Secure" in cookie.split("; ")) is secure
    del desk.session.headers["X-Forwarded-Proto"]
    assert "Secure" not in desk.get("/operator/sign-in").headers["Set-Cookie"]


def test_a_form_from_a_page_without_tls_is_refused_where_the_request_came_by_tls(desk: Desk) -> None:
    _, hidden = desk.page("/operator/sign-in").forms[0]
    tls = {"X-Forwarded-Proto": "https"}
    host = desk.url.removeprefix("http://")
    assert desk.send("/operator/sign-in", hidden, Origin=f"http://{host}", **tls).status_code == 403
    assert desk.send("/operator/sign-in", {**hidden, "key": "x"}, Origin=f"https://{host}", **tls).status_code == 401
