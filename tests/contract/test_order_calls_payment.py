"""The contract of order's calls to payment (order-payment.json): recorded from order, verified against payment."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import requests

from tests.support.contract import calls
from tests.support.contract.breaks import BREAKS, Break
from tests.support.contract.expectations import Body, broken, compare, stored
from tests.support.pair import Client, Pair
from tests.support.settings import INTERNAL_KEY

CONTRACT = stored("order-payment")


def test_the_committed_contract_is_up_to_date() -> None:
    compare("order-payment", calls.record())


def test_the_contract_has_every_endpoint_that_order_calls() -> None:
    sent = {
        (each["request"]["method"], each["request"]["path"].partition("?")[0])
        for call in CONTRACT
        for each in call["exchanges"]
    }
    assert sent == {
        ("POST", "/v1/payments"),
        ("POST", "/v1/payments/{payment_id}/capture"),
        ("POST", "/v1/payments/{payment_id}/void"),
        ("POST", "/v1/payments/{payment_id}/refunds"),
        ("GET", "/v1/payments/{payment_id}"),
        ("GET", "/v1/payments"),
        ("GET", "/v1/payments/{payment_id}/provider"),
        ("GET", "/v1/payments/{payment_id}/operations"),
        ("GET", "/v1/ledger/entries"),
        ("GET", "/v1/ledger/balances"),
        ("GET", "/v1/simulator/faults"),
        ("PUT", "/v1/simulator/faults"),
        ("GET", "/readyz"),
    }


@pytest.mark.parametrize("call", CONTRACT, ids=lambda call: call["call"])
def test_payment_responds_as_order_expects(pair: Pair, call: Body) -> None:
    assert replay(pair, call) == []


@pytest.mark.parametrize("each", BREAKS, ids=str)
def test_a_payment_service_that_breaks_the_contract_is_detected(
    pair: Pair, each: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    each.apply(monkeypatch)
    assert [wrong for call in CONTRACT for wrong in replay(pair, call)] != []


def replay(pair: Pair, call: Body) -> list[str]:
    """Send the recorded requests to the real payment service. Return how its responses violate the contract."""
    client = Client(pair.payment.url, INTERNAL_KEY)
    names = {name: str(uuid.uuid4()) for name in ("{order_id}", "{message_id}", "{payment_id}")}
    if call["given"] is not None:
        body = {**calls.CREATE, "order_id": names["{order_id}"], **call["given"]}
        made = client.post("/v1/payments", body, Tandem_Merchant="demo")
        names["{payment_id}"] = made.headers["Location"].rpartition("/")[2]
        if call["after"] is not None:
            client.post(f"/v1/payments/{names['{payment_id}']}/{call['after']}", Tandem_Merchant="demo")
    wrong = []
    for exchange in call["exchanges"]:
        answer = send(client, exchange["request"], names)
        if answer.status_code != exchange["answer"]["status"]:
            wrong.append(f"{call['call']}: {answer.status_code}, not {exchange['answer']['status']}")
        else:
            wrong += [f"{call['call']}: {each}" for each in broken(exchange["answer"]["body"], answer.json())]
    return wrong


def send(client: Client, request: Body, names: dict[str, str]) -> requests.Response:
    """Send a recorded request with real ids."""
    text = json.dumps(request)
    for name, value in names.items():
        text = text.replace(name, value)
    wanted: dict[str, Any] = json.loads(text)
    headers = {**wanted["headers"], "Authorization": f"Bearer {client.key}"}
    data = json.dumps(wanted["body"]) if "body" in wanted else None
    return client.request(wanted["method"], wanted["path"], data=data, headers=headers)
