"""The simulator's injected faults: their effect on payments, and who may set them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.applications import make
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.settings import INTERNAL_KEY, KEY

PATH = "/v1/simulator/faults"
NONE = {"decline": False, "delay_ms": 0, "lost_requests_percent": 0, "lost_answers_percent": 0}


@pytest.fixture
def peer(pair: Pair) -> Iterator[Client]:
    """A client whose key is for all merchants; after the test, the faults are switched off."""
    peer = Client(pair.payment.url, INTERNAL_KEY)
    yield peer
    assert set_faults(peer) == NONE


def set_faults(peer: Client, **faults: Any) -> dict[str, Any]:
    answer = peer.request("PUT", PATH, json=faults)
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name != "changed_at"}


def pay(pair: Pair, method: str = "pm_ok") -> dict[str, Any]:
    made = pair.payment.post("/v1/payments", wanted(payment_method=method))
    assert made.status_code == 201, made.text
    payment: dict[str, Any] = made.json()
    return payment


def captured(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        seen: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}").json()
        return seen if seen["status"] == "captured" else None

    return eventually(look, "it is captured") or {}


def test_faults_are_off_by_default_and_those_left_out_are_switched_off(peer: Client) -> None:
    assert peer.get(PATH).json() == {**NONE, "changed_at": None}
    assert set_faults(peer, decline=True, delay_ms=5) == {**NONE, "decline": True, "delay_ms": 5}
    assert set_faults(peer, lost_answers_percent=7) == {**NONE, "lost_answers_percent": 7}
    assert peer.get(PATH).json()["changed_at"] is not None


def test_charges_are_declined_for_every_payment_method(pair: Pair, peer: Client) -> None:
    set_faults(peer, decline=True)
    payment = pay(pair)
    assert (payment["status"], payment["failure_reason"]) == ("failed", "card_declined")
    set_faults(peer)
    assert pay(pair)["status"] == "captured"


def test_earlier_charges_can_still_be_refunded(pair: Pair, peer: Client) -> None:
    payment = pay(pair)
    set_faults(peer, decline=True)
    assert pair.payment.post(f"/v1/payments/{payment['id']}/refunds").json()["status"] == "succeeded"


def test_answers_are_delayed(pair: Pair, peer: Client) -> None:
    set_faults(peer, delay_ms=300)
    began = time.monotonic()
    assert pay(pair)["status"] == "captured"
    assert time.monotonic() - began >= 0.3


def test_while_requests_are_lost_a_payment_is_processing_and_later_it_is_charged_once(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    set_faults(peer, lost_requests_percent=100)
    payment = pay(pair)
    assert payment["status"] == "processing"
    eventually(lambda: operation(pair, payment)["attempts"] >= 2, "it was attempted again")
    assert operation(pair, payment)["status"] == "pending"
    assert databases.charges(payment["order_id"]) == []
    # Setting faults makes pending operations due; otherwise this one would wait for an hour.
    databases.query(
        "payment", "UPDATE operations SET available_at = now() + interval '1 hour' WHERE status = 'pending'"
    )
    set_faults(peer)
    captured(pair, payment)
    assert len(databases.charges(payment["order_id"])) == 1


def operation(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}/operations").json()["data"][0]
    return found


def test_when_answers_are_lost_the_operation_is_looked_up_and_charged_once(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    set_faults(peer, lost_answers_percent=100)
    payment = pay(pair)
    assert payment["status"] == "processing"
    captured(pair, payment)
    assert len(databases.charges(payment["order_id"])) == 1


def test_when_some_requests_are_lost_all_payments_are_captured_in_the_end(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    set_faults(peer, lost_requests_percent=50)
    payments = [pay(pair) for _ in range(24)]
    assert {payment["status"] for payment in payments} == {"processing", "captured"}

    def all_are_settled() -> bool:
        set_faults(peer, lost_requests_percent=50)  # this makes pending operations due at once
        return databases.query("payment", "SELECT FROM operations WHERE status = 'pending'") == []

    eventually(all_are_settled, "all are settled")
    for payment in payments:
        captured(pair, payment)
        assert len(databases.charges(payment["order_id"])) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decline", "true"),
        ("decline", 1),
        ("delay_ms", 5001),
        ("delay_ms", -1),
        ("lost_requests_percent", 101),
        ("lost_answers_percent", 0.5),
        ("melt", True),
    ],
)
def test_invalid_faults_are_refused_and_change_nothing(peer: Client, field: str, value: Any) -> None:
    refused = peer.request("PUT", PATH, json={field: value})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, f"/{field}")
    assert {**peer.get(PATH).json(), "changed_at": None} == {**NONE, "changed_at": None}


def test_a_merchants_key_can_neither_read_nor_set_faults(pair: Pair) -> None:
    stranger = Client(pair.payment.url, None)
    merchant = Client(pair.payment.url, KEY)
    for method in ("GET", "PUT"):
        assert stranger.request(method, PATH, json={}).status_code == 401
        refused = merchant.request(method, PATH, json={})
        assert (refused.status_code, "merchants:any" in refused.headers["WWW-Authenticate"]) == (403, True)


def test_a_read_only_key_for_all_merchants_cannot_set_faults(pair: Pair, databases: Databases) -> None:
    made = pair.payment_app.test_cli_runner().invoke(
        args=["keys", "create", "--merchant=ops", "--scope=merchants:any", "--scope=payments:read"]
    )
    reader = Client(pair.payment.url, made.stdout.strip())
    assert reader.get(PATH).status_code == 200
    refused = reader.request("PUT", PATH, json={"decline": True})
    assert (refused.status_code, "payments:write" in refused.headers["WWW-Authenticate"]) == (403, True)


def test_with_a_real_provider_the_faults_are_404(databases: Databases) -> None:
    app = make(databases, "payment", PROVIDER="stripe", STRIPE_API_KEY="sk_test_faults")
    headers = {"Authorization": f"Bearer {INTERNAL_KEY}"}
    for answer in (app.test_client().get(PATH, headers=headers), app.test_client().put(PATH, json={}, headers=headers)):
        assert (answer.status_code, urlsplit(answer.json["type"]).path if answer.json else "") == (
            404,
            "/problems/not-found",
        )
