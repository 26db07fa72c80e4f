"""Events of the payment provider: each is a hint to look up the operation at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest

import payment
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.payment_bodies import wanted
from tests.support.providers.stripe_events import OLD_SECRET, event, post_event, settings, signed
from tests.support.providers.worlds import StripeWorld, stripe_behind_proxy
from tests.support.settings import environment


@pytest.fixture(scope="module")
def world() -> Iterator[StripeWorld]:
    with stripe_behind_proxy() as world:
        yield world


@pytest.fixture(scope="module")
def pair(databases: Databases, world: StripeWorld) -> Iterator[Pair]:
    """Both services; the payment provider is the stand-in for Stripe."""
    with mock.patch.dict(os.environ, settings(world)), Pair(databases) as pair:
        yield pair


def processing(pair: Pair, world: StripeWorld, mode: str, token: str) -> dict[str, Any]:
    """A payment whose first answer was lost; its next attempt is an hour away."""
    world.proxy.mode = mode
    found: dict[str, Any] = pair.payment.post("/v1/payments", wanted(payment_method=token)).json()
    postpone(pair, found["id"])
    world.proxy.mode = "pass"
    assert found["status"] == "processing"
    return found


def postpone(pair: Pair, payment_id: str) -> None:
    eventually(
        lambda: pair.databases.query(
            "payment",
            "UPDATE operations SET available_at = now() + interval '1 hour'"
            " WHERE payment_id = %s AND status = 'pending' AND leased_until IS NULL RETURNING id",
            payment_id,
        ),
        "the operation is released",
    )


def intent_of(pair: Pair, world: StripeWorld, payment_id: str) -> dict[str, Any]:
    return next(each for each in world.standin.intents.values() if each["metadata"]["tandem_payment"] == payment_id)


def is_due(pair: Pair, payment_id: str) -> bool:
    rows = pair.databases.query(
        "payment",
        "SELECT available_at <= now() AS due FROM operations WHERE payment_id = %s ORDER BY created_at DESC",
        payment_id,
    )
    return bool(rows[0]["due"])


def status(pair: Pair, payment_id: str) -> str:
    return str(pair.payment.get(f"/v1/payments/{payment_id}").json()["status"])


def test_an_event_makes_the_executor_look_up_the_operation_at_once(pair: Pair, world: StripeWorld) -> None:
    found = processing(pair, world, "cut_response", world.ok)
    body = event(intent_of(pair, world, found["id"]))
    for _ in range(3):  # Stripe delivers at least once
        answer = post_event(pair, body, signed(body))
        assert (answer.status_code, answer.content) == (204, b"")
    eventually(lambda: status(pair, found["id"]) == "captured", "the operation was looked up")
    assert post_event(pair, body, signed(body, OLD_SECRET)).status_code == 204  # late, and signed with the other secret
    charges = [each for each in world.standin.intents.values() if each["metadata"]["tandem_payment"] == found["id"]]
    assert [charge["status"] for charge in charges] == ["succeeded"]
    operations = pair.payment.get(f"/v1/payments/{found['id']}/operations").json()["data"]
    assert [(each["kind"], each["status"], each["provider_reference"]) for each in operations] == [
        ("sale", "succeeded", charges[0]["id"])
    ]


def test_an_event_is_only_a_hint_and_its_content_is_not_trusted(pair: Pair, world: StripeWorld) -> None:
    token, reason = world.declined
    found = processing(pair, world, "cut_response", token)
    forged = {**intent_of(pair, world, found["id"]), "status": "succeeded", "amount_received": 900}
    body = event(forged)
    assert post_event(pair, body, signed(body)).status_code == 204
    eventually(lambda: status(pair, found["id"]) != "processing", "the operation was looked up")
    after = pair.payment.get(f"/v1/payments/{found['id']}").json()
    assert (after["status"], after["failure_reason"], after["captured_amount"]) == ("failed", reason, 0)


def test_an_event_without_an_operation_id_is_matched_by_the_payments_reference(pair: Pair, world: StripeWorld) -> None:
    paid = pair.payment.post("/v1/payments", wanted(payment_method=world.ok)).json()
    assert paid["status"] == "captured"
    world.proxy.mode = "cut_response"
    refund = pair.payment.post(f"/v1/payments/{paid['id']}/refunds", {"amount": 300}).json()
    postpone(pair, paid["id"])
    world.proxy.mode = "pass"
    assert refund["status"] == "pending"
    about = {"object": "charge", "id": "ch_1", "payment_intent": paid["provider_reference"], "metadata": {}}
    body = event(about, "charge.refunded")
    assert post_event(pair, body, signed(body)).status_code == 204
    path = f"/v1/payments/{paid['id']}"
    eventually(lambda: pair.payment.get(path).json()["refunded_amount"] == 300, "the refund was looked up")
    assert [each["amount"] for each in world.standin.refunds.values()] == [300]


def test_an_event_without_a_valid_signature_changes_nothing(pair: Pair, world: StripeWorld) -> None:
    found = processing(pair, world, "cut_request", world.ok)
    operation = pair.payment.get(f"/v1/payments/{found['id']}/operations").json()["data"][0]["id"]
    body = event({"object": "payment_intent", "id": "pi_0", "metadata": {"tandem_operation": operation}})
    good = signed(body)
    bad: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {pair.payment.key}"},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1"},
        {"Stripe-Signature": f"t={int(time.time())},v1=\u00e9"},
        {"Stripe-Signature": good["Stripe-Signature"].replace("v1=", "v0=")},
        {"Stripe-Signature": good["Stripe-Signature"][:-1] + ("0" if good["Stripe-Signature"][-1] != "0" else "1")},
        signed(body, "whsec_of_another_account"),
        signed(body, at=time.time() - 310),
        signed(body + b" "),
    ]
    for headers in bad:
        answer = post_event(pair, body, headers)
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (400, "/problems/invalid-signature"), (
            headers
        )
    answer = post_event(pair, b"\xff" + body, good)  # not UTF-8
    assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (400, "/problems/invalid-signature")
    assert not is_due(pair, found["id"])
    assert post_event(pair, body, good).status_code == 204
    eventually(lambda: status(pair, found["id"]) == "captured", "the operation was looked up")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{}", b'{"object": "v2.core.event"}', b'{"data": {}}', b'{"data": {"object": 1}}']
)
def test_a_signed_body_that_is_not_an_event_is_400(pair: Pair, body: bytes) -> None:
    answer = post_event(pair, body, signed(body))
    assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (400, "/problems/malformed-request")


def test_a_body_that_is_not_text_is_400(pair: Pair) -> None:
    assert post_event(pair, b"\xff\xfe", signed(b"{}")).status_code == 400


@pytest.mark.parametrize(
    "about",
    [
        {"object": "payment_intent", "id": "pi_of_another_program", "metadata": {"tandem_operation": "x"}},
        {"object": "customer", "id": "cus_1"},
        {"object": "refund", "id": "re_1", "payment_intent": None, "metadata": None},
    ],
)
def test_events_about_something_else_are_accepted_and_ignored(pair: Pair, about: dict[str, Any]) -> None:
    body = event(about, "something.happened")
    assert post_event(pair, body, signed(body)).status_code == 204


@pytest.mark.parametrize("provider", ["simulator", "paypal", "Stripe"])
def test_events_of_another_provider_are_404(pair: Pair, provider: str) -> None:
    body = event({"object": "customer", "id": "cus_1"})
    answer = post_event(pair, body, signed(body), provider)
    assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (404, "/problems/not-found")


@pytest.mark.parametrize("provider", ["simulator", "stripe"])
def test_with_the_simulator_events_are_404(databases: Databases, provider: str) -> None:
    with mock.patch.dict(os.environ, environment(databases.service_url("payment"), {"PROVIDER": "simulator"})):
        client = payment.create_app().test_client()
    assert client.post(f"/v1/provider-events/{provider}", data=b"{}").status_code == 404
