"""Capture, void and refund: responses, repeated requests, and refusals."""

from __future__ import annotations

import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from chassis.postgres.database import Row
from payment.model import Operation
from tests.support.eventually import eventually
from tests.support.pair import Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused, send
from tests.support.settings import OTHER_KEY, READONLY_KEY

ACTIONS = ("capture", "void", "refunds")
INVALID_AMOUNTS: list[Any] = [0, -1, 2**63, 10**30, 1.0, 1.5, "1", True, None, [1], {}]


def authorized(pair: Pair, **changes: Any) -> dict[str, Any]:
    """Return a new payment once it is authorized: on a busy machine, a lease may expire before that."""
    made = pair.payment.post("/v1/payments", wanted(capture="manual", **changes)).json()

    def payment() -> dict[str, Any]:
        found: dict[str, Any] = pair.payment.get(f"/v1/payments/{made['id']}").json()
        return found if found["status"] == "authorized" else {}

    return eventually(payment, "it is authorized")


def captured(pair: Pair, **changes: Any) -> dict[str, Any]:
    """A captured payment."""
    made: dict[str, Any] = pair.payment.post("/v1/payments", wanted(**changes)).json()
    return made


def ready(pair: Pair, action: str, **changes: Any) -> dict[str, Any]:
    """A payment that allows the action."""
    return captured(pair, **changes) if action == "refunds" else authorized(pair, **changes)


def operations(pair: Pair, payment: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pair.payment.get(f"/v1/payments/{payment['id']}/operations").json()["data"]
    return found


@pytest.mark.parametrize("action", ACTIONS)
def test_a_repeated_action_is_done_once_and_gets_the_same_response(pair: Pair, action: str) -> None:
    payment, key = ready(pair, action), str(uuid.uuid4())
    path = f"/v1/payments/{payment['id']}/{action}"
    first = pair.payment.post(path, {}, key)
    again = pair.payment.post(path, {}, key)
    assert first.status_code == again.status_code == (201 if action == "refunds" else 200)
    assert first.json() == again.json()
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert first.headers.get("ETag") == again.headers.get("ETag")
    assert len(operations(pair, payment)) == 2


@pytest.mark.parametrize("action", ACTIONS)
def test_a_repeated_action_shows_its_current_outcome(pair: Pair, action: str) -> None:
    payment, key = ready(pair, action, payment_method="pm_timeout_charged"), str(uuid.uuid4())
    where = f"/v1/payments/{payment['id']}"
    ready_status = "captured" if action == "refunds" else "authorized"
    eventually(lambda: pair.payment.get(where).json()["status"] == ready_status, "the payment is ready")
    first = pair.payment.post(f"{where}/{action}", {}, key)
    assert first.status_code == (201 if action == "refunds" else 202)
    before = "pending" if action == "refunds" else "authorized"
    assert first.json()["status"] == before
    eventually(lambda: operations(pair, payment)[-1]["status"] == "succeeded", "the outcome is known")
    again = pair.payment.post(f"{where}/{action}", {}, key)
    assert again.status_code == (201 if action == "refunds" else 200)
    assert again.json()["status"] == {"refunds": "succeeded", "capture": "captured", "void": "voided"}[action]
    assert operations(pair, payment)[-1]["attempts"] > 1


@pytest.mark.parametrize("action", ACTIONS)
def test_a_key_belongs_to_one_path_and_body(pair: Pair, action: str) -> None:
    payment, other, key = ready(pair, action), ready(pair, action), str(uuid.uuid4())
    path = f"/v1/payments/{payment['id']}/{action}"
    pair.payment.post(path, {}, key)
    refused(pair.payment.post(f"/v1/payments/{other['id']}/{action}", {}, key), 422, "idempotency-key-reused")
    for another in ACTIONS:
        if another != action:
            response = pair.payment.post(f"/v1/payments/{payment['id']}/{another}", {}, key)
            refused(response, 422, "idempotency-key-reused")
    if action != "void":
        refused(pair.payment.post(path, {"amount": 1}, key), 422, "idempotency-key-reused")
    refused(pair.payment.post("/v1/payments", wanted(), key), 422, "idempotency-key-reused")
    assert len(operations(pair, other)) == 1
    assert len(operations(pair, payment)) == 2


@pytest.mark.parametrize("action", ACTIONS)
def test_a_refused_action_leaves_the_key_free_and_is_not_sent_to_the_provider(pair: Pair, action: str) -> None:
    other, payment = ready(pair, "capture" if action == "refunds" else "refunds"), ready(pair, action)
    key = str(uuid.uuid4())
    refused(pair.payment.post(f"/v1/payments/{other['id']}/{action}", {}, key), 409, "payment-state")
    refused(pair.payment.post(f"/v1/payments/{uuid.uuid4()}/{action}", {}, key), 404, "payment-not-found")
    path = f"/v1/payments/{payment['id']}/{action}"
    refused(pair.payment.post(path, {"more": 1}, key), 422, "validation", "/more")
    refused(send(pair.payment, path, b"{", Idempotency_Key=key), 400, "malformed-request")
    if action != "void":
        exceeded = "amount-exceeds-captured" if action == "refunds" else "amount-exceeds-authorized"
        refused(pair.payment.post(path, {"amount": 901}, key), 409, exceeded)
    assert len(operations(pair, other)) == len(operations(pair, payment)) == 1
    done = pair.payment.post(path, {}, key)
    assert (done.status_code, "Idempotency-Replayed" in done.headers) == (201 if action == "refunds" else 200, False)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_an_idempotency_key_and_the_scope(pair: Pair, action: str) -> None:
    path = f"/v1/payments/{ready(pair, action)['id']}/{action}"
    refused(pair.payment.request("POST", path, json={}), 400, "idempotency-key-missing")
    refused(Client(pair.payment.url, READONLY_KEY).post(path, {}), 403, "forbidden")
    refused(Client(pair.payment.url, None).post(path, {}), 401, "unauthorized")


@pytest.mark.parametrize("amount", INVALID_AMOUNTS)
@pytest.mark.parametrize("action", ["capture", "refunds"])
def test_the_error_for_an_invalid_amount_points_at_it(pair: Pair, action: str, amount: Any) -> None:
    path = f"/v1/payments/{uuid.uuid4()}/{action}"
    refused(pair.payment.post(path, {"amount": amount}), 422, "validation", "/amount")


@pytest.mark.parametrize(
    ("action", "body", "pointers"),
    [
        ("capture", {"reason": "x"}, ["/reason"]),
        ("void", {"amount": 1}, ["/amount"]),
        ("refunds", {"reason": ""}, ["/reason"]),
        ("refunds", {"reason": "x" * 501}, ["/reason"]),
        ("refunds", {"reason": None, "amount": 0, "currency": "EUR"}, ["/reason", "/amount", "/currency"]),
    ],
)
def test_the_error_for_an_invalid_body_points_at_each_field(
    pair: Pair, action: str, body: dict[str, Any], pointers: list[str]
) -> None:
    refused(pair.payment.post(f"/v1/payments/{uuid.uuid4()}/{action}", body), 422, "validation", *pointers)


def test_a_card_number_in_the_reason_of_a_refund_is_422(pair: Pair) -> None:
    path = f"/v1/payments/{captured(pair)['id']}/refunds"
    refused(pair.payment.post(path, {"reason": "to 4111 1111 1111 1111"}), 422, "card-number", "/reason")


def test_refunds_are_listed_newest_first_with_their_current_status(pair: Pair) -> None:
    payment = captured(pair)
    path = f"/v1/payments/{payment['id']}/refunds"
    assert pair.payment.get(path).json() == {"data": [], "next_cursor": None}
    made = [pair.payment.post(path, body).json() for body in ({"amount": 1, "reason": "broken"}, {"amount": 2}, {})]
    assert [each["amount"] for each in made] == [1, 2, 897]
    assert set(made[0]) == {"id", "status", "amount", "currency", "reason", "failure_reason", "created_at"}
    assert [made[0][name] for name in ("status", "currency", "reason", "failure_reason")] == [
        "succeeded", "EUR", "broken", None,
    ]  # fmt: skip
    assert made[1]["reason"] is None
    listed = pair.payment.get(path)
    assert listed.json() == {"data": made[::-1], "next_cursor": None}
    unchanged = pair.payment.get(path, headers={"If-None-Match": listed.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    refused(pair.payment.post(path, {}), 409, "amount-exceeds-captured")


def test_a_refund_that_the_provider_declines_has_failed_and_its_reservation_ends(pair: Pair) -> None:
    payment = captured(pair, payment_method="pm_refund_declined")
    path = f"/v1/payments/{payment['id']}/refunds"
    for _ in range(2):
        declined = pair.payment.post(path)
        assert (declined.status_code, declined.json()["status"]) == (201, "failed")
        assert declined.json()["failure_reason"] == "refund_declined"
    seen = pair.payment.get(f"/v1/payments/{payment['id']}").json()
    assert (seen["status"], seen["refunded_amount"], seen["refunding_amount"]) == ("captured", 0, 0)
    assert [each["status"] for each in operations(pair, payment)] == ["succeeded", "declined", "declined"]


@pytest.mark.parametrize("action", ["capture", "void"])
def test_a_payment_stays_authorized_if_the_provider_declines(pair: Pair, action: str) -> None:
    payment = authorized(pair, payment_method=f"pm_{action}_declined")
    for _ in range(2):
        declined = pair.payment.post(f"/v1/payments/{payment['id']}/{action}")
        assert (declined.status_code, declined.json()["status"]) == (200, "authorized")
        assert declined.json()["captured_amount"] == 0
    made = [(each["kind"], each["status"], each["reason"]) for each in operations(pair, payment)]
    assert made == [("authorize", "succeeded", None)] + [(action, "declined", f"{action}_declined")] * 2


def test_an_amount_that_is_being_refunded_cannot_be_refunded_again(pair: Pair) -> None:
    payment = captured(pair)
    path = f"/v1/payments/{payment['id']}"
    pair.databases.query(  # like a refund that is still being carried out
        "payment",
        "UPDATE payments SET refunding_amount = 500, version = version + 1 WHERE id = %s",
        payment["id"],
    )
    assert pair.payment.get(path).json()["refunding_amount"] == 500
    problem = refused(pair.payment.post(f"{path}/refunds", {"amount": 401}), 409, "amount-exceeds-captured")
    assert "400" in problem["detail"]


def test_operations_list_every_request_to_the_provider_oldest_first(pair: Pair) -> None:
    payment = authorized(pair)
    path = f"/v1/payments/{payment['id']}"
    pair.payment.post(f"{path}/capture", {"amount": 500})
    pair.payment.post(f"{path}/refunds", {"amount": 200, "reason": "broken"})
    listed = pair.payment.get(f"{path}/operations")
    seen = listed.json()["data"]
    assert [(each["kind"], each["amount"], each["status"], each["attempts"]) for each in seen] == [
        ("authorize", 900, "succeeded", 1),
        ("capture", 500, "succeeded", 1),
        ("refund", 200, "succeeded", 1),
    ]
    assert set(seen[0]) == {
        "id", "kind", "amount", "currency", "status", "attempts", "provider_reference", "reason", "created_at",
        "settled_at", "final",
    }  # fmt: skip
    assert [each["final"] for each in seen] == [None, True, None]
    for each in seen:
        assert each["provider_reference"]
        for name in ("created_at", "settled_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", each[name])
    keys = pair.databases.query("payment", "SELECT key::text, calls FROM simulator.operations")
    assert {each["id"] for each in seen} <= {row["key"] for row in keys}
    unchanged = pair.payment.get(f"{path}/operations", headers={"If-None-Match": listed.headers["ETag"]})
    assert unchanged.status_code == 304


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_merchants_payment_can_be_neither_read_nor_changed(pair: Pair, method: str) -> None:
    payment = authorized(pair)
    other = Client(pair.payment.url, OTHER_KEY)
    paths = ("refunds", "operations") if method == "GET" else ACTIONS
    for part in paths:
        for payment_id in (payment["id"], str(uuid.uuid4())):
            path = f"/v1/payments/{payment_id}/{part}"
            response = other.get(path) if method == "GET" else other.post(path, {})
            refused(response, 404, "payment-not-found")
    assert pair.payment.get(f"/v1/payments/{payment['id']}").json() == payment
    assert len(operations(pair, payment)) == 1


def test_an_action_answers_with_the_payment_and_its_etag(pair: Pair) -> None:
    payment = authorized(pair)
    path = f"/v1/payments/{payment['id']}"
    done = pair.payment.post(f"{path}/capture")
    assert done.json() == pair.payment.get(path).json()
    assert done.headers["ETag"] == f'"{done.json()["version"]}"' == pair.payment.get(path).headers["ETag"]
    assert (done.json()["authorized_amount"], done.json()["captured_amount"]) == (900, 900)


def test_the_location_of_a_refund_lists_it(pair: Pair) -> None:
    payment = captured(pair)
    made = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 5})
    assert made.json() in pair.payment.get(made.headers["Location"]).json()["data"]


def test_after_a_void_the_order_can_be_paid_again(pair: Pair) -> None:
    payment = authorized(pair)
    pair.payment.post(f"/v1/payments/{payment['id']}/void")
    again = pair.payment.post("/v1/payments", wanted(order_id=payment["order_id"]))
    assert (again.status_code, again.json()["status"]) == (201, "captured")
    for action in ("capture", "void", "refunds"):
        refused(pair.payment.post(f"/v1/payments/{payment['id']}/{action}"), 409, "payment-state")


def test_an_order_whose_payment_was_refunded_in_full_is_not_charged_again(pair: Pair) -> None:
    payment = captured(pair)
    pair.payment.post(f"/v1/payments/{payment['id']}/refunds")
    again = pair.payment.post("/v1/payments", wanted(order_id=payment["order_id"]))
    assert (again.status_code, again.json()["id"]) == (200, payment["id"])


@pytest.mark.parametrize("action", ACTIONS)
def test_a_payment_is_carried_out_only_by_the_provider_that_began_it(pair: Pair, action: str) -> None:
    payment = ready(pair, action)
    pair.databases.query(
        "payment", "UPDATE payments SET provider = 'stripe', version = version + 1 WHERE id = %s", payment["id"]
    )
    answer = pair.payment.post(f"/v1/payments/{payment['id']}/{action}", {})
    assert answer.status_code == (201 if action == "refunds" else 202)
    last = operations(pair, payment)[-1]
    assert last["status"] == "pending"
    told = "SELECT last_error FROM operations WHERE id = %s"
    (row,) = pair.databases.query("payment", told, last["id"])
    assert row["last_error"] == "the payment was begun with stripe, but simulator is configured"
    assert pair.databases.query("payment", "SELECT FROM simulator.operations WHERE key = %s", last["id"]) == []
    pair.databases.query(
        "payment", "UPDATE payments SET provider = 'simulator', version = version + 1 WHERE id = %s", payment["id"]
    )
    pair.databases.query("payment", "UPDATE operations SET available_at = now() WHERE id = %s", last["id"])
    eventually(lambda: operations(pair, payment)[-1]["status"] == "succeeded", "its own provider carries it out")


def test_an_operation_is_not_sent_after_its_lease_has_expired(pair: Pair) -> None:
    """As when its process was suspended: the next worker looks the operation up before it sends it."""
    payment = authorized(pair)
    executor = pair.payment_app.extensions["tandem"].use_cases["payments"].executor
    sent: list[Operation] = []

    def suspended(operation: Operation, *, answered: bool = False) -> Row | None:
        sent.append(operation)
        view: Row | None = execute(replace(operation, expires=time.monotonic()), answered=answered)
        return view

    execute = executor.execute
    with mock.patch.object(executor, "execute", suspended):
        assert pair.payment.post(f"/v1/payments/{payment['id']}/capture", {}).status_code == 202
    assert time.monotonic() < sent[0].expires < time.monotonic() + 60
    assert pair.databases.query("payment", "SELECT FROM simulator.operations WHERE key = %s", sent[0].id) == []
    pair.databases.query("payment", "UPDATE operations SET leased_until = now() WHERE id = %s", sent[0].id)
    eventually(lambda: operations(pair, payment)[-1]["status"] == "succeeded", "the next worker carries it out")


def test_an_outcome_is_committed_only_by_the_worker_that_holds_the_lease(pair: Pair) -> None:
    payment = authorized(pair)
    executor = pair.payment_app.extensions["tandem"].use_cases["payments"].executor
    execute = executor.execute
    claim = "UPDATE operations SET lease_owner = 'another', leased_until = now() + interval '1 hour' WHERE id = %s"

    def overtaken(operation: Operation, *, answered: bool = False) -> Row | None:
        pair.databases.query("payment", claim, operation.id)
        view: Row | None = execute(operation, answered=answered)
        return view

    with mock.patch.object(executor, "execute", overtaken):
        assert pair.payment.post(f"/v1/payments/{payment['id']}/capture", {}).status_code == 202
    _, capture = operations(pair, payment)
    assert (capture["status"], pair.payment.get(f"/v1/payments/{payment['id']}").json()["captured_amount"]) == (
        "pending",
        0,
    )
    pair.databases.query("payment", "UPDATE operations SET leased_until = now() WHERE id = %s", capture["id"])
    eventually(lambda: operations(pair, payment)[-1]["status"] == "succeeded", "the worker that holds it settles it")


def test_refunds_and_operations_come_in_pages(pair: Pair) -> None:
    path = f"/v1/payments/{captured(pair)['id']}"
    made = [pair.payment.post(f"{path}/refunds", {"amount": 1}).json()["id"] for _ in range(5)]
    for name, expected in (("refunds", made[::-1]), ("operations", made)):
        seen: list[str] = []
        query = "?limit=2"
        while query:
            answer = pair.payment.get(f"{path}/{name}{query}")
            assert len(answer.json()["data"]) <= 2
            seen += [each["id"] for each in answer.json()["data"]]
            cursor = answer.json()["next_cursor"]
            query = f"?limit=2&cursor={cursor}" if cursor else ""
            assert ("Link" in answer.headers) is bool(cursor)
        assert [each for each in seen if each in made] == expected
        assert len(seen) == len(set(seen))
        refused(pair.payment.get(f"{path}/{name}?limit=0"), 422, "validation", "/limit")
        refused(pair.payment.get(f"{path}/{name}?cursor=x"), 422, "validation", "/cursor")


def test_a_payment_has_at_most_a_thousand_refunds(pair: Pair) -> None:
    payment = captured(pair)
    pair.databases.query(
        "payment",
        """INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, status, settled_at)
           SELECT 'demo', gen_random_uuid(), %s, 'refund', 1, 'EUR', 'declined', now()
           FROM generate_series(1, 997)""",
        payment["id"],
    )
    path = f"/v1/payments/{payment['id']}/refunds"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pair.payment.post(path, {"amount": 1}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    refused(pair.payment.post(path, {"amount": 1}), 409, "refund-limit")
