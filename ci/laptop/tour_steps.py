"""The steps of the tour. docs/tour.md describes them."""

import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import LiteralString

from ci import ROOT
from ci.laptop.tour_stack import SERVING, Failed, Tour


@dataclass(frozen=True)
class Step:
    """A step of the tour: what it breaks, the row that saves it, and the code that uses this row (file and name)."""

    title: str
    row: str
    file: str
    name: str
    run: Callable[[Tour], None]

    @property
    def place(self) -> str:
        """The file and the line of the code."""
        lines = (ROOT / self.file).read_text().splitlines()
        number = next(n for n, line in enumerate(lines, 1) if re.match(rf"\s*def {self.name}\b", line))
        return f"{self.file}:{number} ({self.name})"


def repeat(tour: Tour) -> None:
    """Send one request ten times at once."""
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(10) as pool:
        ids = {order["id"] for order in pool.map(lambda _: tour.place(key), range(10))}
    if len(ids) != 1:
        raise Failed(f"ten requests with one key made {len(ids)} orders")
    (order_id,) = ids
    tour.until(order_id, "the order is paid", lambda order: order["status"] == "paid")
    tour.show("order", "SELECT key, resource_id FROM idempotency_keys WHERE key = %s", key)
    tour.check_money(order_id)


def kill_payment(tour: Tour) -> None:
    """Place an order while payment is dead."""
    tour.kill("payment-web", "payment-relay")
    order = tour.place()
    sent: LiteralString = "SELECT topic, attempts, delivered_at FROM outbox WHERE aggregate_id = %s"
    tour.show("order", sent, order["id"])
    tour.until(order["id"], "the order is paid", lambda order: order["status"] == "paid")
    tour.show("order", sent, order["id"])
    tour.check_money(order["id"])


def lose_the_answer(tour: Tour) -> None:
    """Lose the response of the provider after it has charged."""
    operations: LiteralString = (
        "SELECT o.kind, o.status, o.attempts FROM operations o JOIN payments p ON p.id = o.payment_id"
        " WHERE p.order_id = %s"
    )
    with tour.lost_answers():
        order = tour.place()
        tour.until(order["id"], "the order is paid", lambda order: order["status"] == "paid")
    tour.say("  payment has looked the operation up at the provider, under its id, and found the charge")
    tour.show("payment", operations, order["id"])
    tour.check_money(order["id"])


def stop_postgres(tour: Tour) -> None:
    """Kill PostgreSQL, and place an order at once."""
    tour.kill("postgres")
    order = tour.place()
    tour.until(order["id"], "the order is paid", lambda order: order["status"] == "paid")
    tour.show("order", "SELECT version, type FROM order_events WHERE order_id = %s ORDER BY version", order["id"])
    tour.check_money(order["id"])


def restart_in_a_refund(tour: Tour) -> None:
    """Kill everything while a refund is under way."""
    order = tour.place(wait=5)
    tour.until(order["id"], "the order is paid", lambda order: order["status"] == "paid")
    refunds: LiteralString = "SELECT amount, status FROM refunds WHERE order_id = %s"
    with tour.lost_answers():
        answer = tour.order("POST", f"/v1/orders/{order['id']}/refunds", {"amount": 300})
        tour.say(f"  {answer.status_code}: a refund of 3.00 EUR is {answer.json().get('status')}")
        tour.show("order", refunds, order["id"])
        tour.kill("postgres", *SERVING)
    tour.until(order["id"], "3.00 EUR are refunded", lambda order: order["refunded_amount"] == 300)
    tour.show("order", refunds, order["id"])
    tour.check_money(order["id"], refunds=1)


STEPS = (
    Step(
        "Send a request ten times at once", "order: idempotency_keys", "apps/order/store/placing.py",
        "insert_under_keys", repeat,
    ),
    Step(
        "Kill payment, and place an order", "order: outbox", "apps/chassis/messaging/relay.py",
        "deliver_many", kill_payment,
    ),
    Step(
        "Lose the provider's response", "payment: operations", "apps/payment/executor.py",
        "execute", lose_the_answer,
    ),
    Step(
        "Stop PostgreSQL, and place an order", "order: orders, order_events", "apps/order/service.py",
        "place", stop_postgres,
    ),
    Step(
        "Restart everything in the middle of a refund", "order: refunds, payment: operations",
        "apps/payment/executor.py", "claim", restart_in_a_refund,
    ),
)  # fmt: skip
