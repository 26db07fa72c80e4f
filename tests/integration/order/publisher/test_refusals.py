"""A broker that refuses connections, events or the creation of the stream; TLS and credentials."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from order.publisher.cloudevents import Message
from order.publisher.credentials import parse
from order.publisher.jetstream import JetStream
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.nats_accounts import Operator
from tests.support.nats_server import NatsServer, received
from tests.support.publishing import publishing, record, record_large, settings

AUTHORITY = trustme.CA()


def message(number: int = 1) -> Message:
    attributes: dict[str, str | int] = {"id": f"id-{number}", "subject": "o", "orderversion": number}
    return Message(f"id-{number}", "o", "tandem.demo.order.order.placed", attributes, b"{}")


def publish(url: str, *messages: Message, **changes: object) -> tuple[set[str], str | None]:
    """Publish with a connection of its own, until the broker had time to create the stream."""
    broker = JetStream(settings(url, **changes))
    try:
        for _ in range(3):
            acknowledged, error = broker.publish(messages or [message()])
            if error is None:
                break
        return acknowledged, error
    finally:
        broker.close()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_CA", AUTHORITY.cert_pem.bytes().decode())


def certificate(folder: Path, name: str, *hosts: str) -> tuple[str, str]:
    """Write a certificate and its key. Returns their paths."""
    made = AUTHORITY.issue_cert(*hosts)
    made.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
    made.private_key_pem.write_to_path(folder / f"{name}.key")
    return str(folder / f"{name}.crt"), str(folder / f"{name}.key")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that requires TLS and a client's certificate."""
    chain, key = certificate(tmp_path, "server", "127.0.0.1", "localhost")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.crt")
    more = f'tls {{ cert_file: "{chain}", key_file: "{key}", ca_file: "{tmp_path}/ca.crt", verify: true }}'
    with NatsServer(tmp_path, more=more) as server:
        yield server


def test_events_are_published_over_tls_with_a_client_certificate(
    tls: NatsServer, trusted: None, tmp_path: Path
) -> None:
    chain, key = (Path(path).read_text() for path in certificate(tmp_path, "client", "publisher@shop.example"))
    url = tls.url.replace("nats://", "tls://")
    assert publish(url, client_certificate=chain, client_key=key) == ({"id-1"}, None)
    acknowledged, error = publish(url)
    assert not acknowledged
    assert error


def test_a_server_with_an_unknown_authority_is_refused(tls: NatsServer) -> None:
    acknowledged, error = publish(tls.url.replace("nats://", "tls://"))
    assert not acknowledged
    assert "certificate verify failed" in str(error)


def test_with_tls_no_credentials_are_sent_to_a_server_that_does_not_use_it() -> None:
    got = bytearray()

    def pretend(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"headers":true}\r\n')
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                got.extend(connection.recv(4096))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=pretend, args=(listener,), daemon=True).start()
        acknowledged, error = publish(f"tls://me:pa55word@127.0.0.1:{listener.getsockname()[1]}")
    assert not acknowledged
    assert "does not use TLS" in str(error)
    assert b"pa55word" not in got


def test_a_wrong_password_is_the_reason_and_a_right_one_is_accepted(tmp_path: Path) -> None:
    with NatsServer(tmp_path, more='authorization { user: "tandem", password: "pa55word" }') as server:
        acknowledged, error = publish(server.url.replace("//", "//tandem:wrong@"))
        assert not acknowledged
        assert "authorization violation" in str(error).lower()
        assert publish(server.url.replace("//", "//tandem:pa55word@")) == ({"id-1"}, None)


def test_a_credentials_file_of_nats_is_accepted(tmp_path: Path) -> None:
    operator = Operator()
    with NatsServer(tmp_path, more=operator.configuration) as server:
        acknowledged, error = publish(server.url)
        assert not acknowledged
        assert "authorization violation" in str(error).lower()
        assert publish(server.url, credentials=parse(operator.credentials())) == ({"id-1"}, None)


def test_a_user_needs_to_publish_only_if_the_stream_exists(tmp_path: Path) -> None:
    more = """authorization { users: [
        {user: "operator", password: "o"},
        {user: "publisher", password: "p", permissions: {publish: ["tandem.*.order.>"], subscribe: ["_INBOX.>"]}}]}"""
    with NatsServer(tmp_path, more=more) as server:
        as_publisher, as_operator = (server.url.replace("//", f"//{who}@") for who in ("publisher:p", "operator:o"))
        acknowledged, error = publish(as_publisher, timeout=0.5)
        assert not acknowledged
        assert "permissions violation" in str(error).lower()
        assert publish(as_operator, message(0)) == ({"id-0"}, None)
        assert publish(as_publisher) == ({"id-1"}, None)


def test_a_server_that_says_nothing_is_given_up_in_time_and_its_connection_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        broker = JetStream(settings(f"nats://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5))
        for _ in range(2):
            began = time.monotonic()
            acknowledged, error = broker.publish([message()])
            assert time.monotonic() - began < 3
            assert not acknowledged
            assert error
            connection, _ = listener.accept()
            connection.settimeout(5)
            assert connection.recv(1) == b"", "closed"
            connection.close()
        broker.close()


def test_the_next_server_is_used_if_one_is_away(tmp_path: Path) -> None:
    away = NatsServer(tmp_path, "away")
    with NatsServer(tmp_path) as server:
        for _ in range(4):  # the servers are tried in random order
            assert publish(f"{away.url},{server.url}") == ({"id-1"}, None)


def last_error(databases: Databases) -> str:
    with psycopg.connect(databases.order) as connection:
        row = connection.execute("SELECT last_error FROM event_publisher").fetchone()
    return str(row and row[0])


def test_an_event_that_the_broker_refuses_holds_back_the_later_ones_of_its_order_only(
    databases: Databases, tmp_path: Path
) -> None:
    merchants = [f"m-{uuid.uuid4()}" for _ in range(2)]
    large = record_large(databases, merchants[0], 5000)
    ids = record(databases, merchants[0]) + record(databases, merchants[1], orders=3, versions=2)
    with NatsServer(tmp_path, more="max_payload: 4096") as server:
        with publishing(databases, server.url):
            eventually(lambda: {event["id"] for _, _, event in received(server.url)} >= set(ids), "the others arrive")
            eventually(lambda: "maximum payload exceeded" in last_error(databases), "the reason is kept")
        assert large not in {event["subject"] for _, _, event in received(server.url)}


def test_a_broker_that_is_cut_off_in_a_round_gets_the_rest_later(databases: Databases, tmp_path: Path) -> None:
    merchant, nats = f"m-{uuid.uuid4()}", NatsServer(tmp_path)
    with nats, publishing(databases, nats.url):
        ids = record(databases, merchant, orders=20, versions=5)
        for _ in range(3):
            nats.kill()
            ids += record(databases, merchant, orders=20, versions=5)
            nats.start()
            nats.await_ready()
        eventually(
            lambda: {event["id"] for _, _, event in received(nats.url)} >= set(ids), "everything has arrived", 60
        )
