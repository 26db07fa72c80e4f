"""Takes orders through their lives by way of the two Services, and says each step: what `helm test` runs."""

import os
import sys
import time
import uuid
from pathlib import Path

import requests

ORDERS = os.environ["URL"] + "/v1/orders"
PAYMENTS = os.environ["PAYMENT_URL"].rstrip("/") + "/v1/payments"
ORDER = {
    "currency": "EUR",
    "payment_method": os.environ.get("DEFAULT_PAYMENT_METHOD", "pm_ok"),
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
}

session = requests.Session()
session.headers["Authorization"] = "Bearer " + Path(os.environ["API_KEY_FILE"]).read_text().strip()


def step(truth, answer, claim):
    """Print what holds, or end the test with the answer that contradicts it."""
    if not truth:
        sys.exit(f"FAILED: {claim}: HTTP {answer.status_code} {answer.text}")
    print("ok:", claim, flush=True)


def post(url, body, key=None):
    """One request, which waits a while for its outcome."""
    headers = {"Idempotency-Key": key or f"helm-test-{uuid.uuid4()}", "Prefer": "wait=5"}
    return session.post(url, json=body, headers=headers, timeout=15)


def get(url, until, seconds=30):
    """The answer of which `until` is true, or the last one after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = session.get(url, timeout=15)
        if time.monotonic() > deadline or (answer.ok and until(answer.json())):
            return answer
        time.sleep(0.2)


def ends(answer, status):
    """Whether an order is in this state, or gets there."""
    return get(f"{ORDERS}/{answer.json()['id']}", lambda order: order["status"] == status)


key = f"helm-test-{uuid.uuid4()}"
placed = post(ORDERS, ORDER, key)
step(placed.status_code == 201, placed, f"POST {ORDERS} places an order of 9.00 EUR")
order = placed.json()["id"]

answer = ends(placed, "paid")
step(answer.json()["status"] == "paid", answer, f"order {order} is paid")

answer = post(ORDERS, ORDER, key)
step(answer.status_code == 201 and answer.json()["id"] == order, answer, "the same key again names the same order")

answer = get(f"{PAYMENTS}?order_id={order}", lambda found: found["data"])
amounts = [payment["captured_amount"] for payment in answer.json()["data"]]
step(amounts == [900], answer, f"GET {PAYMENTS} shows one payment of 9.00 EUR for it")

answer = post(f"{ORDERS}/{order}/refunds", {"amount": 400, "reason": "helm test"})
step(answer.status_code == 201, answer, "4.00 EUR of it are to be refunded")
answer = get(f"{ORDERS}/{order}", lambda found: found["refunded_amount"] == 400)
step(answer.json()["refunded_amount"] == 400, answer, "4.00 EUR are refunded")

answer = post(f"{ORDERS}/{order}/cancel", {})
step(answer.status_code in (200, 202), answer, "the order is to be canceled")
answer = ends(placed, "canceled")
shown = answer.json()
step((shown["status"], shown["refunded_amount"]) == ("canceled", 900), answer, "it is canceled and all of it is given back")

placed = post(ORDERS, ORDER | {"capture": "manual"})
answer = ends(placed, "authorized")
step(answer.json()["status"] == "authorized", answer, f"order {answer.json()['id']} is authorized, without taking money")
post(f"{ORDERS}/{answer.json()['id']}/cancel", {})
answer = ends(placed, "canceled")
step(answer.json()["status"] == "canceled", answer, "it is canceled, and no money was taken")
