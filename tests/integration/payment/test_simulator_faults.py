"""The simulator's switches: what they do to payments of all merchants, and who may touch them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

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
    """Whose key is for all merchants; afterwards no fault is on."""
    peer = Client(pair.payment.url, INTERNAL_KEY)
    yield peer
    assert switch(peer) == NONE


def switch(peer: Client, **faults: Any) -> dict[str, Any]:
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


def test_nothing_is_on_until_it_is_switched_on_and_what_is_left_out_is_off(peer: Client) -> None:
    assert peer.get(PATH).json() == {**NONE, "changed_at": None}
    assert switch(peer, decline=True, delay_ms=5) == {**NONE, "decline": True, "delay_ms": 5}
    assert switch(peer, lost_answers_percent=7) == {**NONE, "lost_answers_percent": 7}
    assert peer.get(PATH).json()["changed_at"] is not None


def test_charges_are_declined_whatever_the_payment_method(pair: Pair, peer: Client) -> None:
    switch(peer, decline=True)
    payment = pay(pair)
    assert (payment["status"], payment["failure_reason"]) == ("failed", "card_declined")
    switch(peer)
    assert pay(pair)["status"] == "captured"


def test_what_was_charged_before_is_still_refunded(pair: Pair, peer: Client) -> None:
    payment = pay(pair)
    switch(peer, decline=True)
    assert pair.payment.post(f"/v1/payments/{payment['id']}/refunds").json()["status"] == "succeeded"


def test_answers_take_their_time(pair: Pair, peer: Client) -> None:
    switch(peer, delay_ms=300)
    began = time.monotonic()
    assert pay(pair)["status"] == "captured"
    assert time.monotonic() - began >= 0.3


def test_while_requests_are_lost_payments_wait_and_then_they_are_made_once(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    switch(peer, lost_requests_percent=100)
    payment = pay(pair)
    assert payment["status"] == "processing"
    eventually(lambda: operation(pair, payment)["attempts"] >= 2, "it was tried again")
    assert operation(pair, payment)["status"] == "pending"
    assert databases.charges(payment["order_id"]) == []
    # Far away, if nobody hurried it.
    databases.query(
        "payment", "UPDATE operations SET available_at = now() + interval '1 hour' WHERE status = 'pending'"
    )
    switch(peer)
    captured(pair, payment)
    assert len(databases.charges(payment["order_id"])) == 1


def operation(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}/operations").json()["data"][0]
    return found


def test_when_answers_are_lost_the_provider_has_acted_and_is_asked_what_it_did(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    switch(peer, lost_answers_percent=100)
    payment = pay(pair)
    assert payment["status"] == "processing"
    captured(pair, payment)
    assert len(databases.charges(payment["order_id"])) == 1


def test_a_part_of_the_requests_is_lost_and_all_payments_are_made_in_the_end(
    pair: Pair, peer: Client, databases: Databases
) -> None:
    switch(peer, lost_requests_percent=50)
    payments = [pay(pair) for _ in range(24)]
    assert {payment["status"] for payment in payments} == {"processing", "captured"}

    def all_are_made() -> bool:
        switch(peer, lost_requests_percent=50)  # which lets what waits be tried again at once
        return databases.query("payment", "SELECT FROM operations WHERE status = 'pending'") == []

    eventually(all_are_made, "all are made")
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
def test_what_makes_no_sense_is_refused_and_changes_nothing(peer: Client, field: str, value: Any) -> None:
    refused = peer.request("PUT", PATH, json={field: value})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, f"/{field}")
    assert {**peer.get(PATH).json(), "changed_at": None} == {**NONE, "changed_at": None}


def test_merchants_have_no_hand_in_it(pair: Pair) -> None:
    stranger = Client(pair.payment.url, None)
    merchant = Client(pair.payment.url, KEY)
    for method in ("GET", "PUT"):
        assert stranger.request(method, PATH, json={}).status_code == 401
        refused = merchant.request(method, PATH, json={})
        assert (refused.status_code, "merchants:any" in refused.headers["WWW-Authenticate"]) == (403, True)


def test_a_key_for_all_merchants_that_may_only_read_switches_nothing(pair: Pair, databases: Databases) -> None:
    made = pair.payment_app.test_cli_runner().invoke(
        args=["keys", "create", "--merchant=ops", "--scope=merchants:any", "--scope=payments:read"]
    )
    reader = Client(pair.payment.url, made.stdout.strip())
    assert reader.get(PATH).status_code == 200
    refused = reader.request("PUT", PATH, json={"decline": True})
    assert (refused.status_code, "payments:write" in refused.headers["WWW-Authenticate"]) == (403, True)


def test_a_real_provider_has_no_faults_to_switch(databases: Databases) -> None:
    app = make(databases, "payment", PROVIDER="stripe", STRIPE_API_KEY="sk_test_faults")
    headers = {"Authorization": f"Bearer {INTERNAL_KEY}"}
    for answer in (app.test_client().get(PATH, headers=headers), app.test_client().put(PATH, json={}, headers=headers)):
        assert (answer.status_code, answer.json["type"] if answer.json else "") == (404, "/problems/not-found")
