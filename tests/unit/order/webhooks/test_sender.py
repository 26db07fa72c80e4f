"""One attempt at a delivery, with servers that respond correctly and servers that do not."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from order.webhooks import sender as module
from order.webhooks.config import Settings
from order.webhooks.sender import Sender

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Talk = Callable[[socket.socket], None]


def sender(timeout: float = 5.0, networks: Any = LOOPBACK, allow_http: bool = True) -> Sender:
    return Sender(
        Settings(
            allow_http=allow_http,
            allowed_networks=networks,
            concurrency=2,
            give_up=3600.0,
            keys=(),
            overlap=60.0,
            retry=5.0,
            timeout=timeout,
        )
    )


@contextlib.contextmanager
def listening(talk: Talk, address: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads one request per connection, then calls `talk`. Yields its port and the requests it got."""
    seen: list[bytes] = []
    with socket.create_server((address, port)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    if talk is not resets:
                        seen.append(request(connection))
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], seen
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()


def request(connection: socket.socket) -> bytes:
    """Read one request."""
    data = b""
    while not data.endswith(b"}") and (more := connection.recv(65536)):
        data += more
    return data


def sends(data: bytes) -> Talk:
    return lambda connection: connection.sendall(data)


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def sends_slowly(first: bytes, piece: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(piece)

    return talk


def test_a_delivery_is_a_post_request_with_the_given_headers_and_body() -> None:
    with listening(sends(OK)) as (port, seen):
        attempt = sender().post(f"http://127.0.0.1:{port}/hook?a=b", b'{"x": 1}', {"webhook-id": "msg_1"})
    assert (attempt.status_code, attempt.error) == (204, None)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook?a=b HTTP/1.1"
    assert {"Host: " + f"127.0.0.1:{port}", "Content-Type: application/json", "Content-Length: 8"} <= set(lines)
    assert {"webhook-id: msg_1", "Connection: close"} <= set(lines)
    assert any(line.startswith("User-Agent: Tandem-Webhooks/") for line in lines)
    assert body == b'{"x": 1}'


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        (sends(b""), "no response: RemoteDisconnected"),
        (sends(b"SSH-2.0-OpenSSH\r\n"), "no response: it is not HTTP/1.1"),
        (sends(b"HTTP/1.1 999999 Odd\r\n\r\n"), "no response: it is not HTTP/1.1"),
        (sends(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000), "no response: it is not HTTP/1.1, or its head has more"),
        (sends(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000), "no response: it is not HTTP/1.1, or its head has more"),
        (sends(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000), "no response: it is not HTTP/1.1, or its head has more"),
        (resets, "no response: ConnectionResetError"),
    ],
)
def test_a_response_that_is_not_http_is_reported_as_an_error(talk: Talk, error: str) -> None:
    with listening(talk) as (port, _):
        attempt = sender().post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert attempt.status_code is None
    assert attempt.error is not None
    assert attempt.error.startswith(error)


@pytest.mark.parametrize(
    "talk",
    [
        sends_slowly(b"", b"H"),
        sends_slowly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        sends_slowly(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        sends_slowly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda connection: time.sleep(3),
    ],
)
def test_a_server_that_responds_slowly_or_not_at_all_has_the_same_deadline(talk: Talk) -> None:
    with listening(talk) as (port, _):
        attempt = sender(timeout=0.5).post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (attempt.status_code, attempt.error) == (None, "no response within the timeout")
    assert 0.4 < attempt.seconds < 1.5


def test_the_body_of_a_response_is_not_awaited() -> None:
    with listening(sends_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x")) as (port, _):
        attempt = sender().post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (attempt.status_code, attempt.error) == (200, None)
    assert attempt.seconds < 2


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_interim_responses_are_skipped(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nLink: </style.css>\r\n\r\n".encode() * 2 + b"HTTP/1.1 204 No Content\r\n\r\n"
    with listening(sends(answer)) as (port, _):
        attempt = sender().post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (attempt.status_code, attempt.error) == (204, None)


def test_a_redirect_is_not_followed() -> None:
    with listening(sends(OK)) as (inside, seen):
        for code in (301, 302, 303, 307, 308):
            redirect = f"HTTP/1.1 {code} Moved\r\nLocation: http://127.0.0.1:{inside}/\r\n\r\n".encode()
            with listening(sends(redirect)) as (port, _):
                attempt = sender().post(f"http://127.0.0.1:{port}/", b"{}", {})
            assert attempt.status_code == code
            assert attempt.error == f"answered {code}: redirects are not followed"
    assert seen == []


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(sends(OK)) as (port, seen), listening(sends(OK)) as (proxy, asked):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert sender().post(f"http://127.0.0.1:{port}/", b"{}", {}).status_code == 204
    assert (len(seen), asked) == (1, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_nothing_is_sent_to_a_private_address_unless_its_network_is_allowed(host: str) -> None:
    with listening(sends(OK)) as (port, seen):
        attempt = sender(networks=()).post(f"http://{host}:{port}/", b"{}", {})
        assert attempt.status_code is None
        assert attempt.error in (
            "the host does not resolve to public addresses only",
            "the host name is unknown",
        )
    assert seen == []


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: the first address of the name is allowed, a later one is not."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if host == "merchant.example":
            asked.append(host)
            host = "127.0.0.2" if len(asked) == 1 else "127.0.0.3"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with listening(sends(OK), "127.0.0.2") as (port, seen), listening(sends(OK), "127.0.0.3", port) as (_, inside):
        only = (ipaddress.ip_network("127.0.0.2/32"),)
        attempt = sender(networks=only).post(f"http://merchant.example:{port}/", b"{}", {})
        assert attempt.status_code == 204
        assert b"Host: merchant.example:" in seen[0]
        assert sender(networks=only).post(f"http://merchant.example:{port}/", b"{}", {}).status_code is None
    assert (asked, inside) == (["merchant.example"] * 2, [])


@pytest.mark.adversarial
def test_an_attempt_connects_to_few_of_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that a merchant chooses names 500 hosts: they are not scanned from here."""
    tried: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        found = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(500)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", connect)
    attempt = sender().post("http://merchant.example:8080/", b"{}", {})
    assert attempt.error == "the connection was refused"
    assert len(tried) == len(set(tried)) == 8


@pytest.mark.adversarial
@pytest.mark.parametrize(
    "answer",
    [
        ["2606:4700::6810:1", "127.0.0.1"],
        [*(f"8.8.{number // 250}.{number % 250 + 1}" for number in range(500)), "10.0.0.1"],
        ["8.8.8.8", "fe80::1%1"],
        ["8.8.8.8", "64:ff9b::a00:1"],
        ["8.8.8.8", "0.0.0.0"],
    ],
    ids=["IPv6 first", "the last of 501", "with a zone", "translated", "unspecified"],
)
def test_one_private_address_among_public_ones_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    def connect(*_: Any, **__: Any) -> socket.socket:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", connect)
    attempt = sender(networks=()).post("http://merchant.example:8080/", b"{}", {})
    assert (attempt.status_code, attempt.error) == (None, "the host does not resolve to public addresses only")


@pytest.mark.adversarial
def test_each_attempt_resolves_the_name_again_and_opens_a_connection_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A receiver that keeps its connection open gets no second request through it after its name has changed."""
    addresses = iter(["127.0.0.1", "10.0.0.1", "127.0.0.1"])

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        address = next(addresses) if host == "merchant.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with listening(sends(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")) as (port, seen):
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        webhooks = sender()
        attempts = [webhooks.post(f"http://merchant.example:{port}/", b"{}", {}) for _ in range(3)]
        monkeypatch.undo()
    assert [attempt.status_code for attempt in attempts] == [200, None, 200]
    assert len(seen) == 2


def test_the_next_address_is_tried_if_one_refuses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "merchant.example":
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with listening(sends(OK)) as (port, _):
        assert sender().post(f"http://merchant.example:{port}/", b"{}", {}).status_code == 204


def test_a_resolver_that_hangs_has_the_same_deadline_as_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(20) and [])
    attempt = sender(timeout=0.3).post("http://merchant.example:8080/", b"{}", {})
    done.set()
    assert (attempt.status_code, attempt.error) == (None, "no response within the timeout")
    assert attempt.seconds < 2


@pytest.mark.adversarial
def test_a_merchants_names_that_nobody_answers_for_keep_no_other_merchant_from_being_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lookup that hangs lasts longer than an attempt: the system's resolver asks each name server several times."""
    done, asked = threading.Event(), []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> Any:
        asked.append(host)
        if "hangs" in host:
            done.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    webhooks = sender(timeout=0.3)
    try:
        with listening(sends(OK)) as (port, _):
            for number in range(8):
                attempt = webhooks.post(f"http://hangs-{number}.example:{port}/", b"{}", {}, merchant="slow")
                assert attempt.error == "no response within the timeout"
                assert attempt.seconds < 2
            assert webhooks.post(f"http://quick.example:{port}/", b"{}", {}, merchant="other").status_code == 204
            webhooks.check(f"http://quick.example:{port}/", merchant="other")
            assert len([host for host in asked if "hangs" in host]) == 1, "one merchant occupies few threads"
            done.set()
            assert webhooks.post(f"http://quick.example:{port}/", b"{}", {}, merchant="slow").status_code == 204
    finally:
        done.set()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", ["merchant.example", "somebody.example"])
def test_a_certificate_must_be_for_the_host_name_and_from_a_known_authority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, name: str, known: bool
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, server_name, _context: asked.append(server_name)
    if known:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == "merchant.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                seen.append(request(tls))
                tls.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://merchant.example:{server.getsockname()[1]}/"
        attempt = sender(allow_http=False).post(url, b"{}", {})
        thread.join()
    assert asked == ["merchant.example"]
    if known and name == "merchant.example":
        assert (attempt.status_code, attempt.error, len(seen)) == (204, None, 1)
    else:
        assert attempt.status_code is None
        assert str(attempt.error).startswith("the certificate is not valid: ")
        assert seen == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 \t", 120),
        ("9" * 30, 1e30),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("١", None),
    ],
)
def test_retry_after_can_be_a_number_of_seconds(text: str, seconds: float | None) -> None:
    assert module.retry_after(text) == seconds


def test_retry_after_can_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert module.retry_after(later) == pytest.approx(100, abs=2)
    assert module.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert module.retry_after(None) is None


HOSTILE = (
    "Mon, 01 Jan 99999999999999999999 00:00:00 +0000",
    "Mon, 01 Jan 2030 00:00:00 +99999999999999999999",
    "Mon, 99999999999999999999 Jan 2030 00:00:00 +0000",
    "Mon, 01 Jan 2030 99999999999999999999:00:00 +0000",
    "Mon, 01 Jan 0000 00:00:00 +0000",
    "Mon, 01 Jan 10000 00:00:00 +0000",
    "Mon, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Mon, 01 Jan -2030 00:00:00",
    "9" * 5000,
    "1e400",
    "inf",
    "NaN",
    "-" * 60,
    ", , , ,",
    ":" * 60,
    "\x00\x7f\xff",
    "(" * 60,
    '"' * 60,
    "Mon, (01 Jan",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_an_invalid_retry_after_decides_nothing(text: str) -> None:
    for code, error in ((200, None), (503, "answered 503")):
        answer = f"HTTP/1.1 {code} Status\r\nRetry-After: ".encode() + text.encode("latin-1") + b"\r\n\r\n"
        with listening(sends(answer)) as (port, _):
            attempt = sender().post(f"http://127.0.0.1:{port}/", b"{}", {})
        assert (attempt.status_code, attempt.error) == (code, error)


@given(st.text(st.characters(max_codepoint=255), max_size=70))
def test_any_retry_after_is_a_number_of_seconds_or_ignored(text: str) -> None:
    found = module.retry_after(text)
    assert found is None or found >= 0
