"""What callers do, seeded: they place, pay, replay, cancel, refund and capture, and never lose their keys.

A caller repeats a request with the same key until it is answered, as a careful client does, or gives up at
its deadline and remembers that it does not know. What was acknowledged is written down for the checker.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.integration.pair import Client
from tests.integration.settings import KEY, OTHER_KEY

MERCHANTS = {"demo": KEY, "other": OTHER_KEY}
METHODS = (
    ["pm_ok"] * 8
    + ["pm_declined", "pm_insufficient_funds", "pm_refund_declined"] * 2
    + ["pm_slow"]
    + ["pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"] * 2
)
DECLINED = ("pm_declined", "pm_insufficient_funds")
CARD_NUMBERS = ("4242424242424242", "4000 0566 5566 5556", "5555-5555-5555-4444")
"""Test numbers that card schemes publish; none of them may ever be found in a database or a log."""


@dataclass
class Request:
    """One intention: a request, its key, and every answer that it was given."""

    merchant: str
    kind: str
    path: str
    body: dict[str, Any] | None
    key: str | None
    status: int | None = None
    answer: dict[str, Any] | None = None
    errors: int = 0


@dataclass
class Log:
    """What callers know."""

    requests: list[Request] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Request) -> None:
        """Write a finished request down."""
        outcome = "no answer" if request.status is None else str(request.status)
        with self._lock:
            self.requests.append(request)
            self.outcomes[request.kind, outcome] += 1

    def complain(self, what: str) -> None:
        """Write down an answer that should never have been given."""
        with self._lock:
            self.complaints.append(what)

    def acknowledged(self, *kinds: str) -> list[Request]:
        """The requests of these kinds that were answered with success."""
        return [r for r in self.requests if r.kind in kinds and r.status in (200, 201, 202)]


class Caller(threading.Thread):
    """One caller with its own random numbers."""

    def __init__(self, number: int, seed: int, order_url: str, payment_url: str, log: Log, until: float) -> None:
        """`until` is on the monotonic clock."""
        super().__init__(name=f"caller-{number}")
        self._random = random.Random(f"{seed}/{number}")
        self.merchant = list(MERCHANTS)[number % len(MERCHANTS)]
        key = MERCHANTS[self.merchant]
        self._order, self._payment = Client(order_url, key), Client(payment_url, key)
        self._log, self._until = log, until
        self._placed: list[Request] = []

    def run(self) -> None:
        """Do one thing after another until the time is over."""
        actions: list[tuple[Callable[[], None], int]] = [
            (self._place, 30),
            (self._replay, 12),
            (self._reuse, 4),
            (self._cancel, 8),
            (self._refund, 14),
            (self._capture, 10),
            (self._pay_again, 6),
            (self._look, 6),
            (self._sketch, 6),
            (self._card, 3),
        ]
        choices, weights = zip(*actions, strict=True)
        while time.monotonic() < self._until:
            try:
                self._random.choices(choices, weights)[0]()
            except Exception as error:
                self._log.complain(f"{self.name}: {type(error).__name__}: {error}")
                raise

    def _send(self, request: Request, client: Client, patience: float = 8.0) -> Request:
        deadline = time.monotonic() + patience
        headers = {"Prefer": f"wait={self._random.randint(1, 3)}"} if self._random.random() < 0.3 else {}
        while True:
            try:
                answer = client.post(request.path, request.body, request.key, **headers)
            except requests.RequestException:
                request.errors += 1
            else:
                passing = answer.status_code in (502, 503, 504) or (
                    answer.status_code == 409 and answer.json()["type"] == "/problems/idempotency-key-in-use"
                )
                if not passing:
                    request.status = answer.status_code
                    request.answer = answer.json() if answer.content else {}
                    break
                request.errors += 1
            if time.monotonic() > deadline:
                break
            time.sleep(self._random.uniform(0.02, 0.2))
        if request.status is not None and request.status >= 500:
            self._log.complain(f"{request.kind} {request.path}: {request.status} {request.answer}")
        self._log.add(request)
        return request

    def _place(self) -> None:
        items = [
            {
                "sku": f"sku-{self._random.randint(1, 99)}",
                "quantity": self._random.randint(1, 5),
                "unit_amount": self._random.randint(0, 5000),
            }
            for _ in range(self._random.randint(1, 4))
        ]
        body = {
            "currency": self._random.choice(["EUR", "USD", "JPY"]),
            "items": items,
            "payment_method": self._random.choice(METHODS),
            "capture": self._random.choice(["automatic", "automatic", "manual"]),
        }
        request = Request(self.merchant, "place", "/v1/orders", body, str(uuid.UUID(int=self._random.getrandbits(128))))
        self._placed.append(self._send(request, self._order))

    def _known(self, likely: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any] | None:
        """An order of late; mostly one that is likely to allow what is wanted, for refusals teach little."""
        answered = [r for r in self._placed[-30:] if r.answer and r.status == 201]
        if likely is not None and self._random.random() < 0.8:
            answered = [r for r in answered if r.body and likely(r.body)]
        return self._random.choice(answered).answer if answered else None

    def _replay(self) -> None:
        if not self._placed:
            return
        first = self._random.choice(self._placed)
        again = self._send(Request(self.merchant, "replay", first.path, first.body, first.key), self._order)
        if again.status is None or again.answer is None:
            return
        if again.status != 201:
            self._log.complain(f"a replay of {first.key} was answered with {again.status}")
        elif first.answer is not None and first.answer["id"] != again.answer["id"]:
            self._log.complain(f"the key {first.key} stands for two orders")
        elif first.answer is None:
            first.status, first.answer = again.status, again.answer

    def _reuse(self) -> None:
        known = [r for r in self._placed if r.answer]
        if not known:
            return
        first = self._random.choice(known)
        other = {**(first.body or {}), "payment_method": "pm_other"}
        again = self._send(Request(self.merchant, "reuse", first.path, other, first.key), self._order)
        if again.status not in (None, 422):
            self._log.complain(f"the key {first.key} was taken for another request: {again.status}")

    def _act(
        self,
        kind: str,
        action: str,
        body: dict[str, Any] | None = None,
        likely: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        order = self._known(likely)
        if order is not None:
            key = str(uuid.UUID(int=self._random.getrandbits(128)))
            path = f"/v1/orders/{order['id']}/{action}"
            done = self._send(Request(self.merchant, kind, path, body, key), self._order)
            if self._random.random() < 0.2:
                again = self._send(Request(self.merchant, f"{kind} again", path, body, key), self._order)
                same = done.answer is None or again.answer is None or done.answer.get("id") == again.answer.get("id")
                if done.status in (200, 201, 202) and (again.status not in (None, 200, 201, 202) or not same):
                    self._log.complain(f"{kind} with the key {key} was answered differently: {again.answer}")

    def _cancel(self) -> None:
        self._act("cancel", "cancel")

    def _capture(self) -> None:
        self._act("capture", "capture", likely=lambda order: order["capture"] == "manual")

    def _pay_again(self) -> None:
        method = {"payment_method": self._random.choice(METHODS)}
        self._act("pay again", "payment-attempts", method, lambda order: order["payment_method"] in DECLINED)

    def _refund(self) -> None:
        body = {"amount": self._random.randint(1, 6000)} if self._random.random() < 0.7 else None
        self._act("refund", "refunds", body, lambda order: order["capture"] == "automatic")

    def _look(self) -> None:
        order = self._known()
        if order is None:
            return
        try:
            answer = self._order.get(f"/v1/orders/{order['id']}")
        except requests.RequestException:
            return
        if answer.status_code not in (200, 503):
            self._log.complain(f"GET of an acknowledged order: {answer.status_code}")

    def _sketch(self) -> None:
        order_id = str(uuid.UUID(int=self._random.getrandbits(128)))
        total = self._random.choice([0, 10, 99.5, 100.25])
        body = {"id": order_id, "items": ["item1", "item2"], "total": total}
        self._send(Request(self.merchant, "sketch order", "/orders", body, None), self._order)
        if self._random.random() < 0.5:
            paid = {"order_id": order_id, "amount": total}
            self._send(Request(self.merchant, "sketch payment", "/payments", paid, None), self._payment, 15.0)

    def _card(self) -> None:
        number = self._random.choice(CARD_NUMBERS)
        body = {
            "currency": "EUR",
            "items": [{"sku": "tea", "quantity": 1, "unit_amount": 1}],
            "payment_method": number,
            "metadata": {number: "x"},
        }
        sent = self._send(Request(self.merchant, "card number", "/v1/orders", body, str(uuid.uuid4())), self._order)
        if sent.status not in (None, 422):
            self._log.complain(f"a card number was accepted: {sent.status}")
