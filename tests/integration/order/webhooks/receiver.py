"""A merchant's receiver of webhooks: what it was sent, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook

from order.transition import EVENTS
from tests.integration.listening import listening
from tests.integration.pair import Client

Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, **headers: str) -> Answer:
    """An answer with this status code and headers, `_` for `-`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The body."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verified(self, secret: str) -> dict[str, Any]:
        """The body, if the secret signed it. Raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


class Receiver:
    """Listens on a port of its own, in threads; `answer` may be changed at any time."""

    def __init__(self, port: int = 0) -> None:
        """Nothing listens before the `with`."""
        self.received: list[Received] = []
        self.answer: Answer = status(204)
        self._port = port
        self._running = ExitStack()

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                receiver.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._running.enter_context(listening(self._server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def types(self, order_id: str | None = None) -> list[str]:
        """The types of what has come in, of an order or all."""
        events = [received.event for received in self.received]
        return [event["type"] for event in events if order_id in (None, event["data"].get("id"))]


def register(client: Client, url: str, **wanted: Any) -> dict[str, Any]:
    """A new endpoint, with its secret; told everything unless `events` says otherwise."""
    made = client.post("/v1/webhook-endpoints", {"url": url, "events": list(EVENTS), **wanted})
    assert made.status_code == 201, made.text
    endpoint: dict[str, Any] = made.json()
    return endpoint


def path_of(endpoint: dict[str, Any]) -> str:
    """Where an endpoint is found."""
    return f"/v1/webhook-endpoints/{endpoint['id']}"


def deliveries(client: Client, endpoint: dict[str, Any], status: str | None = None) -> list[dict[str, Any]]:
    """An endpoint's deliveries, newest event first, a hundred at most."""
    query = f"?limit=100{f'&status={status}' if status else ''}"
    found: list[dict[str, Any]] = client.get(f"{path_of(endpoint)}/deliveries{query}").json()["data"]
    return found


def delivery(client: Client, endpoint: dict[str, Any], delivery_id: str) -> dict[str, Any]:
    """A delivery with its attempts."""
    found: dict[str, Any] = client.get(f"{path_of(endpoint)}/deliveries/{delivery_id}").json()
    return found
