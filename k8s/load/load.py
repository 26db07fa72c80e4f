"""Places orders until ORDERS are placed or SECONDS have passed, then waits until each is paid.

Exits with status 1 if no order was acknowledged, or if an acknowledged order is not paid in time.
"""

import os
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import requests

URL = os.environ["ORDER_URL"] + "/v1/orders"
KEY = Path(os.environ["API_KEY_FILE"]).read_text().strip()
ORDERS, SECONDS, CALLERS = (int(os.environ[name]) for name in ("ORDERS", "SECONDS", "CALLERS"))
RETRYABLE = (429, 500, 502, 503, 504)
PAYMENT_TIMEOUT = 60.0  # seconds, for all placed orders to be paid
ORDER = {
    "currency": "EUR",
    "payment_method": "pm_ok",
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
}


class Load:
    """The state that all caller threads share."""

    def __init__(self):
        self.began = time.monotonic()
        self.deadline = self.began + SECONDS
        self.remaining = ORDERS
        self.placed, self.durations, self.outcomes = [], [], Counter()
        self.lock = threading.Lock()

    def take(self):
        """Take one order to place; return False if there are none left or the time is over."""
        with self.lock:
            self.remaining -= 1
            return self.remaining >= 0 and time.monotonic() < self.deadline

    def run_caller(self):
        """Place orders over one connection until there are no more to place."""
        with new_session() as session:
            while self.take():
                self.place(session)

    def place(self, session):
        """Place one order, retrying with the same idempotency key until there is a final response or no time left."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            began = time.monotonic()
            try:
                response = session.post(URL, json=ORDER, headers=headers, timeout=10)
            except requests.RequestException as error:
                self.count(type(error).__name__)
                pause = 0.2
            else:
                self.count(response.status_code)
                if response.status_code == 201:
                    self.durations.append(time.monotonic() - began)
                    self.placed.append(response.json()["id"])
                if response.status_code not in RETRYABLE:
                    return
                pause = float(response.headers.get("Retry-After", 0.2))
            if time.monotonic() + pause > self.deadline:
                return
            time.sleep(pause)

    def count(self, outcome):
        """Count an outcome: a status code, or the name of the exception."""
        with self.lock:
            self.outcomes[outcome] += 1

    def unpaid(self):
        """Wait up to PAYMENT_TIMEOUT for all placed orders to be paid; return the ids of those that are not."""
        waiting, deadline = list(self.placed), time.monotonic() + PAYMENT_TIMEOUT
        with new_session() as session:
            while waiting and time.monotonic() < deadline:
                waiting = [order for order in waiting if not is_paid(session, order)]
                time.sleep(0.2 if waiting else 0)
        return waiting


def new_session():
    """Create a session that sends the API key and keeps its connection."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {KEY}"
    return session


def is_paid(session, order):
    """Return whether the order is known to be paid. A failed request counts as not paid."""
    try:
        response = session.get(f"{URL}/{order}", timeout=10)
    except requests.RequestException:
        return False
    return response.ok and response.json()["status"] == "paid"


def main():
    """Run the load and print its progress every 5 seconds, then the result."""
    load = Load()
    callers = [threading.Thread(target=load.run_caller, daemon=True) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    reported = load.began
    while any(caller.is_alive() for caller in callers):
        time.sleep(0.1)
        if time.monotonic() - reported > 5:
            reported = time.monotonic()
            print(f"{reported - load.began:4.0f} s  {len(load.placed)} of {ORDERS} orders", flush=True)
    took, times = time.monotonic() - load.began, sorted(load.durations)
    if not times:
        sys.exit(f"FAILED: no order was acknowledged: {dict(load.outcomes)}")
    print(f"{len(times)} orders in {took:.1f} s, {len(times) / took:.0f} per second; outcomes: {dict(load.outcomes)}")
    print(f"milliseconds: {times[len(times) // 2] * 1000:.1f} median, {times[len(times) * 99 // 100] * 1000:.1f} p99")
    if unpaid := load.unpaid():
        sys.exit(f"FAILED: acknowledged but not paid: {unpaid}")
    print(f"all {len(times)} orders are paid", flush=True)


if __name__ == "__main__":
    main()
