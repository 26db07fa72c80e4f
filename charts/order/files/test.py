"""The chart test that `helm test` runs: takes orders through their states by calling both Services.

Prints one line per passed step. The first failed step prints the response and ends the test with exit status 1.
"""

import os
import sys
import time
import uuid
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

ORDERS = os.environ["URL"] + "/v1/orders"
PAYMENTS = os.environ["PAYMENT_URL"].rstrip("/") + "/v1/payments"
ORDER = {
    "currency": "EUR",
    "payment_method": os.environ.get("DEFAULT_PAYMENT_METHOD", "pm_ok"),
    "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}],
}

session = requests.Session()
# The cluster may admit a new pod to its network, and to DNS, some seconds after the start: connecting is tried again.
session.mount("http://", HTTPAdapter(max_retries=Retry(total=8, read=0, backoff_factor=0.5, backoff_max=4)))
session.headers["Authorization"] = "Bearer " + Path(os.environ["API_KEY_FILE"]).read_text().strip()


def check(passed, response, step):
    """Print the step if it passed; otherwise end the test and print the response."""
    if not passed:
        sys.exit(f"FAILED: {step}: HTTP {response.status_code} {response.text}")
    print("ok:", step, flush=True)


def post(url, body, key=None):
    """Send a POST request that waits up to 5 seconds for the outcome; return the response."""
    headers = {"Idempotency-Key": key or f"helm-test-{uuid.uuid4()}", "Prefer": "wait=5"}
    return session.post(url, json=body, headers=headers, timeout=(3, 15))


def get_until(url, is_done, seconds=30):
    """Poll until `is_done` is true of the JSON body or `seconds` have passed; return the last response."""
    deadline = time.monotonic() + seconds
    while True:
        response = session.get(url, timeout=(3, 15))
        if time.monotonic() > deadline or (response.ok and is_done(response.json())):
            return response
        time.sleep(0.2)


def wait_for_status(placed, status):
    """Poll the order of the response `placed` until it has this status; return the last response."""
    return get_until(f"{ORDERS}/{placed.json()['id']}", lambda order: order["status"] == status)


key = f"helm-test-{uuid.uuid4()}"
placed = post(ORDERS, ORDER, key)
check(placed.status_code == 201, placed, f"POST {ORDERS} places an order of 9.00 EUR")
order = placed.json()["id"]

response = wait_for_status(placed, "paid")
check(response.json()["status"] == "paid", response, f"order {order} is paid")

response = post(ORDERS, ORDER, key)
check(
    response.status_code == 201 and response.json()["id"] == order,
    response,
    "a retry with the same idempotency key returns the same order",
)

response = get_until(f"{PAYMENTS}?order_id={order}", lambda found: found["data"])
amounts = [payment["captured_amount"] for payment in response.json()["data"]]
check(amounts == [900], response, f"GET {PAYMENTS} returns one payment of 9.00 EUR for it")

response = post(f"{ORDERS}/{order}/refunds", {"amount": 400, "reason": "helm test"})
check(response.status_code == 201, response, "a refund of 4.00 EUR is accepted")
response = get_until(f"{ORDERS}/{order}", lambda found: found["refunded_amount"] == 400)
check(response.json()["refunded_amount"] == 400, response, "4.00 EUR are refunded")

response = post(f"{ORDERS}/{order}/cancel", {})
check(response.status_code in (200, 202), response, "the cancellation of the order is accepted")
response = wait_for_status(placed, "canceled")
found = response.json()
check(
    (found["status"], found["refunded_amount"]) == ("canceled", 900),
    response,
    "the order is canceled and all 9.00 EUR are refunded",
)

placed = post(ORDERS, ORDER | {"capture": "manual"})
response = wait_for_status(placed, "authorized")
check(
    response.json()["status"] == "authorized", response, f"order {placed.json()['id']} is authorized but not captured"
)
post(f"{ORDERS}/{placed.json()['id']}/cancel", {})
response = wait_for_status(placed, "canceled")
check(response.json()["status"] == "canceled", response, "it is canceled without a capture")
