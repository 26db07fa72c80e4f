"""Several captures of one authorization, and the release of the rest."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

from payment import reservations
from payment.providers.simulator import Simulator
from tests.integration.payment.test_actions import authorized, operations
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY

FAULTS = "/v1/simulator/faults"


def capture(pair: Pair, payment: dict[str, Any], amount: int | None, *, final: bool = False, key: str = "") -> Any:
    body = {"final": final, **({"amount": amount} if amount is not None else {})}
    return pair.payment.post(f"/v1/payments/{payment['id']}/capture", body, key or str(uuid.uuid4()))


def change(pair: Pair, payment: dict[str, Any], what: str) -> None:
    statement = f"UPDATE payments SET {what}, version = version + 1 WHERE id = %s"
    pair.databases.query("payment", statement, payment["id"])


def read(pair: Pair, payment: dict[str, Any]) -> tuple[str, int, int]:
    now = pair.payment.get(f"/v1/payments/{payment['id']}").json()
    return now["status"], now["authorized_amount"], now["captured_amount"]


def ledger(pair: Pair, payment: dict[str, Any]) -> list[tuple[str, str, int]]:
    entries = pair.payment.get(f"/v1/ledger/entries?payment_id={payment['id']}").json()["data"]
    return sorted((entry["account"], entry["direction"], entry["amount"]) for entry in entries)


def at_provider(pair: Pair, payment: dict[str, Any]) -> list[tuple[str, int, bool, str]]:
    rows = pair.databases.query(
        "payment",
        "SELECT kind, amount, final, result FROM simulator.operations WHERE payment_id = %s ORDER BY at",
        payment["id"],
    )
    return [(row["kind"], row["amount"], row["final"], row["result"]) for row in rows]


def test_each_capture_takes_its_part_and_the_last_one_releases_the_rest(pair: Pair) -> None:
    payment = authorized(pair)
    first = capture(pair, payment, 300)
    assert (first.status_code, first.json()["status"], first.json()["captured_amount"]) == (200, "authorized", 300)
    assert capture(pair, payment, 300).json()["captured_amount"] == 600
    assert capture(pair, payment, 100, final=True).json()["status"] == "captured"
    assert read(pair, payment) == ("captured", 900, 700)
    assert [(o["kind"], o["amount"], o["final"]) for o in operations(pair, payment)] == [
        ("authorize", 900, None),
        ("capture", 300, False),
        ("capture", 300, False),
        ("capture", 100, True),
    ]
    assert len({operation["id"] for operation in operations(pair, payment)}) == 4
    assert ledger(pair, payment) == sorted(
        entry
        for amount in (300, 300, 100)
        for entry in (("provider_clearing", "debit", amount), ("merchant_payable", "credit", amount))
    )
    assert [each[:3] for each in at_provider(pair, payment)[1:]] == [
        ("capture", 300, False),
        ("capture", 300, False),
        ("capture", 100, True),
    ]
    refused(capture(pair, payment, 1), 409, "payment-state")


@pytest.mark.parametrize("amount", [600, None], ids=["its amount", "no amount"])
def test_a_capture_of_all_that_is_left_is_final(pair: Pair, amount: int | None) -> None:
    payment = authorized(pair)
    capture(pair, payment, 300)
    assert capture(pair, payment, amount).json()["status"] == "captured"
    assert read(pair, payment) == ("captured", 900, 900)
    assert at_provider(pair, payment)[-1][:3] == ("capture", 600, True)


def test_the_captures_together_never_exceed_what_is_authorized(pair: Pair) -> None:
    payment = authorized(pair)
    capture(pair, payment, 500)
    refusal = capture(pair, payment, 401)
    refused(refusal, 409, "amount-exceeds-authorized")
    assert refusal.json()["detail"] == "Of 900 authorized, 400 is left to capture."
    assert read(pair, payment) == ("authorized", 900, 500)
    assert len(operations(pair, payment)) == 2


def test_concurrent_captures_take_no_more_than_is_authorized(pair: Pair) -> None:
    payment = authorized(pair, payment_method="pm_ok")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: capture(pair, payment, 250), range(8)))
    assert {response.status_code for response in responses} <= {200, 202, 409}
    taken = sum(operation["amount"] for operation in operations(pair, payment) if operation["kind"] == "capture")
    assert read(pair, payment)[2] == taken <= 900
    assert sum(response.status_code != 409 for response in responses) == taken // 250


def test_a_repeated_capture_takes_its_part_once(pair: Pair) -> None:
    payment, key = authorized(pair), str(uuid.uuid4())
    first = capture(pair, payment, 300, key=key)
    again = capture(pair, payment, 300, key=key)
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    refused(capture(pair, payment, 300, final=True, key=key), 422, "idempotency-key-reused")
    assert read(pair, payment)[2] == 300


def test_a_capture_whose_key_was_purged_takes_its_part_once(pair: Pair) -> None:
    payment, key = authorized(pair), str(uuid.uuid4())
    capture(pair, payment, 400, key=key)
    pair.databases.query("payment", "DELETE FROM idempotency_keys")
    refused(capture(pair, payment, 400, final=True, key=key), 422, "idempotency-key-reused")
    capture(pair, payment, 400, key=key)
    assert read(pair, payment) == ("authorized", 900, 400)


def test_a_capture_with_an_unknown_outcome_takes_its_part_once(pair: Pair) -> None:
    payment = authorized(pair)
    provider = Client(pair.payment.url, INTERNAL_KEY)
    try:
        assert provider.request("PUT", FAULTS, json={"lost_answers_percent": 100}).status_code == 200
        assert capture(pair, payment, 300).status_code == 202
        refused(capture(pair, payment, 100), 409, "payment-state")
        refused(pair.payment.post(f"/v1/payments/{payment['id']}/void", {}), 409, "payment-state")
    finally:
        assert provider.request("PUT", FAULTS, json={}).status_code == 200
    eventually(lambda: read(pair, payment) == ("authorized", 900, 300), "the outcome is known")
    assert at_provider(pair, payment)[1:] == [("capture", 300, False, "succeeded")]


def test_a_declined_capture_leaves_what_was_captured_before(pair: Pair) -> None:
    payment = authorized(pair)
    capture(pair, payment, 300)
    change(pair, payment, "payment_method = 'pm_capture_declined'")
    assert capture(pair, payment, 200).json()["captured_amount"] == 300
    assert operations(pair, payment)[-1]["status"] == "declined"
    assert read(pair, payment) == ("authorized", 900, 300)


def test_a_void_releases_the_rest_and_keeps_what_is_captured(pair: Pair) -> None:
    payment = authorized(pair)
    capture(pair, payment, 300)
    refused(pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {}), 409, "payment-state")
    voided = pair.payment.post(f"/v1/payments/{payment['id']}/void", {}).json()
    assert (voided["status"], voided["captured_amount"]) == ("captured", 300)
    assert at_provider(pair, payment)[-1] == ("void", 600, True, "succeeded")
    refunded = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {}).json()
    assert (refunded["status"], refunded["amount"]) == ("succeeded", 300)


def test_an_expired_authorization_keeps_what_is_captured(pair: Pair) -> None:
    payment = authorized(pair)
    capture(pair, payment, 300)
    change(pair, payment, "expires_at = now()")
    eventually(lambda: read(pair, payment) == ("captured", 900, 300), "the rest is released")
    assert at_provider(pair, payment)[-1][:2] == ("void", 600)


@pytest.mark.parametrize("action", ["capture", "void"])
def test_an_action_that_was_decided_on_an_outdated_row_is_not_carried_out(pair: Pair, action: str) -> None:
    payment = authorized(pair)
    original = reservations.complete

    def late(*args: Any) -> Any:
        """Let another capture come between the decision and the reservation."""
        with mock.patch.object(reservations, "complete", original):
            assert capture(pair, payment, 300).status_code == 200
        return original(*args)

    with mock.patch.object(reservations, "complete", late):
        response = pair.payment.post(f"/v1/payments/{payment['id']}/{action}", {})
    refused(response, 409, "payment-state")
    assert read(pair, payment) == ("authorized", 900, 300)


def test_a_provider_that_captures_once_refuses_to_keep_the_rest(pair: Pair) -> None:
    payment = authorized(pair)
    with mock.patch.object(Simulator, "captures_again", False):
        refused(capture(pair, payment, 300), 409, "final-capture-required")
        assert len(operations(pair, payment)) == 1
        assert capture(pair, payment, 900).json()["status"] == "captured"
