"""What order sends to payment and reads of its answers (order-payment.json), recorded from order, kept by payment."""

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


def test_the_contract_is_what_order_does() -> None:
    compare("order-payment", calls.record())


def test_every_kind_of_call_and_refusal_is_in_the_contract() -> None:
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
def test_payment_answers_as_order_expects(pair: Pair, call: Body) -> None:
    assert replay(pair, call) == []


@pytest.mark.parametrize("each", BREAKS, ids=str)
def test_a_payment_service_that_is_broken_in_one_place_is_found_out(
    pair: Pair, each: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    each.apply(monkeypatch)
    assert [wrong for call in CONTRACT for wrong in replay(pair, call)] != []


def replay(pair: Pair, call: Body) -> list[str]:
    """Make a recorded call of the real payment service; how its answers are not as expected."""
    client = Client(pair.payment.url, INTERNAL_KEY)
    names = {"{order_id}": str(uuid.uuid4()), "{message_id}": str(uuid.uuid4())}
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
    """Send a recorded request, for things that are there."""
    said = json.dumps(request)
    for name, value in names.items():
        said = said.replace(name, value)
    wanted: dict[str, Any] = json.loads(said)
    headers = {**wanted["headers"], "Authorization": f"Bearer {client.key}"}
    data = json.dumps(wanted["body"]) if "body" in wanted else None
    return client.request(wanted["method"], wanted["path"], data=data, headers=headers)
