"""The ports of the local stack: their numbers, and whether they are free."""

import errno
import itertools
import os
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

ADDRESS = "127.0.0.1"
NATS = 4222

_numbers = itertools.count(random.randrange(10_000))  # each process begins elsewhere


class PortUnusable(Exception):
    """A port cannot be used. The message names it and the variable that sets another one."""


@dataclass(frozen=True)
class Ports:
    """The ports of each service's API, of its metrics and health endpoints (admin), and of NATS if it is started."""

    order: int = 8080
    payment: int = 8081
    order_admin: int = 9090
    payment_admin: int = 9091
    nats: int | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, nats: bool = False) -> Self:
        """Return the ports that ORDER_PORT, PAYMENT_PORT, ORDER_ADMIN_PORT and PAYMENT_ADMIN_PORT set.

        With `nats`, also the one that NATS_PORT sets. Raises `PortUnusable` if a value is not a port number.
        """
        ports: dict[str, int] = {"nats": NATS} if nats else {}
        for field in cls.__dataclass_fields__:
            if field == "nats" and not nats:
                continue
            variable = _variable(field)
            text = environ.get(variable)
            if not text:
                continue
            if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
                raise PortUnusable(f"{variable}={text} is not a port (1 to 65535)")
            ports[field] = int(text)
        return cls(**ports)

    def check(self) -> None:
        """Raise `PortUnusable` unless all differ and are free."""
        seen: dict[int, str] = {}
        for field, port in vars(self).items():
            if port is None:
                continue
            variable = _variable(field)
            if port in seen:
                raise PortUnusable(f"{seen[port]} and {variable} are both {port}: set one of them to another port")
            seen[port] = variable
            reason = _unusable(port)
            if reason:
                raise PortUnusable(f"port {port} {reason}: free it, or set {variable} to another port")


def url(port: int) -> str:
    """Return the base URL of a port. It has the numeric address: `localhost` may resolve to another one."""
    return f"http://{ADDRESS}:{port}"


def free_port() -> int:
    """Return a port of the loopback address that is free at this moment, and that no outgoing connection is given.

    Systems give outgoing connections ports from 32768 (Linux) or 49152 on. Such a port may be taken before a server
    that is being started listens on it. For the same reason, no port is returned again soon.
    """
    while True:
        port = 20_000 + next(_numbers) % 10_000
        with socket.socket() as probe, suppress(OSError):
            probe.bind((ADDRESS, port))
            return port


def accepts(port: int) -> bool:
    """Return whether a program accepts connections on a port of the loopback address."""
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True


def _variable(field: str) -> str:
    return f"{field.upper()}_PORT"


def _unusable(port: int) -> str | None:
    """Return the reason why a port cannot be listened on, or None."""
    # Connect first: some systems allow to bind a port on which a program listens on all addresses.
    if accepts(port):
        return "is in use"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
