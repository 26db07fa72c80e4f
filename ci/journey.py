"""The first order on a laptop: placed through the API, followed until it is paid, and shown."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import requests

ITEMS = (
    {"sku": "tea-100", "name": "Green tea, 100 g", "quantity": 2, "unit_amount": 450},
    {"sku": "pot-1", "name": "Teapot", "quantity": 1, "unit_amount": 1999},
)
# The simulator's, unless the services were given another provider and what it accepts.
PAYMENT_METHOD = os.environ.get("DEFAULT_PAYMENT_METHOD", "pm_ok")
# Seconds for one answer; the API itself waits up to WAIT of them for the order to be paid.
PATIENCE, WAIT = 15, 5


class Refused(Exception):
    """The order service says that the order cannot be: the text is its answer."""


class Journey:
    """One order of merchant `demo` on its way through both services."""

    def __init__(self, order_url: str, key: str) -> None:
        self.order: dict[str, Any] = {}
        self._url = order_url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._idempotency_key = str(uuid.uuid4())

    def paid(self) -> bool:
        """Place the order at the first call, look at it at the next ones; return whether it is paid.

        An answer that is lost or a service that is not there makes the answer False, as it is the next call's
        to find out: it repeats the same request with the same key. Raises `Refused`.
        """
        try:
            answer = self._get(f"/v1/orders/{self.order['id']}") if self.order else self._place()
        except requests.RequestException:
            return False
        if answer.status_code >= 500:
            return False
        if not answer.ok:
            raise Refused(f"{answer.request.method} {answer.url} was answered {answer.status_code}: {answer.text}")
        self.order = answer.json()
        return bool(self.order["status"] == "paid")

    def lines(self) -> Iterator[str]:
        """The order and its history, for people."""
        order = self.order
        amount = f"{order['total_amount'] / 100:.2f} {order['currency']}"
        yield f"Order {order['id']}, {' and '.join(str(item['name']) for item in ITEMS)} for {amount}:"
        for event in self._get(f"/v1/orders/{order['id']}/events").json()["data"]:
            change = f"{event['from']} -> {event['to']}" if event["from"] else event["to"]
            yield f"  {event['version']}  {event['at'][11:23]}  {event['type']:<24}  {change}"

    def _place(self) -> requests.Response:
        body = {"currency": "EUR", "items": ITEMS, "customer": "cus_17", "payment_method": PAYMENT_METHOD}
        headers = {"Idempotency-Key": self._idempotency_key, "Prefer": f"wait={WAIT}"}
        return _ask("POST", f"{self._url}/v1/orders", json=body, headers=self._headers | headers)

    def _get(self, path: str) -> requests.Response:
        return _ask("GET", self._url + path, headers=self._headers)


def answers_ok(url: str) -> bool:
    """Whether a GET of this URL is answered with 200."""
    try:
        return _ask("GET", url).status_code == 200
    except requests.RequestException:
        return False


def _ask(method: str, url: str, **request: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business between us and ourselves
        return session.request(method, url, timeout=PATIENCE, **request)
