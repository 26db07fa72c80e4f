"""Requests that lead to all kinds of measurements, at a moderate rate."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from ci.laptop.ports import free_port
from tests.support.listening import listening
from tests.support.pair import ORDER, Client
from tests.support.stack import Stack

USUAL = ("pm_ok",) * 20 + ("pm_declined", "pm_flaky", "pm_timeout_charged", "pm_slow", "pm_refund_declined")
FAILING = ("pm_declined",) * 10 + ("pm_timeout_lost",) * 3 + ("pm_slow",) * 3
"""Most are declined, some requests are lost, and some are slow."""


class Load:
    """Callers in threads while the `with` block runs. They ignore failures.

    `methods` are the payment methods of orders; they may be changed at any time.
    """

    def __init__(self, stack: Stack, callers: int = 4) -> None:
        self.methods: tuple[str, ...] = USUAL
        self.requests = 0
        self._stack = stack
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        chance = random.Random(number)
        order, payment = self._stack.order, self._stack.payment
        while not self._ending.wait(chance.uniform(0.05, 0.15)):
            for step in (self._journey, self._reads, self._pay_unknown_order):
                try:
                    step(order, payment, chance)
                except (requests.ConnectionError, requests.Timeout):
                    time.sleep(0.2)  # the service is down: try again

    def _journey(self, order: Client, payment: Client, chance: random.Random) -> None:
        """Place an order, and in most cases cancel, refund or capture it."""
        capture = chance.choice(["automatic", "automatic", "manual"])
        body = {**ORDER, "payment_method": chance.choice(self.methods), "capture": capture}
        headers = {"Prefer": "wait=1"} if chance.random() < 0.6 else {}
        placed = order.post("/v1/orders", body, **headers)
        self.requests += 1
        if placed.status_code != 201:
            return
        path = f"/v1/orders/{placed.json()['id']}"
        actions: list[Callable[[], object]] = [
            lambda: order.post(f"{path}/cancel", {}),
            lambda: order.post(f"{path}/refunds", {"amount": 100}),
            lambda: order.post(f"{path}/refunds", {}),
        ]
        if capture == "manual":
            actions = [lambda: order.post(f"{path}/capture", {}), actions[0]]
        if chance.random() < 0.7:
            chance.choice(actions)()
            self.requests += 1

    def _reads(self, order: Client, payment: Client, chance: random.Random) -> None:
        order.get("/v1/orders?limit=5")
        payment.get("/v1/ledger/balances")
        payment.get("/v1/payments?limit=5")
        order.get(f"/v1/orders/{uuid.uuid4()}")
        self.requests += 4

    def _pay_unknown_order(self, order: Client, payment: Client, chance: random.Random) -> None:
        """Create a payment for an order that does not exist. Its event is sent to order all the same."""
        if chance.random() < 0.5:
            body = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR"}
            payment.post("/v1/payments", {**body, "payment_method": chance.choice(self.methods)})
            self.requests += 1


class DeadEndpoints:
    """Two webhook endpoints while the `with` block runs: nothing listens at one, the other answers 410 Gone."""

    def __init__(self, stack: Stack) -> None:
        self._order = stack.order
        self._running = ExitStack()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Gone)

    def __enter__(self) -> None:
        self._running.enter_context(listening(self._server))
        for port in (free_port(), self._server.server_address[1]):
            made = self._order.post("/v1/webhook-endpoints", {"url": f"http://127.0.0.1:{port}/hook"})
            assert made.status_code == 201, made.text

    def __exit__(self, *_: object) -> None:
        self._running.close()


class _Gone(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(410)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
