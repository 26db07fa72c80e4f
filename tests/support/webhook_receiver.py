"""A merchant's webhook receiver: it keeps the requests, and responds as a test wants."""

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
from tests.support.listening import listening
from tests.support.pair import Client

Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, **headers: str) -> Answer:
    """Return a response with this status code and headers, `_` for `-`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@dataclass
class Received:
    """A received request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The body as JSON."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verified(self, secret: str) -> dict[str, Any]:
        """Return the body if it is signed with the secret. Raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


class Receiver:
    """Listens on `port`, by default a free one, in threads while its `with` block runs.

    `answer` sends the responses; it may be changed at any time.
    """

    def __init__(self, port: int = 0) -> None:
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
                """Print nothing."""

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
        """The URL for webhooks."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def types(self, order_id: str | None = None) -> list[str]:
        """Return the types of the received events, of one order or of all."""
        events = [received.event for received in self.received]
        return [event["type"] for event in events if order_id in (None, event["data"].get("id"))]


def register(client: Client, url: str, **wanted: Any) -> dict[str, Any]:
    """Create an endpoint and return it with its secret. It gets all events unless `events` is given."""
    made = client.post("/v1/webhook-endpoints", {"url": url, "events": list(EVENTS), **wanted})
    assert made.status_code == 201, made.text
    endpoint: dict[str, Any] = made.json()
    return endpoint


def path_of(endpoint: dict[str, Any]) -> str:
    """Return the path of an endpoint."""
    return f"/v1/webhook-endpoints/{endpoint['id']}"


def deliveries(client: Client, endpoint: dict[str, Any], status: str | None = None) -> list[dict[str, Any]]:
    """Return up to a hundred deliveries of an endpoint, newest event first."""
    query = f"?limit=100{f'&status={status}' if status else ''}"
    found: list[dict[str, Any]] = client.get(f"{path_of(endpoint)}/deliveries{query}").json()["data"]
    return found


def delivery(client: Client, endpoint: dict[str, Any], delivery_id: str) -> dict[str, Any]:
    """Return a delivery with its attempts."""
    found: dict[str, Any] = client.get(f"{path_of(endpoint)}/deliveries/{delivery_id}").json()
    return found
