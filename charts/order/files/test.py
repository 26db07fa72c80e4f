"""Places an order through the Service, sees it paid, and places it again: what `helm test` runs."""

import os
import sys
import time
import uuid
from pathlib import Path

import requests

ORDERS = os.environ["URL"] + "/v1/orders"
ORDER = {
    "currency": "EUR",
    "payment_method": "pm_ok",
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
}

session = requests.Session()
session.headers["Authorization"] = "Bearer " + Path(os.environ["API_KEY_FILE"]).read_text().strip()
key = {"Idempotency-Key": f"helm-test-{uuid.uuid4()}"}


def check(truth, answer, claim):
    """Print what holds, or end the test with the answer that contradicts it."""
    if not truth:
        sys.exit(f"FAILED: {claim}: HTTP {answer.status_code} {answer.text}")
    print("ok:", claim, flush=True)


answer = session.post(ORDERS, json=ORDER, headers={**key, "Prefer": "wait=5"}, timeout=15)
check(answer.status_code == 201, answer, f"POST {ORDERS} places an order")
order = answer.json()["id"]

deadline = time.monotonic() + 30
while answer.json()["status"] == "pending_payment" and time.monotonic() < deadline:
    time.sleep(0.2)
    answer = session.get(f"{ORDERS}/{order}", timeout=15)
check(answer.json()["status"] == "paid", answer, f"order {order} is paid")

answer = session.post(ORDERS, json=ORDER, headers=key, timeout=15)
check(answer.status_code == 201 and answer.json()["id"] == order, answer, "the same key again names the same order")

answer = session.get(f"{ORDERS}/{order}", timeout=15)
check(answer.ok and answer.json()["total_amount"] == 900, answer, f"GET {ORDERS}/{order} shows its total")
