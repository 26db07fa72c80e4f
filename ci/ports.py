"""The four ports of Tandem on a laptop: which they are, and whether they are free."""

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

ADDRESS = "127.0.0.1"


class PortUnusable(Exception):
    """A port cannot be had; the text names it and the variable that sets another."""


@dataclass(frozen=True)
class Ports:
    """Where the services listen: their API, and beside it metrics and health."""

    order: int = 8080
    payment: int = 8081
    order_admin: int = 9090
    payment_admin: int = 9091

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The ports as ORDER_PORT, PAYMENT_PORT, ORDER_ADMIN_PORT and PAYMENT_ADMIN_PORT set them.

        Raises `PortUnusable` for what is not a port.
        """
        ports = {}
        for field in cls.__dataclass_fields__:
            variable = _variable(field)
            text = environ.get(variable)
            if not text:
                continue
            if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
                raise PortUnusable(f"{variable}={text} is not a port (1 to 65535)")
            ports[field] = int(text)
        return cls(**ports)

    def check(self) -> None:
        """Raise `PortUnusable` unless all four differ and nothing listens on any of them."""
        seen: dict[int, str] = {}
        for field, port in vars(self).items():
            variable = _variable(field)
            if port in seen:
                raise PortUnusable(f"{seen[port]} and {variable} are both {port}: set one of them to another port")
            seen[port] = variable
            reason = _unusable(port)
            if reason:
                raise PortUnusable(f"port {port} {reason}: free it, or set {variable} to another port")


def url(port: int) -> str:
    """The base URL of what listens there (by number: a name may mean another address to another program)."""
    return f"http://{ADDRESS}:{port}"


def _variable(field: str) -> str:
    return f"{field.upper()}_PORT"


def _unusable(port: int) -> str | None:
    """Why the port cannot be listened on, if so."""
    try:
        # Asked first: some systems let us bind beside a program that listens on every address.
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        pass
    else:
        return "is in use"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
