"""Money that changes at Stripe after its operation was settled: its events say so where an operator looks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
import structlog
from prometheus_client import REGISTRY

from chassis.telemetry import logs
from payment import provider_controls
from payment.providers import stripe_events
from tests.support.databases import Databases
from tests.support.pair import Pair
from tests.support.payment_bodies import wanted
from tests.support.providers.stripe_events import event, post_event, settings, signed
from tests.support.providers.worlds import StripeWorld, stripe_behind_proxy

KINDS = ("refund_failed", "refund_by_hand", "disputed")


@pytest.fixture(scope="module")
def world() -> Iterator[StripeWorld]:
    with stripe_behind_proxy() as world:
        yield world


@pytest.fixture(scope="module")
def pair(databases: Databases, world: StripeWorld) -> Iterator[Pair]:
    """Both services; the payment provider is the stand-in for Stripe, which has one second to answer."""
    with mock.patch.dict(os.environ, {**settings(world), "PROVIDER_TIMEOUT": "1"}), Pair(databases) as pair:
        yield pair


@pytest.fixture(autouse=True)
def reachable(world: StripeWorld) -> Iterator[None]:
    yield
    world.proxy.mode = "pass"


def paid(pair: Pair, world: StripeWorld) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.post("/v1/payments", wanted(payment_method=world.ok)).json()
    assert found["status"] == "captured"
    return found


def refunded(pair: Pair, world: StripeWorld) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a payment of which 300 were refunded, and Stripe's refund."""
    payment = paid(pair, world)
    refund = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 300}).json()
    assert refund["status"] == "succeeded"
    return payment, next(
        each for each in world.standin.refunds.values() if each["metadata"].get("tandem_operation") == refund["id"]
    )


def disputed(pair: Pair, world: StripeWorld) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a payment whose customer disputes the charge, and Stripe's dispute."""
    payment = paid(pair, world)
    reference = payment["provider_reference"]
    world.standin.disputed.add(reference)
    charge = world.standin.intents[reference]["latest_charge"]
    return payment, {"object": "dispute", "id": "dp_1", "charge": charge, "payment_intent": reference, "metadata": {}}


def counted() -> dict[str, float]:
    return {kind: REGISTRY.get_sample_value("provider_changes_total", {"kind": kind}) or 0.0 for kind in KINDS}


@contextmanager
def logged_errors() -> Iterator[list[Any]]:
    """Yield a list that has the errors logged in the block once it ends."""
    # A logger keeps the configuration of its first use, which may be that of an earlier service of this process.
    fresh = (mock.patch.object(module, "log", logs.get_logger()) for module in (provider_controls, stripe_events))
    errors: list[Any] = []
    with ExitStack() as patched, structlog.testing.capture_logs() as entries:
        for patch in fresh:
            patched.enter_context(patch)
        yield errors
    errors += [each for each in entries if each["log_level"] == "error"]


@contextmanager
def told(pair: Pair, *expected: tuple[str, dict[str, Any]]) -> Iterator[None]:
    """Assert that exactly these changes of these payments are logged and counted in the block."""
    before = counted()
    with logged_errors() as errors:
        yield
    assert [(each["event"], each["kind"], each["payment_id"]) for each in errors] == [
        ("provider_needs_attention", kind, payment["id"]) for kind, payment in expected
    ]
    after = counted()
    kinds = [kind for kind, _ in expected]
    assert {kind: after[kind] - before[kind] for kind in KINDS} == {kind: kinds.count(kind) for kind in KINDS}
    for _, payment in expected:  # the ledger is an operator's to correct
        assert pair.payment.get(f"/v1/payments/{payment['id']}").json()["version"] == payment["version"]


def send(pair: Pair, kind: str, about: dict[str, Any]) -> int:
    body = event(about, kind)
    return post_event(pair, body, signed(body)).status_code


def now(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}").json()
    return found


@pytest.mark.parametrize(
    ("kind", "status"),
    [("refund.failed", "failed"), ("refund.updated", "canceled"), ("charge.refund.updated", "failed")],
)
def test_a_refund_that_fails_after_it_succeeded_is_told_once_per_event(
    pair: Pair, world: StripeWorld, kind: str, status: str
) -> None:
    payment, refund = refunded(pair, world)
    payment = now(pair, payment)
    refund["status"] = status
    for _ in range(2):
        with told(pair, ("refund_failed", payment)):
            assert send(pair, kind, refund) == 204
    assert now(pair, payment)["refunded_amount"] == 300


def test_a_dispute_is_told(pair: Pair, world: StripeWorld) -> None:
    payment, dispute = disputed(pair, world)
    for kind in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
        with told(pair, ("disputed", payment)):
            assert send(pair, kind, dispute) == 204


def test_a_refund_made_by_hand_is_told(pair: Pair, world: StripeWorld) -> None:
    payment = paid(pair, world)
    refund = world.standin.refund_by_hand(payment["provider_reference"], 200)
    with told(pair, ("refund_by_hand", payment)):
        assert send(pair, "refund.created", refund) == 204


def test_what_an_event_says_is_not_trusted(pair: Pair, world: StripeWorld) -> None:
    payment, refund = refunded(pair, world)
    charge = world.standin.intents[payment["provider_reference"]]["latest_charge"]
    dispute = {"object": "dispute", "id": "dp_2", "charge": charge, "payment_intent": payment["provider_reference"]}
    with told(pair):
        assert send(pair, "refund.failed", {**refund, "status": "failed"}) == 204
        assert send(pair, "refund.created", {**refund, "metadata": {}}) == 204
        assert send(pair, "charge.dispute.created", dispute) == 204


def test_an_event_that_could_not_be_looked_up_is_refused_until_it_can_be(pair: Pair, world: StripeWorld) -> None:
    payment, refund = refunded(pair, world)
    payment = now(pair, payment)
    refund["status"] = "failed"
    body = event(refund, "refund.failed")
    for mode in ("refuse", "swallow_response"):
        world.proxy.mode = mode
        began = time.monotonic()
        with told(pair):
            answer = post_event(pair, body, signed(body))
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (503, "/problems/unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert time.monotonic() - began < 5.0
    world.proxy.mode = "pass"
    with told(pair, ("refund_failed", payment)):
        assert post_event(pair, body, signed(body)).status_code == 204


def test_a_refund_that_the_key_of_stripe_does_not_find_needs_an_operator(pair: Pair, world: StripeWorld) -> None:
    _, refund = refunded(pair, world)
    with logged_errors() as errors:
        assert send(pair, "refund.failed", {**refund, "id": "re_of_another_account", "status": "failed"}) == 503
    assert [(each["event"], each["kind"]) for each in errors] == [("provider_needs_attention", "event")]
    assert "resource_missing" in errors[0]["what"]


def test_only_a_signed_event_of_such_a_change_asks_stripe(pair: Pair, world: StripeWorld) -> None:
    payment, refund = refunded(pair, world)
    _, dispute = disputed(pair, world)
    failed = event({**refund, "status": "failed"}, "refund.failed")
    asked = len(world.standin.requests)
    with told(pair):
        for headers in ({}, signed(failed, "whsec_of_another_account"), signed(failed, at=time.time() - 310)):
            assert post_event(pair, failed, headers).status_code == 400
        for kind, about in (
            ("refund.created", refund),  # by an operation, which has the outcome
            ("refund.updated", refund),
            ("refund.updated", {**refund, "metadata": {}}),
            ("charge.dispute.closed", dispute),
            ("charge.dispute.created", {**dispute, "charge": None}),
            ("refund.failed", {**refund, "id": None}),
            ("payment_intent.succeeded", world.standin.intents[payment["provider_reference"]]),
            ("customer.created", {"object": "customer", "id": "cus_1"}),
        ):
            assert send(pair, kind, about) == 204
    assert len(world.standin.requests) == asked


def test_what_belongs_to_no_payment_here_is_not_told(pair: Pair, world: StripeWorld) -> None:
    payment, refund = refunded(pair, world)
    _, dispute = disputed(pair, world)
    for reference in (payment["provider_reference"], dispute["payment_intent"]):
        world.standin.intents[reference]["metadata"] = {}  # of another program
    by_hand = world.standin.refund_by_hand(payment["provider_reference"], 100)
    refund.update(status="failed", metadata={**refund["metadata"], "tandem_merchant": "another"})
    with told(pair):
        assert send(pair, "refund.created", by_hand) == 204
        assert send(pair, "refund.failed", refund) == 204
        assert send(pair, "charge.dispute.created", dispute) == 204
