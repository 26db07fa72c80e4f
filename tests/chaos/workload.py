"""Random requests of callers from a seed: they place, pay, replay, cancel, refund and capture orders.

A caller's client retries a request with the same idempotency key until it gets a response or its deadline passes; then
the outcome is recorded as unknown. Acknowledged requests are recorded for the checker.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

import tandem_client
from tandem_client import ApiError, Item, Order, OutcomeUnknown, Refund, Unavailable, UnexpectedAnswer
from tests.support.pair import Client
from tests.support.settings import KEY, OTHER_KEY

MERCHANTS = {"demo": KEY, "other": OTHER_KEY}
METHODS = (
    ["pm_ok"] * 8
    + ["pm_declined", "pm_insufficient_funds", "pm_refund_declined"] * 2
    + ["pm_slow"]
    + ["pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"] * 2
)
DECLINED = ("pm_declined", "pm_insufficient_funds")
CARD_NUMBERS = ("4242424242424242", "4000 0566 5566 5556", "5555-5555-5555-4444")
"""Test numbers that card schemes publish. No database and no log may contain one."""

TIMEOUT, DEADLINE = 3.0, 8.0
"""Seconds for one attempt, and for one request with all its retries."""


@dataclass
class Request:
    """A request, its key, and its final response; None if that is unknown."""

    merchant: str
    kind: str
    body: dict[str, Any] | None
    key: str | None
    status: int | None = None
    answer: dict[str, Any] | None = None


@dataclass
class Log:
    """What the callers know: their requests, counts of outcomes, and wrong responses."""

    requests: list[Request] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Request) -> None:
        """Record a finished request."""
        outcome = "no answer" if request.status is None else str(request.status)
        with self._lock:
            self.requests.append(request)
            self.outcomes[request.kind, outcome] += 1

    def complain(self, what: str) -> None:
        """Record a wrong response."""
        with self._lock:
            self.complaints.append(what)

    def acknowledged(self, *kinds: str) -> list[Request]:
        """Return the requests of these kinds that succeeded."""
        return [r for r in self.requests if r.kind in kinds and r.status in (200, 201, 202)]


class Caller(threading.Thread):
    """One caller with its own random numbers. It stops at `until`, on the monotonic clock."""

    def __init__(self, number: int, seed: int, order_url: str, payment_url: str, log: Log, until: float) -> None:
        super().__init__(name=f"caller-{number}")
        self._random = random.Random(f"{seed}/{number}")
        self.merchant = list(MERCHANTS)[number % len(MERCHANTS)]
        key = MERCHANTS[self.merchant]
        self._tandem = tandem_client.Client(order_url, payment_url, api_key=key, timeout=TIMEOUT, deadline=DEADLINE)
        self._order, self._payment = Client(order_url, key), Client(payment_url, key)  # for the sketch's API
        self._log, self._until = log, until
        self._placed: list[Request] = []

    def finish(self) -> None:
        """Stop after the current request."""
        self._until = time.monotonic()

    def run(self) -> None:
        """Send one random request after another until the time is over."""
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
        with self._tandem:
            while time.monotonic() < self._until:
                try:
                    self._random.choices(choices, weights)[0]()
                except Exception as error:
                    self._log.complain(f"{self.name}: {type(error).__name__}: {error}")
                    raise

    def _send(self, request: Request, act: Callable[..., Order | Refund]) -> Request:
        """Send the request with its key, and record what the caller then knows."""
        wait = self._random.randint(1, 3) if self._random.random() < 0.3 else None
        try:
            result = act(idempotency_key=request.key, wait=wait)
        except ApiError as refusal:
            request.status, request.answer = refusal.status, {"type": refusal.problem.type, "detail": str(refusal)}
        except (OutcomeUnknown, Unavailable) as silence:
            if isinstance(silence.__cause__, ApiError | UnexpectedAnswer):
                self._log.complain(f"{request.kind}: {silence}")
        else:
            request.status, request.answer = result.answer.status, dict(result.answer.body)
        return self._written(request)

    def _repeat(self, request: Request, client: Client, path: str, seconds: float = DEADLINE) -> None:
        """Send a request to the sketch's API, and retry it. That API is idempotent by the ids in the body."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = client.post(path, request.body)
            except requests.RequestException:
                pass
            else:
                if answer.status_code not in (502, 503, 504) and not _is_in_use(answer):
                    request.status, request.answer = answer.status_code, answer.json()
                    break
            time.sleep(self._random.uniform(0.02, 0.2))
        self._written(request)

    def _written(self, request: Request) -> Request:
        if request.status is not None and request.status >= 500:
            self._log.complain(f"{request.kind} {request.key}: {request.status} {request.answer}")
        self._log.add(request)
        return request

    def _placing(self, body: dict[str, Any]) -> Callable[..., Order]:
        """Return a function that places an order with this body."""
        return partial(self._tandem.place_order, **{**body, "items": [Item(**item) for item in body["items"]]})

    def _key(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128)))

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
        request = Request(self.merchant, "place", body, self._key())
        self._placed.append(self._send(request, self._placing(body)))

    def _known(self, likely: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any] | None:
        """Return a recent order, in most cases one that is likely to allow the action: rejections test little."""
        answered = [r for r in self._placed[-30:] if r.answer and r.status == 201]
        if likely is not None and self._random.random() < 0.8:
            answered = [r for r in answered if r.body and likely(r.body)]
        return self._random.choice(answered).answer if answered else None

    def _replay(self) -> None:
        if not self._placed:
            return
        first = self._random.choice(self._placed)
        replay = Request(self.merchant, "replay", first.body, first.key)
        again = self._send(replay, self._placing(first.body or {}))
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
        again = self._send(Request(self.merchant, "reuse", other, first.key), self._placing(other))
        if again.status not in (None, 422):
            self._log.complain(f"the key {first.key} was taken for another request: {again.status}")

    def _act(
        self,
        kind: str,
        act: Callable[..., Order | Refund],
        body: dict[str, Any] | None = None,
        likely: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        order = self._known(likely)
        if order is not None:
            key, this = self._key(), partial(act, order["id"], **(body or {}))
            done = self._send(Request(self.merchant, kind, body, key), this)
            if self._random.random() < 0.2:
                again = self._send(Request(self.merchant, f"{kind} again", body, key), this)
                same = done.answer is None or again.answer is None or done.answer.get("id") == again.answer.get("id")
                if done.status in (200, 201, 202) and (again.status not in (None, 200, 201, 202) or not same):
                    self._log.complain(f"{kind} with the key {key} was answered differently: {again.answer}")

    def _cancel(self) -> None:
        self._act("cancel", self._tandem.cancel)

    def _capture(self) -> None:
        self._act("capture", self._tandem.capture, likely=lambda order: order["capture"] == "manual")

    def _pay_again(self) -> None:
        method = {"payment_method": self._random.choice(METHODS)}
        self._act("pay again", self._tandem.pay_again, method, lambda order: order["payment_method"] in DECLINED)

    def _refund(self) -> None:
        body = {"amount": self._random.randint(1, 6000)} if self._random.random() < 0.7 else None
        self._act("refund", self._tandem.refund, body, lambda order: order["capture"] == "automatic")

    def _look(self) -> None:
        order = self._known()
        if order is None:
            return
        try:
            self._tandem.get_order(order["id"])
        except Unavailable:
            return
        except ApiError as error:
            self._log.complain(f"GET of an acknowledged order: {error}")

    def _sketch(self) -> None:
        order_id = self._key()
        total = self._random.choice([0, 10, 99.5, 100.25])
        body = {"id": order_id, "items": ["item1", "item2"], "total": total}
        self._repeat(Request(self.merchant, "sketch order", body, None), self._order, "/orders")
        if self._random.random() < 0.5:
            paid = {"order_id": order_id, "amount": total}
            self._repeat(Request(self.merchant, "sketch payment", paid, None), self._payment, "/payments", 15.0)

    def _card(self) -> None:
        number = self._random.choice(CARD_NUMBERS)
        body = {
            "currency": "EUR",
            "items": [{"sku": "tea", "quantity": 1, "unit_amount": 1}],
            "payment_method": number,
            "metadata": {number: "x"},
        }
        sent = self._send(Request(self.merchant, "card number", body, self._key()), self._placing(body))
        if sent.status not in (None, 422):
            self._log.complain(f"a card number was accepted: {sent.status}")


def _is_in_use(answer: requests.Response) -> bool:
    return bool(answer.status_code == 409 and answer.json()["type"] == "/problems/idempotency-key-in-use")
