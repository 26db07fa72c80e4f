"""Sends requests as raw bytes that no client library would send."""

from __future__ import annotations

import json
import socket
import uuid
from typing import Any
from urllib.parse import urlsplit

from tests.support.pair import Client
from tests.support.settings import KEY

KIB = 1024


def connect(client: Client) -> socket.socket:
    """Open a connection to a service with a timeout of 20 s."""
    address = urlsplit(client.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=20)


def receive(connection: socket.socket, so_far: bytes = b"") -> tuple[int, dict[str, str], bytes, bytes]:
    """Read one response. Return its status, headers and body, and the bytes after it."""
    while b"\r\n\r\n" not in so_far:
        more = connection.recv(64 * KIB)
        assert more, f"connection closed after {so_far!r}"
        so_far += more
    top, _, body = so_far.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        more = connection.recv(64 * KIB)
        assert more, "the response is incomplete"
        body += more
    return int(first.split()[1]), headers, body[:length], body[length:]


def head(path: str, *lines: str, key: str | None = None) -> bytes:
    usual = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {KEY}",
        f"Idempotency-Key: {key or uuid.uuid4()}",
        "Content-Type: application/json",
    ]
    return "\r\n".join([*usual, *lines, "", ""]).encode()


def chunked(data: bytes, size: int = 8 * KIB) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def exchange(client: Client, request: bytes, *, hang_up: bool = False) -> tuple[int, dict[str, str], Any]:
    """Send these bytes. Return the status, headers and JSON of the response."""
    with connect(client) as connection:
        try:
            connection.sendall(request)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service has responded before it read everything
        status, headers, body, _ = receive(connection)
    return status, headers, json.loads(body)


def refusal(client: Client, request: bytes, status: int, name: str, *, hang_up: bool = False) -> None:
    code, headers, body = exchange(client, request, hang_up=hang_up)
    assert (code, headers["content-type"]) == (status, "application/problem+json"), body
    assert (urlsplit(body["type"]).path, body["status"]) == (f"/problems/{name}", status)
    assert set(body) >= {"title", "detail", "instance", "request_id"}
