"""Connections, the API key, and the checks of the client's settings."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from tandem_client import Client, __version__
from tests.unit.client import socket_server
from tests.unit.client.conftest import KEY, ORDER, ORDERS, sent

RESPONSE = socket_server.json_response(json.dumps(ORDER).encode(), more="Set-Cookie: track=me\r\n")


def respond(connection: socket.socket, _: bytes) -> None:
    connection.sendall(RESPONSE)


def test_connections_are_reused(client: Client) -> None:
    with socket_server.serve(respond) as (url, connections), Client(url, api_key=KEY) as tandem:
        for _ in range(5):
            tandem.get_order("1")
            tandem.with_options(deadline=3, merchant="demo").get_order("1")
        assert len(connections) == 1
        tandem.close()
        tandem.get_order("1")
        assert len(connections) == 2


def test_threads_share_one_client() -> None:
    def work() -> None:
        for number in range(20):
            order_id = f"{threading.get_ident()}-{number}"
            results.append(tandem.get_order(order_id).id == order_id)

    def echo(connection: socket.socket, request: bytes) -> None:
        order_id = request.split()[1].rpartition(b"/")[2].decode()
        connection.sendall(socket_server.json_response(json.dumps({**ORDER, "id": order_id}).encode()))

    results: list[bool] = []
    with socket_server.serve(echo) as (url, connections), Client(url, api_key=KEY) as tandem:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [True] * 160
    assert len(connections) <= 8


def test_a_forked_child_opens_its_own_connections() -> None:
    with socket_server.serve(respond) as (url, connections), Client(url, api_key=KEY) as tandem:
        tandem.get_order("1")
        child = os.fork()
        if child == 0:
            try:
                tandem.get_order("1")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert len(connections) == 2
        tandem.get_order("1")
        assert len(connections) == 2


def test_cookies_are_not_kept() -> None:
    def record(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        respond(connection, request)

    seen: list[bytes] = []
    with socket_server.serve(record) as (url, _), Client(url, api_key=KEY) as tandem:
        tandem.get_order("1")
        tandem.get_order("1")
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize("session", [False, True])
def test_a_netrc_does_not_replace_the_api_key(
    service: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session: bool
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine order.test login somebody password else\ndefault login any password one\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(ORDERS) == ("somebody", "else")
    service.get(f"{ORDERS}/1", json=ORDER)
    Client("http://order.test", api_key=KEY, session=requests.Session() if session else None).get_order("1")
    assert sent(service, "Authorization") == [f"Bearer {KEY}"]


def test_proxies_come_from_the_environment_unless_the_session_ignores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket_server.serve(respond) as (proxy, connections):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert Client("http://order.test", api_key=KEY).get_order("1").id == ORDER["id"]
        assert connections[0].startswith(b"GET http://order.test/v1/orders/1 ")
        direct = requests.Session()
        direct.trust_env = False
        with socket_server.serve(respond) as (url, served):
            Client(url, api_key=KEY, session=direct).get_order("1")
            assert len(served) == 1
        assert len(connections) == 1


def test_requests_name_the_client_and_the_merchant(service: responses.RequestsMock) -> None:
    service.get(f"{ORDERS}/1", json=ORDER)
    Client("http://order.test/", api_key=KEY, merchant="other").get_order("1")
    assert sent(service, "User-Agent")[0].startswith(f"tandem-client/{__version__} ")
    assert sent(service, "Tandem-Merchant") == ["other"]
    assert service.calls[0].request.url == f"{ORDERS}/1"


ENV = {"ORDER_URL": "http://order.test", "PAYMENT_URL": "http://payment.test", "API_KEY": KEY}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (ENV, "<tandem_client.Client order=http://order.test payment=http://payment.test>"),
        ({**ENV, "PAYMENT_URL": ""}, "<tandem_client.Client order=http://order.test payment=None>"),
    ],
)
def test_a_client_is_created_from_the_environment(environ: dict[str, str], expected: str) -> None:
    assert repr(Client.from_env(environ, deadline=3)) == expected


@pytest.mark.parametrize("name", ["ORDER_URL", "API_KEY"])
def test_a_missing_environment_variable_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not set"):
        Client.from_env({**ENV, name: ""})


def test_without_a_payment_url_payment_methods_name_what_is_missing() -> None:
    with pytest.raises(ValueError, match="no payment_url"):
        Client("http://order.test", api_key=KEY).get_payment("1")


@pytest.mark.parametrize(
    "change",
    [
        {"order_url": ""},
        {"order_url": "order.test:8080"},
        {"order_url": "ftp://order.test"},
        {"order_url": "http://order.test?x=1"},
        {"order_url": f"http://user:{KEY}@order.test"},
        {"payment_url": "localhost"},
        {"api_key": ""},
        {"api_key": f"{KEY}\n"},
        {"api_key": f"{KEY} x"},
        {"api_key": f"{KEY}ü"},
        {"timeout": 0},
        {"deadline": float("inf")},
        {"deadline": float("nan")},
        {"merchant": "two words"},
        {"merchant": "x\r\nAuthorization: y"},
    ],
    ids=str,
)
def test_an_invalid_setting_raises_and_the_message_has_no_api_key(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each has another message
        Client(**{"order_url": "http://order.test", "api_key": KEY, **change})
    assert KEY not in str(caught.value)
