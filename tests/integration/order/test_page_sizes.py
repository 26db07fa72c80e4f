"""A page of a list is bounded in bytes, however large its entries are, and the pages together have all of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from chassis.postgres.lists import LARGEST_PAGE
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair
from tests.support.settings import OTHER_KEY

ORDERS = 15
LABELS = {f"label-{number}": "\N{GRINNING FACE}" * 400 for number in range(50)}
LARGEST = {
    "currency": "EUR",
    "items": [
        {"sku": f"sku-{number:03d}{'x' * 90}", "name": "\N{BANANA}" * 200, "quantity": 9, "unit_amount": 1_000_000}
        for number in range(100)
    ],
    "payment_method": "pm_ok",
    "metadata": LABELS,
}
LARGEST_ENTRY = 400 * 1024  # an order of 256 KiB with the names of members that its request left out, and a refund


@pytest.fixture(scope="module")
def caller(pair: Pair) -> Client:
    """A caller whose merchant has orders and refunds of nearly the largest size, and nothing else."""
    client = Client(pair.order.url, OTHER_KEY)
    orders = [post(client, "/v1/orders", LARGEST) for _ in range(ORDERS)]
    for _ in range(ORDERS):
        post(client, f"/v1/orders/{orders[0]['id']}/refunds", {"amount": 1, "metadata": LABELS})
    return client


def post(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a body in UTF-8, without escapes, and wait for the outcome."""
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=10", "Content-Type": "application/json"}
    data = json.dumps(body, ensure_ascii=False).encode()
    answer = client.request("POST", path, data=data, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def pages(client: Client, path: str, limit: int) -> Iterator[requests.Response]:
    parameter = "after" if path.startswith("/v1/events") else "cursor"
    following: str | None = ""
    while following is not None:
        answer = client.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{following}")
        assert answer.status_code == 200, answer.text
        yield answer
        cursor, more = answer.json()["next_cursor"], answer.json().get("has_more", True)
        following = f"&{parameter}={cursor}" if cursor and more else None


@pytest.mark.adversarial
@pytest.mark.parametrize("limit", [20, 100])
@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("/v1/orders", ORDERS),
        ("/v1/orders?sort=created_at&status=paid,refunded", ORDERS),
        ("/v1/orders?updated_after=2020-01-01T00:00:00Z", ORDERS),
        ("/v1/events", 2 * ORDERS + 2 * ORDERS),
        ("/v1/events?type=refund.succeeded", ORDERS),
        ("/v1/refunds", ORDERS),
        ("/v1/orders/{id}/refunds", ORDERS),
    ],
)
def test_a_page_of_the_largest_entries_is_bounded_in_bytes_and_none_is_skipped(
    caller: Client, path: str, entries: int, limit: int
) -> None:
    first = caller.get("/v1/orders?sort=created_at&limit=1").json()["data"][0]["id"]
    path = path.replace("{id}", first)
    eventually(lambda: caller.get("/v1/orders?status=pending_payment").json()["data"] == [], "all orders are paid")
    answers = list(pages(caller, path, limit))
    found = [entry["id"] for answer in answers for entry in answer.json()["data"]]
    assert len(found) == len(set(found)) == entries
    assert found == [entry["id"] for answer in pages(caller, path, 1) for entry in answer.json()["data"]]
    assert max(len(answer.content) for answer in answers) < LARGEST_PAGE + LARGEST_ENTRY
    assert len(answers) > 1, "one page would have been larger"
