"""Both services in this process: the real applications on real ports, with their relays in threads."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from unittest import mock

import requests
from flask import Flask
from werkzeug.serving import BaseWSGIServer, make_server

import order
import order.commands
import order.config
import payment
import payment.commands
import payment.config
from chassis.messaging.work import WorkLoop
from ci.laptop.ports import free_port
from tests.support.databases import Databases
from tests.support.listening import listening
from tests.support.settings import KEY, environment

ORDER = {
    "currency": "EUR",
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
    "payment_method": "pm_ok",
}


class Client:
    """An HTTP client of one service. With `key=None` it sends no key."""

    def __init__(self, url: str, key: str | None = KEY) -> None:
        self.url, self.key = url, key

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Send a request with the key and a timeout."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers.update(kwargs.pop("headers", {}))
        return requests.request(method, self.url + path, headers=headers, timeout=30, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        """Send a GET request."""
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, key: str | None = None, **headers: str) -> requests.Response:
        """POST a JSON body with an idempotency key, by default a new one. More headers by name, `_` for `-`."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, json=body, headers={"Idempotency-Key": key or str(uuid.uuid4()), **more})


class Pair:
    """Both services on one pair of databases, running while the `with` block does.

    `order` and `payment` are clients with a key of merchant `demo`.
    """

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self.order = Client(f"http://127.0.0.1:{free_port()}")
        self.payment = Client(f"http://127.0.0.1:{free_port()}")
        self._running = ExitStack()
        self._payment_running = ExitStack()

    def __enter__(self) -> Self:
        peers = {"PAYMENT_URL": self.payment.url, "ORDER_URL": self.order.url}
        with mock.patch.dict(os.environ, environment(self.databases.service_url("order"), peers)):
            self.order_app = order.create_app()
        with mock.patch.dict(os.environ, environment(self.databases.service_url("payment"), peers)):
            self.payment_app = payment.create_app()
        self._serve(self._running, self.order_app, self.order.url)
        service = self.order_app.extensions["tandem"]
        self._loop(self._running, *order.commands.loops(service.use_cases["orders"], service.settings))
        deliverer = service.use_cases["webhooks"].deliverer
        self._loop(self._running, deliverer.loop(lease=20.0, poll=service.settings.poll_seconds))
        service = self.payment_app.extensions["tandem"]
        self._loop(self._running, *payment.commands.loops(service.use_cases["payments"], service.settings))
        self.start_payment()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._payment_running.close()
        self._running.close()

    def start_payment(self) -> None:
        """Start the payment service's HTTP server again."""
        self._serve(self._payment_running, self.payment_app, self.payment.url)

    def stop_payment(self) -> None:
        """Stop the payment service's HTTP server. Its port refuses connections."""
        self._payment_running.close()

    def _serve(self, running: ExitStack, app: Flask, url: str) -> None:
        server: BaseWSGIServer = make_server("127.0.0.1", int(url.rpartition(":")[2]), app, threaded=True)
        running.enter_context(listening(server))

    def _loop(self, running: ExitStack, *loops: WorkLoop) -> None:
        threads = [threading.Thread(target=loop.run) for loop in loops]
        for thread, loop in zip(threads, loops, strict=True):
            thread.start()
            running.callback(thread.join)
            running.callback(loop.stop)
