"""Several captures of an order through both services, the release of the rest, and a restored database."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from payment.providers.simulator import Simulator
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.problems import refused


def order(pair: Pair, method: str = "pm_ok") -> dict[str, Any]:
    """Place an order of 900 and return it when its payment is authorized."""
    body = {
        "currency": "EUR",
        "items": [{"sku": "tea", "quantity": 2, "unit_amount": 450}],
        "payment_method": method,
        "capture": "manual",
    }
    placed: dict[str, Any] = pair.order.post("/v1/orders", body, Prefer="wait=8").json()
    assert placed["status"] == "authorized"
    return placed


def act(pair: Pair, placed: dict[str, Any], action: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
    path = f"/v1/orders/{placed['id']}/{action}"
    return pair.order.post(path, body or {}, key or str(uuid.uuid4()), Prefer="wait=8")


def part(pair: Pair, placed: dict[str, Any], amount: int, key: str = "") -> Any:
    return act(pair, placed, "capture", {"amount": amount, "final": False}, key)


def seen(body: dict[str, Any]) -> tuple[str, int, int]:
    return body["status"], body["paid_amount"], body["refunded_amount"]


def read(pair: Pair, placed: dict[str, Any]) -> tuple[str, int, int]:
    return seen(pair.order.get(f"/v1/orders/{placed['id']}").json())


def captures(pair: Pair, placed: dict[str, Any]) -> list[tuple[int, bool]]:
    """Return what the provider has captured for an order."""
    rows = pair.databases.query(
        "payment",
        "SELECT amount, final FROM simulator.operations WHERE order_id = %s AND kind = 'capture'"
        " AND result = 'succeeded' ORDER BY at",
        placed["id"],
    )
    return [(row["amount"], row["final"]) for row in rows]


def change_payment(pair: Pair, placed: dict[str, Any], what: str) -> None:
    pair.databases.query(
        "payment", f"UPDATE payments SET {what}, version = version + 1 WHERE id = %s", placed["payment"]["id"]
    )


def history(pair: Pair, placed: dict[str, Any]) -> list[tuple[str, int | None]]:
    events = pair.order.get(f"/v1/orders/{placed['id']}/events?limit=100").json()["data"]
    return [(event["type"], event["data"].get("capture_amount")) for event in events]


def test_each_shipment_is_captured_and_the_last_one_pays_the_order(pair: Pair) -> None:
    placed = order(pair)
    first = part(pair, placed, 300)
    assert (first.status_code, seen(first.json())) == (200, ("authorized", 300, 0))
    assert first.json()["payment"]["captured_amount"] == 300
    assert first.json()["payment"]["status"] == "authorized"
    assert seen(part(pair, placed, 300).json()) == ("authorized", 600, 0)
    assert seen(act(pair, placed, "capture", {"amount": 100}).json()) == ("paid", 700, 0)
    assert captures(pair, placed) == [(300, False), (300, False), (100, True)]
    assert [step for step in history(pair, placed) if "captur" in step[0] or step[0] == "order.paid"] == [
        ("payment.capture_requested", 300),
        ("order.partially_captured", 300),
        ("payment.capture_requested", 300),
        ("order.partially_captured", 300),
        ("payment.capture_requested", 100),
        ("order.paid", None),
    ]
    assert seen(act(pair, placed, "cancel").json()) == ("canceled", 700, 700)


def test_a_repeated_capture_takes_its_part_once(pair: Pair) -> None:
    placed, key = order(pair), str(uuid.uuid4())
    first, again = part(pair, placed, 300, key), part(pair, placed, 300, key)
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    refused(act(pair, placed, "capture", {"amount": 300}, key), 422, "idempotency-key-reused")
    assert captures(pair, placed) == [(300, False)]


def test_concurrent_captures_are_carried_out_one_at_a_time(pair: Pair) -> None:
    placed = order(pair)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: part(pair, placed, 250), range(8)))
    assert {response.status_code for response in responses} <= {200, 202, 409}
    made = sum(response.status_code != 409 for response in responses)
    eventually(lambda: read(pair, placed)[1] == 250 * made, "all accepted captures are carried out")
    assert captures(pair, placed) == [(250, False)] * made


def test_what_an_order_refuses_changes_nothing(pair: Pair) -> None:
    placed = order(pair)
    refused(act(pair, placed, "capture", {"amount": 0}), 409, "order-state")
    refused(act(pair, placed, "capture", {"amount": 0, "final": False}), 422, "validation", "/final")
    refused(act(pair, placed, "capture", {"final": "no"}), 422, "validation", "/final")
    part(pair, placed, 300)
    refused(part(pair, placed, 601), 409, "amount-exceeds-authorized")
    refused(act(pair, placed, "refunds", {"amount": 100}), 409, "order-state")
    assert (read(pair, placed), captures(pair, placed)) == (("authorized", 300, 0), [(300, False)])


def test_the_rest_is_released_without_another_capture(pair: Pair) -> None:
    placed, key = order(pair), str(uuid.uuid4())
    part(pair, placed, 300)
    released = act(pair, placed, "capture", {"amount": 0}, key)
    assert (released.status_code, seen(released.json())) == (200, ("paid", 300, 0))
    assert act(pair, placed, "capture", {"amount": 0}, key).headers["Idempotency-Replayed"] == "true"
    assert captures(pair, placed) == [(300, False)]
    assert act(pair, placed, "refunds").json()["amount"] == 300
    assert read(pair, placed) == ("refunded", 300, 300)


def test_a_cancel_releases_the_rest_and_refunds_the_part(pair: Pair) -> None:
    placed = order(pair)
    part(pair, placed, 300)
    assert seen(act(pair, placed, "cancel").json()) == ("canceled", 300, 300)
    entries = pair.payment.get(f"/v1/ledger/entries?payment_id={placed['payment']['id']}").json()["data"]
    assert sorted((entry["account"], entry["direction"], entry["amount"]) for entry in entries) == [
        (account, direction, 300)
        for account in ("merchant_payable", "provider_clearing")
        for direction in ("credit", "debit")
    ]


def test_an_expired_authorization_leaves_the_order_paid_with_the_part(pair: Pair) -> None:
    placed = order(pair)
    part(pair, placed, 300)
    change_payment(pair, placed, "expires_at = now()")
    eventually(lambda: read(pair, placed) == ("paid", 300, 0), "the rest is released")


def test_a_declined_capture_leaves_the_part(pair: Pair) -> None:
    placed = order(pair)
    part(pair, placed, 300)
    change_payment(pair, placed, "payment_method = 'pm_capture_declined'")
    response = part(pair, placed, 200)
    assert (response.status_code, seen(response.json())) == (200, ("authorized", 300, 0))
    assert response.json()["last_error"]["code"] == "capture_declined"


def test_a_capture_with_an_unknown_outcome_is_carried_out_once(pair: Pair) -> None:
    placed = order(pair, "pm_timeout_charged")
    path, key = f"/v1/orders/{placed['id']}/capture", str(uuid.uuid4())
    body = {"amount": 300, "final": False}
    assert pair.order.post(path, body, key).status_code == 202
    refused(part(pair, placed, 300), 409, "order-state")
    eventually(lambda: read(pair, placed) == ("authorized", 300, 0), "the outcome is known")
    assert pair.order.post(path, body, key).status_code == 200
    assert captures(pair, placed) == [(300, False)]


def test_a_part_that_a_third_party_captures_counts(pair: Pair) -> None:
    placed = order(pair)
    path = f"/v1/payments/{placed['payment']['id']}/capture"
    pair.payment.post(path, {"amount": 400, "final": False})
    eventually(lambda: read(pair, placed) == ("authorized", 400, 0), "the order knows the part")
    refused(part(pair, placed, 501), 409, "amount-exceeds-authorized")
    assert seen(act(pair, placed, "capture").json()) == ("paid", 900, 0)


def test_a_provider_that_captures_once_is_a_decline_that_says_so(pair: Pair) -> None:
    placed = order(pair)
    with mock.patch.object(Simulator, "captures_again", False):
        response = part(pair, placed, 300)
    assert (response.status_code, seen(response.json())) == (200, ("authorized", 0, 0))
    error = response.json()["last_error"]
    assert (error["code"], "final-capture-required" in error["detail"]) == ("capture_declined", True)
    assert seen(act(pair, placed, "capture", {"amount": 300}).json()) == ("paid", 300, 0)


@pytest.mark.parametrize("purged", [False, True])
def test_captures_are_asked_for_again_under_their_own_keys(pair: Pair, purged: bool) -> None:
    placed = order(pair)
    part(pair, placed, 300)
    part(pair, placed, 200)
    if purged:
        pair.databases.query("payment", "DELETE FROM idempotency_keys")
    of_order = "WHERE aggregate_id = %s"
    pair.databases.query(
        "order", f"UPDATE outbox SET delivered_at = NULL, available_at = now() {of_order}", placed["id"]
    )
    waiting = f"SELECT FROM outbox {of_order} AND delivered_at IS NULL"
    eventually(lambda: not pair.databases.query("order", waiting, placed["id"]), "all commands are sent again")
    assert (read(pair, placed), captures(pair, placed)) == (("authorized", 500, 0), [(300, False), (200, False)])


def test_a_part_whose_message_was_purged_is_asked_for_again_as_a_part(pair: Pair) -> None:
    placed = order(pair)
    pair.stop_payment()
    body = {"amount": 300, "final": False}
    assert pair.order.post(f"/v1/orders/{placed['id']}/capture", body).status_code == 202
    pair.databases.query("order", "DELETE FROM outbox WHERE topic = 'payment.capture'")
    pair.start_payment()
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    done = pair.order_app.test_cli_runner().invoke(args=["resync", "--since", since])
    assert "1 of them were rebuilt" in done.output
    eventually(lambda: read(pair, placed) == ("authorized", 300, 0), "the part is captured")
    assert captures(pair, placed) == [(300, False)]
