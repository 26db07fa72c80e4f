"""Random requests of callers from a seed: they place, pay, replay, cancel, refund and capture orders.

A caller's client retries a request with the same idempotency key until it gets a response or its deadline passes; then
the outcome is recorded as unknown. All requests are recorded for the checker.

Each caller begins with one action of each kind that every run must have. Then it draws its actions.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests

import tandem_client
from tandem_client import ApiError, Item, Order, OutcomeUnknown, Payment, Refund, Unavailable, UnexpectedAnswer
from tests.chaos.log import Log, Request
from tests.support.pair import Client
from tests.support.settings import KEY, OTHER_KEY

__all__ = ["CARD_NUMBERS", "MERCHANTS", "Caller", "Log", "Request"]

MERCHANTS = {"demo": KEY, "other": OTHER_KEY}
METHODS = (
    ["pm_ok"] * 8
    + ["pm_declined", "pm_insufficient_funds", "pm_refund_declined", "pm_void_declined", "pm_capture_declined"] * 2
    + ["pm_slow"]
    + ["pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"] * 2
)
DECLINED = ("pm_declined", "pm_insufficient_funds")
CARD_NUMBERS = ("4242424242424242", "4000 0566 5566 5556", "5555-5555-5555-4444")
"""Test numbers that card schemes publish. No database and no log may contain one."""

TIMEOUT, DEADLINE = 3.0, 8.0
"""Seconds for one attempt, and for one request with all its retries."""
REPLAY_WITHIN = 6.0
"""Seconds after the first attempt within which callers start to send a request again.

With DEADLINE this is less than the age after which a purge deletes keys: a later replay would be a new request.
"""
DEBT_DEADLINE = 60.0
"""Seconds that a caller waits, after the faults, until an order is placed that was paid already."""


class Caller(threading.Thread):
    """One caller with its own random numbers. It stops at `until`, on the monotonic clock.

    With `loses_orders`, some third-party payments are for orders that nobody places.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        order_url: str,
        payment_url: str,
        log: Log,
        until: float,
        *,
        loses_orders: bool = False,
    ) -> None:
        super().__init__(name=f"caller-{number}", daemon=True)  # ends with a run that has failed
        self._random = random.Random(f"{seed}/{number}")
        self.merchant = list(MERCHANTS)[number % len(MERCHANTS)]
        key = MERCHANTS[self.merchant]
        self._tandem = tandem_client.Client(order_url, payment_url, api_key=key, timeout=TIMEOUT, deadline=DEADLINE)
        self._order, self._payment = Client(order_url, key), Client(payment_url, key)  # for the sketch's API
        self._log, self._until, self._loses_orders = log, until, loses_orders
        self._placed: list[Request] = []
        self._debts: list[dict[str, Any]] = []  # orders of the sketch's API that were paid before they were placed

    def finish(self) -> None:
        """Stop after the current request."""
        self._until = time.monotonic()

    def run(self) -> None:
        """Send one random request after another until the time is over, and then place the orders that are paid."""
        actions: list[tuple[Callable[[], None], int]] = [
            (self._place, 30),
            (self._replay, 12),
            (self._reuse, 4),
            (self._refer_again, 3),
            (self._cancel, 8),
            (self._refund, 14),
            (self._capture, 10),
            (self._pay_again, 6),
            (self._look, 6),
            (self._sketch, 6),
            (self._pay_for_order, 4),
            (self._pay_before_order, 4),
            (self._card, 3),
        ]
        choices, weights = zip(*actions, strict=True)
        with self._tandem:
            try:
                self._begin()
                while time.monotonic() < self._until:
                    self._random.choices(choices, weights)[0]()
                while self._debts:
                    self._place_paid(DEBT_DEADLINE)
            except Exception as error:
                self._log.complain(f"{self.name}: {type(error).__name__}: {error}")
                raise

    def _begin(self) -> None:
        """Have one order each voided, captured, refunded, declined, and paid with an unknown outcome at first."""
        for method, capture, act in (
            ("pm_ok", "manual", self._tandem.cancel),
            ("pm_ok", "manual", self._tandem.capture),
            ("pm_ok", "automatic", self._tandem.refund),
            ("pm_declined", "automatic", None),
            ("pm_timeout_lost", "automatic", None),
        ):
            placed = self._place_with(method, capture, wait=3)
            if act is not None and placed.answer is not None and placed.succeeded:
                order_id = placed.answer["id"]
                if act.__name__ == "capture":
                    part: dict[str, Any] = {"amount": 1, "final": False}
                    capture_part = Request(self.merchant, "capture", part, self._key(), order_id)
                    self._send(capture_part, partial(act, order_id, **part), 3)
                self._send(Request(self.merchant, act.__name__, None, self._key(), order_id), partial(act, order_id))

    def _send(self, request: Request, act: Callable[..., Order | Refund | Payment], wait: int | None = None) -> Request:
        """Send the request with its key, and record what the caller then knows."""
        if wait is None and self._random.random() < 0.3:
            wait = self._random.randint(1, 3)
        try:
            result = act(idempotency_key=request.key, wait=wait)
        except ApiError as refusal:
            request.status, request.answer = refusal.status, {"type": refusal.problem.type, "detail": str(refusal)}
        except (OutcomeUnknown, Unavailable) as silence:
            if isinstance(silence.__cause__, ApiError | UnexpectedAnswer):
                self._log.complain(f"{request.kind}: {silence}")
        else:
            request.status, request.answer = result.answer.status, dict(result.answer.body)
        request.received = time.monotonic()
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
                    request.received = time.monotonic()
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
        self._place_with(self._random.choice(METHODS), self._random.choice(["automatic", "automatic", "manual"]))

    def _place_with(self, method: str, capture: str, wait: int | None = None) -> Request:
        body = {
            "currency": self._random.choice(["EUR", "USD", "JPY"]),
            "items": self._lines(),
            "payment_method": method,
            "capture": capture,
            **({"reference": self._key()} if self._random.random() < 0.5 else {}),
        }
        request = self._send(Request(self.merchant, "place", body, self._key()), self._placing(body), wait)
        self._placed.append(request)
        return request

    def _lines(self) -> list[dict[str, Any]]:
        """Return items, and for some orders shipping, tax and a discount, which may make the order free."""
        lines: list[dict[str, Any]] = [
            {
                "sku": f"sku-{self._random.randint(1, 99)}",
                "quantity": self._random.randint(1, 5),
                "unit_amount": self._random.randint(0, 5000),
            }
            for _ in range(self._random.randint(1, 4))
        ]
        if self._random.random() < 0.7:
            return lines
        lines[0]["tax_amount"] = lines[0]["quantity"] * lines[0]["unit_amount"] // 6
        lines.append({"kind": "shipping", "sku": "parcel", "quantity": 1, "unit_amount": 595, "tax_amount": 95})
        lines.append({"kind": "tax", "sku": "vat", "quantity": 1, "unit_amount": self._random.randint(0, 900)})
        whole = sum(line["quantity"] * line["unit_amount"] for line in lines)
        discount = whole if self._random.random() < 0.1 else self._random.randint(0, whole // 2)
        lines.append({"kind": "discount", "sku": "voucher", "quantity": 1, "unit_amount": -discount})
        return lines

    def _refer_again(self) -> None:
        """Place another order with the reference of one that is acknowledged: it must be refused."""
        order = self._known(lambda order: "reference" in order)
        if order is None or order["reference"] is None:
            return
        body = {"currency": "EUR", "items": self._lines(), "payment_method": "pm_ok", "reference": order["reference"]}
        again = self._send(Request(self.merchant, "reference again", body, self._key()), self._placing(body))
        if again.status is not None and (again.status, order["id"] in str(again.answer)) != (409, True):
            self._log.complain(f"the reference of {order['id']} was taken for another order: {again.status}")

    def _known(self, likely: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any] | None:
        """Return a recent order, in most cases one that is likely to allow the action: rejections test little."""
        answered = [r for r in self._placed[-30:] if r.answer and r.status == 201]
        if likely is not None and self._random.random() < 0.8:
            answered = [r for r in answered if r.body and likely(r.body)]
        return self._random.choice(answered).answer if answered else None

    def _recent(self) -> list[Request]:
        """Return the placed orders whose key may be sent again."""
        return [request for request in self._placed if _is_recent(request)]

    def _replay(self) -> None:
        recent = self._recent()
        if not recent:
            return
        first = self._random.choice(recent)
        replay = Request(self.merchant, "replay", first.body, first.key)
        again = self._send(replay, self._placing(first.body or {}))
        if again.status is None or again.answer is None:
            return
        if again.status != 201:
            self._log.complain(f"a replay of {first.key} was answered with {again.status}")
        elif first.answer is not None and first.answer["id"] != again.answer["id"]:
            self._log.complain(f"the key {first.key} stands for two orders")
        elif first.answer is None:
            first.status, first.answer, first.received = again.status, again.answer, again.received

    def _reuse(self) -> None:
        known = [request for request in self._recent() if request.answer]
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
            done = self._send(Request(self.merchant, kind, body, key, order["id"]), this)
            if self._random.random() < 0.2 and _is_recent(done):
                again = self._send(Request(self.merchant, f"{kind} again", body, key, order["id"]), this)
                same = done.answer is None or again.answer is None or done.answer.get("id") == again.answer.get("id")
                if done.status in (200, 201, 202) and (again.status not in (None, 200, 201, 202) or not same):
                    self._log.complain(f"{kind} with the key {key} was answered differently: {again.answer}")

    def _cancel(self) -> None:
        self._act("cancel", self._tandem.cancel)

    def _capture(self) -> None:
        """Capture all that is left of an order or a part, keep or release the rest; or only release the rest."""
        body: dict[str, Any] = {"amount": self._random.randint(1, 4000)} if self._random.random() < 0.6 else {}
        if self._random.random() < 0.6:
            body["final"] = False
        elif self._random.random() < 0.2:
            body["amount"] = 0
        kind = "release" if body.get("amount") == 0 else "capture"
        self._act(kind, self._tandem.capture, body or None, lambda order: order["capture"] == "manual")

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
        look = Request(self.merchant, "look", None, None, order["id"])
        self._send(look, lambda **_: self._tandem.get_order(order["id"]))
        if look.status not in (None, 200):
            self._log.complain(f"GET of an acknowledged order: {look.status} {look.answer}")

    def _sketch(self) -> None:
        order_id = self._key()
        total = self._random.choice([0, 10, 99.5, 100.25])
        body = {"id": order_id, "items": ["item1", "item2"], "total": total}
        self._repeat(Request(self.merchant, "sketch order", body, None), self._order, "/orders")
        if self._random.random() < 0.5:
            paid = {"order_id": order_id, "amount": total}
            self._repeat(Request(self.merchant, "sketch payment", paid, None), self._payment, "/payments", 15.0)

    def _pay_for_order(self) -> None:
        """Pay, as a third party, for an order that is there: mostly what it costs."""
        method = self._random.choice(["automatic", "manual"])
        order = self._known(lambda order: order["payment_method"] in DECLINED or order["capture"] == method)
        if order is not None and order["total_amount"] > 0:
            amount = order["total_amount"] + self._random.choice([0, 0, 0, 1])
            self._pay_as_third_party(order["id"], amount, order["currency"], order["capture"])

    def _pay_before_order(self) -> None:
        """Pay, as a third party, for an order of the sketch's API that is placed later, or never."""
        order_id, total = self._key(), self._random.choice([99.5, 99.5, 12.0])
        if self._random.random() < 0.5:
            paid = {"order_id": order_id, "amount": 99.5}
            self._repeat(Request(self.merchant, "third party", paid, None), self._payment, "/payments", 15.0)
        else:
            self._pay_as_third_party(order_id, 9950, "EUR", self._random.choice(["automatic", "manual"]))
        if self._loses_orders and self._random.random() < 0.2:
            return
        self._debts.append({"id": order_id, "items": ["item1"], "total": total})
        if self._random.random() < 0.5:
            self._place_paid(DEADLINE)

    def _pay_as_third_party(self, order_id: str, amount: int, currency: str, capture: str) -> None:
        """Create a payment, or get the order's live one. If it is authorized, capture a part in half of the cases."""
        body: dict[str, Any] = {"order_id": order_id, "amount": amount, "currency": currency, "capture": capture}
        pay = partial(self._tandem.create_payment, **body, payment_method="pm_ok")
        request = Request(self.merchant, "third party", body, self._key())
        self._send(request, lambda idempotency_key, wait: pay(idempotency_key=idempotency_key))
        if request.status is not None and not request.succeeded:
            self._log.complain(f"a payment by a third party: {request.status} {request.answer}")
        if request.succeeded and request.answer is not None and request.answer["status"] == "authorized":
            amount = self._random.randint(1, request.answer["amount"])
            part: dict[str, Any] = {"amount": amount, "final": self._random.random() < 0.5}
            take = partial(self._tandem.capture_payment, request.answer["id"], **part)
            if self._random.random() < 0.5:
                capture_part = Request(self.merchant, "third-party capture", part, self._key())
                self._send(capture_part, lambda idempotency_key, wait: take(idempotency_key=idempotency_key))

    def _place_paid(self, seconds: float) -> None:
        """Place an order that is already paid. It stays a debt until that is acknowledged."""
        body = self._debts.pop(0)
        request = Request(self.merchant, "sketch order", body, None)
        self._repeat(request, self._order, "/orders", seconds)
        if request.status is None and seconds < DEBT_DEADLINE:
            self._debts.append(body)

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


def _is_recent(request: Request) -> bool:
    return time.monotonic() - request.sent < REPLAY_WITHIN


def _is_in_use(answer: requests.Response) -> bool:
    return bool(
        answer.status_code == 409 and urlsplit(answer.json()["type"]).path == "/problems/idempotency-key-in-use"
    )
