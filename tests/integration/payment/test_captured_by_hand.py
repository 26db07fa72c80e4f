"""Somebody captures an authorization in the dashboard of Stripe, and the next operation of Tandem meets that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.providers.fake_stripe import StandIn

MANUAL = {**ORDER, "payment_method": "pm_card_visa", "capture": "manual"}


@pytest.fixture(scope="module")
def stripe() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def pair(databases: Databases, stripe: StandIn) -> Iterator[Pair]:
    """Both services; the payment provider is the stand-in for Stripe."""
    settings = {"PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_by_hand", "STRIPE_API_BASE": stripe.url}
    with mock.patch.dict(os.environ, settings), Pair(databases) as pair:
        yield pair


def captured_by_hand(pair: Pair, stripe: StandIn, amount: int) -> dict[str, Any]:
    """Return an authorized order of which somebody has captured an amount in the dashboard."""
    order: dict[str, Any] = pair.order.post("/v1/orders", MANUAL, Prefer="wait=10").json()
    assert order["status"] == "authorized"
    reference = pair.payment.get(f"/v1/payments/{order['payment']['id']}").json()["provider_reference"]
    stripe.intents[reference].update(status="succeeded", amount_received=amount, amount_capturable=0)
    return order


def get(pair: Pair, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.order.get(f"/v1/orders/{order['id']}").json()
    return found


def ledger(pair: Pair, order: dict[str, Any]) -> list[tuple[str, str, int]]:
    entries = pair.payment.get(f"/v1/ledger/entries?payment_id={order['payment']['id']}").json()["data"]
    return sorted((entry["account"], entry["direction"], entry["amount"]) for entry in entries)


def test_a_capture_of_the_same_amount_is_counted_once(pair: Pair, stripe: StandIn) -> None:
    order = captured_by_hand(pair, stripe, 700)
    answer = pair.order.post(f"/v1/orders/{order['id']}/capture", {"amount": 700}, Prefer="wait=10")
    assert (answer.json()["status"], answer.json()["paid_amount"]) == ("paid", 700)
    assert ledger(pair, order) == [("merchant_payable", "credit", 700), ("provider_clearing", "debit", 700)]


@pytest.mark.parametrize(
    ("action", "body", "code"), [("cancel", None, "void_declined"), ("capture", {"amount": 900}, "capture_declined")]
)
def test_a_void_or_another_capture_is_declined_and_the_amount_can_be_captured(
    pair: Pair, stripe: StandIn, action: str, body: Any, code: str
) -> None:
    order = captured_by_hand(pair, stripe, 700)
    path = f"/v1/orders/{order['id']}"
    pair.order.post(f"{path}/{action}", body, Prefer="wait=5")
    eventually(lambda: get(pair, order)["last_error"], "the merchant is told")
    found = get(pair, order)
    assert (found["status"], found["last_error"]["code"]) == ("authorized", code)
    assert "captured_by_hand" in found["last_error"]["detail"]
    assert ledger(pair, order) == []
    paid = pair.order.post(f"{path}/capture", {"amount": 700}, Prefer="wait=10").json()
    assert (paid["status"], paid["paid_amount"], paid["last_error"]) == ("paid", 700, None)
    pair.order.post(f"{path}/cancel", Prefer="wait=10")
    eventually(lambda: get(pair, order)["status"] == "canceled", "the money is returned")
    assert [refund["amount"] for refund in stripe.refunds.values()][-1] == 700
