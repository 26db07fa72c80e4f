"""Every JSON response is written alike: compact, in UTF-8, with exact numbers.

The responses of all operations and their refusals are looked at in test_openapi too, by `tests.support.openapi`.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client as AdminClient

from chassis.money import MAX_AMOUNT
from tests.support.fixtures.per_module import databases, pair
from tests.support.openapi import is_compact
from tests.support.pair import ORDER, Pair
from tests.support.payment_bodies import wanted
from tests.support.webhook_receiver import Receiver, register

__all__ = ["databases", "pair"]

TEXT = 'né : "tea", 茶 🍵'


@pytest.fixture(params=["order", "payment"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text_of(body: bytes) -> str:
    assert is_compact(body), body
    return body.decode()


def test_health_the_openapi_document_and_problems_are_compact(pair: Pair, service: str) -> None:
    client = getattr(pair, service)
    assert client.get("/livez").content == b'{"status":"alive"}'
    assert text_of(client.get("/readyz").content).startswith('{"status":"ready","database":"ok","ms":')
    assert text_of(client.get("/openapi.json").content).startswith('{"openapi":"3.1.0","info":{')
    missing = client.get("/nowhere")
    assert text_of(missing.content).startswith(
        f'{{"type":"{client.url}/problems/not-found","title":"There is nothing here","status":404,"detail":"'
    )
    assert client.get("/nowhere?é").content.isascii()


def test_the_admin_port_is_compact_and_has_problems_too(pair: Pair, service: str) -> None:
    app: Flask = getattr(pair, f"{service}_app")
    admin = AdminClient(app.extensions["tandem"].admin)
    assert admin.get("/livez").data == b'{"status":"alive"}'
    assert is_compact(admin.get("/readyz").data)
    missing = admin.get("/né")
    assert (missing.status_code, missing.content_type) == (404, "application/problem+json")
    assert missing.data == (
        b'{"type":"http://localhost/problems/not-found","title":"There is nothing here","status":404,'
        b'"detail":"This port has no such path.","instance":"/n%C3%A9"}'
    )


def test_an_order_keeps_its_text_and_its_largest_amount(pair: Pair) -> None:
    item = {"sku": TEXT, "quantity": 1, "unit_amount": 10**12}
    items = [{**item, "quantity": 1_000_000}] * 9
    body = {**ORDER, "items": items, "customer": TEXT, "metadata": {TEXT: TEXT}, "payment_method": "pm_declined"}
    placed = pair.order.post("/v1/orders", body, Prefer="wait=10")
    path = placed.headers["Location"]
    shown = pair.order.get(path)
    for answer in (placed, shown, pair.order.get("/v1/orders?limit=1"), pair.order.get(f"{path}/events")):
        text_of(answer.content)
    assert f'"total_amount":{9 * 10**18}' in text_of(shown.content)
    assert shown.json()["customer"] == TEXT
    assert shown.json()["metadata"] == {TEXT: TEXT}
    assert "茶 🍵" in shown.content.decode()


def test_the_total_of_the_sketch_is_written_exactly(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    placed = pair.order.request("POST", "/orders", json={"id": order_id, "items": [TEXT, "b"], "total": 100.1})
    quoted = json.dumps(TEXT, ensure_ascii=False)
    expected = f'{{"id":"{order_id}","items":[{quoted},"b"],"total":100.10'
    assert text_of(placed.content) == expected + "}"
    assert text_of(pair.order.get(f"/orders/{order_id}").content).startswith(f'{expected},"status":"')
    data = f'{{"id": "{uuid.uuid4()}", "items": ["a"], "total": {MAX_AMOUNT // 100}.07}}'
    headers = {"Content-Type": "application/json"}
    large = pair.order.request("POST", "/orders", data=data, headers=headers)
    assert text_of(large.content).endswith(f'"total":{MAX_AMOUNT // 100}.07}}')


def test_the_payment_of_the_sketch_is_compact(pair: Pair) -> None:
    paid = pair.payment.request("POST", "/payments", json={"order_id": str(uuid.uuid4()), "amount": 9})
    assert paid.content == b'{"status":"success"}'


def test_payments_and_sums_beyond_64_bits_are_exact(pair: Pair) -> None:
    for _ in range(3):
        made = pair.payment.post("/v1/payments", wanted(amount=MAX_AMOUNT, currency="SEK"))
        assert f'"captured_amount":{MAX_AMOUNT}' in text_of(made.content)
    entries = pair.payment.get("/v1/ledger/entries?limit=1")
    assert f'"amount":{MAX_AMOUNT}' in text_of(entries.content)
    sums = text_of(pair.payment.get("/v1/ledger/balances?currency=SEK").content)
    assert f'"debits":{3 * MAX_AMOUNT}' in sums
    assert f'"balance":-{3 * MAX_AMOUNT}' in sums
    provider = pair.payment.get(f"/v1/payments/{made.json()['id']}/provider")
    assert text_of(provider.content) == f'{{"captured_amount":{MAX_AMOUNT},"refunded_amount":0,"untold":0,"missing":0}}'


def test_a_webhook_endpoint_with_its_secret_is_compact(pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint: dict[str, Any] = register(pair.order, receiver.url)
        rotated = pair.order.post(f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret", {})
        assert '"secret":"whsec_' in text_of(rotated.content)
        tested = pair.order.post(f"/v1/webhook-endpoints/{endpoint['id']}/test")
        delivery = pair.order.get(tested.headers["Location"])
        for answer in (tested, delivery, pair.order.get("/v1/webhook-endpoints")):
            text_of(answer.content)
