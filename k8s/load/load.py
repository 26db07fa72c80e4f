"""Places orders until there are enough of them or the time is over, then waits until each is paid.

Ends with 1 when an order that was acknowledged is not paid in the end, or none was.
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
AGAIN = (429, 500, 502, 503, 504)
PATIENCE = 60.0  # seconds for the last of them to be paid
ORDER = {
    "currency": "EUR",
    "payment_method": "pm_ok",
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
}


class Load:
    """What all callers share."""

    def __init__(self):
        """The time begins now."""
        self.began = time.monotonic()
        self.until = self.began + SECONDS
        self.left = ORDERS
        self.placed, self.seconds, self.outcomes = [], [], Counter()
        self.lock = threading.Lock()

    def next(self):
        """Whether one more order is to be placed."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and time.monotonic() < self.until

    def call(self):
        """One caller, with one connection."""
        with session() as mine:
            while self.next():
                self.place(mine)

    def place(self, mine):
        """One order, asked for under one key until it is answered or the time is over."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            began = time.monotonic()
            try:
                answer = mine.post(URL, json=ORDER, headers=headers, timeout=10)
            except requests.RequestException as error:
                self.note(type(error).__name__)
                pause = 0.2
            else:
                self.note(answer.status_code)
                if answer.status_code == 201:
                    self.seconds.append(time.monotonic() - began)
                    self.placed.append(answer.json()["id"])
                if answer.status_code not in AGAIN:
                    return
                pause = float(answer.headers.get("Retry-After", 0.2))
            if time.monotonic() + pause > self.until:
                return
            time.sleep(pause)

    def note(self, outcome):
        """Count an answer, or what there was instead of one."""
        with self.lock:
            self.outcomes[outcome] += 1

    def unpaid(self):
        """The orders that are not paid when patience ends."""
        waiting, until = list(self.placed), time.monotonic() + PATIENCE
        with session() as mine:
            while waiting and time.monotonic() < until:
                waiting = [order for order in waiting if not is_paid(mine, order)]
                time.sleep(0.2 if waiting else 0)
        return waiting


def session():
    """A connection that is kept, with the key."""
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {KEY}"
    return made


def is_paid(mine, order):
    """Whether it is; no answer says nothing."""
    try:
        answer = mine.get(f"{URL}/{order}", timeout=10)
    except requests.RequestException:
        return False
    return answer.ok and answer.json()["status"] == "paid"


def main():
    """Print how it goes, and what came of it."""
    load = Load()
    callers = [threading.Thread(target=load.call, daemon=True) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    told = load.began
    while any(caller.is_alive() for caller in callers):
        time.sleep(0.1)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"{told - load.began:4.0f} s  {len(load.placed)} of {ORDERS} orders", flush=True)
    took, times = time.monotonic() - load.began, sorted(load.seconds)
    if not times:
        sys.exit(f"FAILED: no order was acknowledged: {dict(load.outcomes)}")
    print(f"{len(times)} orders in {took:.1f} s, {len(times) / took:.0f} a second; answers: {dict(load.outcomes)}")
    print(f"milliseconds: {times[len(times) // 2] * 1000:.1f} median, {times[len(times) * 99 // 100] * 1000:.1f} p99")
    if unpaid := load.unpaid():
        sys.exit(f"FAILED: acknowledged and not paid: {unpaid}")
    print(f"every one of the {len(times)} is paid", flush=True)


if __name__ == "__main__":
    main()
