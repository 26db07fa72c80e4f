"""Webhooks through a forward proxy, and the authorities that are trusted in addition."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from chassis.config import ConfigError
from chassis.http import authorities
from order.webhooks.addresses import Forbidden
from order.webhooks.config import Settings
from order.webhooks.proxy import Proxy
from order.webhooks.sender import Sender

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def sender(proxy: str, allow_http: bool = True) -> Sender:
    return Sender(
        Settings(
            allow_http=allow_http,
            allowed_networks=(),
            concurrency=2,
            give_up=60,
            keys=(),
            overlap=60,
            retry=1,
            timeout=2,
            proxy=proxy,
        )
    )


@contextlib.contextmanager
def proxy(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one connection that sends these bytes, each after a request. Yields its address and what it received."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                with client:
                    for answer in answers:
                        data = b""
                        while b"\r\n\r\n" not in data:
                            data += client.recv(65536)
                        heard.append(data)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        server.close()
        thread.join(5)


def test_the_proxy_opens_the_connection_and_looks_up_the_name() -> None:
    with proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", OK) as (address, heard):
        attempt = sender(f"http://{address}").post("http://shop.invalid.example:8443/hook", b"{}", {})
    assert (attempt.status_code, attempt.error) == (204, None)
    assert heard[0] == b"CONNECT shop.invalid.example:8443 HTTP/1.1\r\nHost: shop.invalid.example:8443\r\n\r\n"
    assert heard[1].startswith(b"POST /hook HTTP/1.1\r\n")


def test_the_proxy_s_password_is_sent_to_the_proxy_only() -> None:
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n", OK) as (address, heard):
        sender(f"http://me:p%40ss@{address}").post("http://shop.example/hook", b"{}", {})
    assert b"\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n" in heard[0]
    assert b"Authorization" not in heard[1]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n", b"nonsense\r\n\r\n", b""])
def test_a_proxy_that_does_not_connect_is_a_failed_attempt(answer: bytes) -> None:
    with proxy(answer) as (address, _):
        attempt = sender(f"http://{address}").post("http://shop.example/hook", b"{}", {})
    assert attempt.status_code is None
    assert attempt.error == "no response: ConnectionError"


def test_a_proxy_that_does_not_answer_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = sender(f"http://127.0.0.1:{server.getsockname()[1]}").post("http://shop.example/", b"{}", {})
    assert attempt.error == "no response within the timeout"
    assert attempt.seconds < 5


@pytest.mark.adversarial
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0177.0.0.01/",
        "http://2130706433/",
        "http://127.0.0.1./",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fd00:ec2::254]/",
        "http://localhost/",
        "http://tandem-payment.shop.svc/",
        "http://tandem-payment.shop.svc.cluster.local./",
        "http://metadata.google.internal/",
        "http://tandem-payment.shop.svc.k8s.example/",
        "http://LOCALHOST.localdomain/",
        "http://a.localhost./",
        "http://router.home.arpa/",
        "http://vault.corp/",
        "http://nas.lan/",
        "http://127.0X1/",
        "http://1.2.3.0xff/",
        "http://0.0.0.0/",
        "http://[::ffff:0:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[2002:a00:1::]/",
        "http://[::10.0.0.1]/",
    ],
)
def test_private_addresses_and_names_of_the_cluster_are_refused_before_the_proxy(url: str) -> None:
    through = sender("http://127.0.0.1:9")
    with pytest.raises(Forbidden):
        through.check(url)
    assert through.post(url, b"{}", {}).status_code is None


@pytest.mark.parametrize(
    "url",
    [
        *("https://proxy:3128", "proxy:3128", "http://", "http://proxy:99999", "http://p:1/x"),
        *("http://proxy:0", "http://p:3128?a=b", "http://p:3128/#f", "http://a b:3128", "http://p\u202e:3128"),
    ],
)
def test_a_wrong_proxy_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_PROXY"):
        Proxy.parse(url)


def test_the_trusted_authorities_are_the_public_ones_and_those_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRUSTED_CA", raising=False)
    assert (authorities.bundle(), authorities.verify()) == (certifi.where(), True)
    first = Path(certifi.where()).read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    (tmp_path / "ca.crt").write_text(first)
    monkeypatch.setenv("TRUSTED_CA_FILE", str(tmp_path / "ca.crt"))
    combined = Path(authorities.bundle()).read_text()
    assert combined.startswith(Path(certifi.where()).read_text())
    assert combined.rstrip().endswith(first.rstrip())
    assert authorities.verify() == authorities.bundle()


def test_an_authority_that_is_no_certificate_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_CA", "not a certificate")
    with pytest.raises(ValueError, match="TRUSTED_CA"):
        authorities.bundle()
