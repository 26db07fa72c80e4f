"""The ports of `make run`."""

import socket

import pytest

from ci.laptop.ports import Ports, PortUnusable


def test_ports_have_the_documented_defaults() -> None:
    assert Ports.from_environment({}) == Ports(8080, 8081, 9090, 9091)
    assert Ports.from_environment({"NATS_PORT": "1"}) == Ports(8080, 8081, 9090, 9091), "NATS is not started"
    assert Ports.from_environment({}, nats=True).nats == 4222
    assert Ports.from_environment({"NATS_PORT": "14222"}, nats=True).nats == 14222
    assert Ports.from_environment({"PAYMENT_ADMIN_PORT": "19091"}) == Ports(8080, 8081, 9090, 19091)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "80 80", "٨٠٨٠"])
def test_an_invalid_port_is_an_error_that_names_its_variable(text: str) -> None:
    with pytest.raises(PortUnusable, match=f"ORDER_PORT={text} is not a port"):
        Ports.from_environment({"ORDER_PORT": text})


def test_two_services_cannot_share_a_port() -> None:
    with pytest.raises(PortUnusable, match="ORDER_PORT and PAYMENT_PORT are both 8080"):
        Ports(order=8080, payment=8080).check()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_an_error_that_names_it(address: str) -> None:
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortUnusable, match=f"port {port} is in use: free it, or set ORDER_PORT"):
            Ports(order=port).check()
