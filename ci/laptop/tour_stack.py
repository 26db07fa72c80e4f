"""A running Tandem that the tour breaks, and how it looks at orders, rows and the provider's records."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import requests
from psycopg.rows import dict_row

from ci.laptop import admin
from ci.laptop.state import State

# Seconds until a step must have ended well, on a machine that is busy with other things too.
TIMEOUT = 90.0
SERVING = ("order-web", "order-relay", "payment-web", "payment-relay")
TEA = {
    "currency": "EUR",
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
    "payment_method": "pm_ok",
}


class Failed(Exception):
    """The tour could not go on, or the promise was broken. The message says what happened."""


class Tour:
    """A running Tandem, and what the steps do with it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.say: Callable[[str], None] = print
        self.env = admin.read(state.env)
        self._keys = state.keys()

    def order(self, method: str, path: str, body: Any = None, *, key: str = "", wait: int = 0) -> requests.Response:
        """Send a request to the order service, and return the response. Raises requests.RequestException."""
        headers = {"Authorization": f"Bearer {self.env['API_KEY']}", "Idempotency-Key": key or str(uuid.uuid4())}
        if wait:
            headers["Prefer"] = f"wait={wait}"
        return self._send(method, self.env["ORDER_URL"] + path, headers, body)

    def place(self, key: str = "", wait: int = 0) -> dict[str, Any]:
        """Place an order, again under the same key while there is no response or a 503. Return it."""
        key, deadline, seen = key or str(uuid.uuid4()), time.monotonic() + TIMEOUT, ""
        while time.monotonic() < deadline:
            try:
                response = self.order("POST", "/v1/orders", TEA, key=key, wait=wait)
            except requests.RequestException as error:
                answer = f"no response ({type(error).__name__})"
            else:
                if response.status_code in (200, 201):
                    placed: dict[str, Any] = response.json()
                    self.say(f"  {response.status_code}: order {placed['id']} is {placed['status']}")
                    return placed
                answer = f"{response.status_code} {response.json().get('title', '')}"
            if answer != seen:
                self.say(f"  {answer}; the same request again, under the same key")
                seen = answer
            time.sleep(0.1)
        raise Failed("the order could not be placed")

    def until(self, order_id: str, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read an order until a condition holds. Return it. Raises `Failed` after `TIMEOUT` seconds."""
        began = time.monotonic()
        while time.monotonic() < began + TIMEOUT:
            try:
                found: dict[str, Any] = self.order("GET", f"/v1/orders/{order_id}").json()
                if holds(found):
                    self.say(f"  {time.monotonic() - began:.1f} s later: {what}")
                    return found
            except (requests.RequestException, ValueError):
                pass  # a process restarts; the next attempt reads the order
            time.sleep(0.1)
        raise Failed(f"order {order_id}: not {what} after {TIMEOUT:.0f} s")

    def kill(self, *names: str) -> None:
        """Kill processes of Tandem, with their workers, by SIGKILL. `make run` starts them again.

        Each is the leader of a process group. A worker that outlived its master could still take a request.
        """
        for name in names:
            os.killpg(int((self._state.pids / name).read_text()), signal.SIGKILL)
        self.say(f"  kill -9: {', '.join(names)}")

    @contextmanager
    def lost_answers(self) -> Iterator[None]:
        """Lose all responses of the payment provider while the block runs. The provider acts on the requests."""
        self._faults(100)
        self.say("  from now on, the provider acts, but its responses are lost")
        try:
            yield
        finally:
            self._faults(0)
            self.say("  from now on, the provider's responses arrive")

    def rows(self, service: str, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """Return the rows of a query, after the database accepts connections."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                with psycopg.connect(self.env[f"{service.upper()}_DATABASE_URL"], row_factory=dict_row) as connection:
                    return connection.execute(query, parameters).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def show(self, service: str, query: LiteralString, *parameters: object) -> None:
        """Print the rows of a query."""
        for row in self.rows(service, query, *parameters):
            self.say("  row: " + ", ".join(f"{name} {value}" for name, value in row.items()))

    def check_money(self, order_id: str, refunds: int = 0) -> None:
        """Count what the provider has done for an order, by its own records.

        Raises `Failed` unless that is one charge and so many refunds.
        """
        counted = self.rows(
            "payment",
            "SELECT s.kind, s.calls FROM simulator.operations s JOIN operations o ON o.id = s.key"
            " JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id"
            " WHERE p.order_id = %s AND s.result = 'succeeded'",
            order_id,
        )
        found = [sum(row["kind"] == kind for row in counted) for kind in ("sale", "refund")]
        calls = sum(row["calls"] for row in counted)
        self.say(f"  the provider's own records: {found[0]} charge, {found[1]} refunds, in {calls} requests")
        if found != [1, refunds]:
            raise Failed(f"the provider has made {found[0]} charges and {found[1]} refunds for order {order_id}")

    def _faults(self, percent: int) -> None:
        headers = {"Authorization": f"Bearer {self._keys['PAYMENT_API_KEY']}"}
        url = f"{self.env['PAYMENT_URL']}/v1/simulator/faults"
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                if self._send("PUT", url, headers, {"lost_answers_percent": percent}).status_code == 200:
                    return
            except requests.RequestException:
                pass  # payment restarts
            if time.monotonic() > deadline:
                raise Failed("the faults of the simulated provider could not be set")
            time.sleep(0.1)

    @staticmethod
    def _send(method: str, url: str, headers: dict[str, str], body: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # all requests go to this machine, never through a proxy
            return session.request(method, url, headers=headers, json=body, timeout=20)
