"""Capture, cancel, payment attempts and refunds of orders: responses, replays and refusals."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused, send
from tests.support.settings import OTHER_KEY, READONLY_KEY

ACTIONS = ("capture", "cancel", "payment-attempts", "refunds")
READY: dict[str, tuple[dict[str, Any], str]] = {
    "capture": ({"capture": "manual"}, "authorized"),
    "cancel": ({}, "paid"),
    "payment-attempts": ({"payment_method": "pm_declined"}, "payment_failed"),
    "refunds": ({}, "paid"),
}
BODIES: dict[str, dict[str, Any]] = {"payment-attempts": {"payment_method": "pm_ok"}}
DONE = {"capture": "paid", "cancel": "canceled", "payment-attempts": "paid", "refunds": "succeeded"}
UNDER_WAY = {
    "capture": (202, "authorized"),
    "cancel": (202, "canceling"),
    "payment-attempts": (202, "pending_payment"),
    "refunds": (201, "pending"),
}
NO_AMOUNTS: list[Any] = [0, -1, 2**63, 10**30, 1.0, 1.5, "1", True, None, [1], {}]


def place(pair: Pair, action: str) -> dict[str, Any]:
    """Place an order that allows the action."""
    change, status = READY[action]
    order: dict[str, Any] = pair.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=10").json()
    assert order["status"] == status
    return order


def path_of(order: dict[str, Any], action: str) -> str:
    return f"/v1/orders/{order['id']}/{action}"


def history(pair: Pair, order: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pair.order.get(f"/v1/orders/{order['id']}/events").json()["data"]
    return found


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_with_wait_returns_the_outcome_and_the_applied_preference(pair: Pair, action: str) -> None:
    order = place(pair, action)
    done = pair.order.post(path_of(order, action), BODIES.get(action), Prefer="wait=10")
    assert (done.status_code, done.json()["status"]) == (201 if action == "refunds" else 200, DONE[action])
    assert done.headers["Preference-Applied"] == "wait=10"
    if action != "refunds":
        assert done.headers["ETag"] == f'"{done.json()["version"]}"'
        assert done.json() == pair.order.get(f"/v1/orders/{order['id']}").json()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_without_wait_returns_at_once_and_is_carried_out(pair: Pair, action: str) -> None:
    order, key = place(pair, action), str(uuid.uuid4())
    pair.stop_payment()
    try:
        asked = pair.order.post(path_of(order, action), BODIES.get(action), key)
        assert (asked.status_code, asked.json()["status"]) == UNDER_WAY[action]
        assert "Preference-Applied" not in asked.headers
        again = pair.order.post(path_of(order, action), BODIES.get(action), key, Prefer="wait=0")
        assert (again.status_code, again.json()["status"]) == UNDER_WAY[action]
        assert (again.headers["Idempotency-Replayed"], again.headers["Preference-Applied"]) == ("true", "wait=0")
    finally:
        pair.start_payment()

    def repeated() -> Any:
        answer = pair.order.post(path_of(order, action), BODIES.get(action), key, Prefer="wait=10")
        return answer if answer.json()["status"] == DONE[action] else None

    ended = eventually(repeated, "the action has ended")
    assert (ended.status_code, ended.headers["Idempotency-Replayed"]) == (201 if action == "refunds" else 200, "true")
    if action == "refunds":
        assert ended.json()["id"] == asked.json()["id"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_repeated_action_is_carried_out_once(pair: Pair, action: str) -> None:
    order, key = place(pair, action), str(uuid.uuid4())
    body = BODIES.get(action, {"amount": 300} if action == "refunds" else {})
    first = pair.order.post(path_of(order, action), body, key, Prefer="wait=10")
    before = history(pair, order)
    again = [pair.order.post(path_of(order, action), body, key) for _ in range(3)]
    assert "Idempotency-Replayed" not in first.headers
    assert {answer.headers["Idempotency-Replayed"] for answer in again} == {"true"}
    assert {answer.status_code for answer in again} == {first.status_code}
    assert all(answer.json() == first.json() for answer in again)
    assert history(pair, order) == before
    assert len(pair.order.get(path_of(order, "refunds")).json()["data"]) == (action in ("refunds", "cancel"))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_key_belongs_to_one_path_and_body(pair: Pair, action: str) -> None:
    order, other, key = place(pair, action), place(pair, action), str(uuid.uuid4())
    before = history(pair, other)
    pair.order.post(path_of(order, action), BODIES.get(action), key, Prefer="wait=10")
    refused(pair.order.post(path_of(other, action), BODIES.get(action), key), 422, "idempotency-key-reused")
    for another in ACTIONS:
        if another != action:
            response = pair.order.post(path_of(order, another), BODIES.get(another), key)
            refused(response, 422, "idempotency-key-reused")
    refused(pair.order.post("/v1/orders", ORDER, key), 422, "idempotency-key-reused")
    if action != "cancel":
        body = {"payment_method": "pm_slow"} if action == "payment-attempts" else {"amount": 1}
        refused(pair.order.post(path_of(order, action), body, key), 422, "idempotency-key-reused")
    assert history(pair, other) == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_refused_action_changes_nothing_and_does_not_use_up_the_key(pair: Pair, action: str) -> None:
    right, key = place(pair, action), str(uuid.uuid4())
    wrong = pair.order.post(
        "/v1/orders", {**ORDER, "items": [{"sku": "a", "quantity": 1, "unit_amount": 5}]}, Prefer="wait=10"
    ).json()
    if action in ("cancel", "refunds"):
        pair.order.post(path_of(wrong, "refunds"), Prefer="wait=10")
    before = history(pair, right), history(pair, wrong)
    body = BODIES.get(action)
    refused(pair.order.post(path_of(wrong, action), body, key), 409, "order-state")
    refused(pair.order.post(path_of({"id": uuid.uuid4()}, action), body, key), 404, "order-not-found")
    refused(pair.order.post(path_of(right, action), {**(body or {}), "more": 1}, key), 422, "validation", "/more")
    refused(send(pair.order, path_of(right, action), b"{", Idempotency_Key=key), 400, "malformed-request")
    if action == "refunds":
        refused(pair.order.post(path_of(right, action), {"amount": 901}, key), 409, "amount-exceeds-captured")
    assert (history(pair, right), history(pair, wrong)) == before
    done = pair.order.post(path_of(right, action), body, key, Prefer="wait=10")
    assert (done.json()["status"], "Idempotency-Replayed" in done.headers) == (DONE[action], False)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_an_idempotency_key_and_the_scope(pair: Pair, action: str) -> None:
    order = {"id": str(uuid.uuid4())}
    body = BODIES.get(action, {})
    refused(pair.order.request("POST", path_of(order, action), json=body), 400, "idempotency-key-missing")
    refused(Client(pair.order.url, READONLY_KEY).post(path_of(order, action), body), 403, "forbidden")
    refused(Client(pair.order.url, None).post(path_of(order, action), body), 401, "unauthorized")


@pytest.mark.parametrize("action", ACTIONS)
def test_another_merchants_order_cannot_be_read_or_changed(pair: Pair, action: str) -> None:
    order = place(pair, action)
    before = history(pair, order)
    other = Client(pair.order.url, OTHER_KEY)
    for client, order_id in ((other, order["id"]), (pair.order, str(uuid.uuid4()))):
        refused(client.post(f"/v1/orders/{order_id}/{action}", BODIES.get(action)), 404, "order-not-found")
        refused(client.get(f"/v1/orders/{order_id}/refunds"), 404, "order-not-found")
    assert history(pair, order) == before


@pytest.mark.parametrize(
    ("action", "amount"),
    [
        *(("refunds", amount) for amount in NO_AMOUNTS),
        # A capture of 0 releases the rest.
        *(("capture", amount) for amount in NO_AMOUNTS if amount is False or amount != 0),
    ],
)
def test_an_invalid_amount_is_named(pair: Pair, action: str, amount: Any) -> None:
    path = path_of({"id": uuid.uuid4()}, action)
    refused(pair.order.post(path, {"amount": amount}), 422, "validation", "/amount")


@pytest.mark.parametrize(
    ("action", "body", "pointers"),
    [
        ("capture", {"amount": 1, "reason": "x"}, ["/reason"]),
        ("cancel", {"reason": "x"}, ["/reason"]),
        ("payment-attempts", {}, ["/payment_method"]),
        ("payment-attempts", {"payment_method": ""}, ["/payment_method"]),
        ("payment-attempts", {"payment_method": "x" * 101, "amount": 1}, ["/payment_method", "/amount"]),
        ("payment-attempts", {"payment_method": None}, ["/payment_method"]),
        ("refunds", {"reason": ""}, ["/reason"]),
        ("refunds", {"reason": "x" * 501, "currency": "EUR"}, ["/reason", "/currency"]),
        ("refunds", {"reason": 1, "amount": 0}, ["/reason", "/amount"]),
    ],
)
def test_each_invalid_field_is_named(pair: Pair, action: str, body: dict[str, Any], pointers: list[str]) -> None:
    refused(pair.order.post(path_of({"id": uuid.uuid4()}, action), body), 422, "validation", *pointers)


def test_a_card_number_as_a_payment_method_or_reason_is_422(pair: Pair) -> None:
    order = {"id": uuid.uuid4()}
    body = {"payment_method": "4111111111111111"}
    refused(pair.order.post(path_of(order, "payment-attempts"), body), 422, "card-number", "/payment_method")
    body = {"reason": "paid by 2 4111111111111111 12/27"}
    refused(pair.order.post(path_of(order, "refunds"), body), 422, "card-number", "/reason")


def test_refunds_are_listed_newest_first_with_an_etag(pair: Pair) -> None:
    order = place(pair, "refunds")
    path = path_of(order, "refunds")
    empty = pair.order.get(path)
    assert empty.json() == {"data": [], "next_cursor": None}
    bodies: tuple[dict[str, Any], ...] = ({"amount": 1, "reason": "broken"}, {"amount": 2}, {})
    made = [pair.order.post(path, body, Prefer="wait=10") for body in bodies]
    refunds = [answer.json() for answer in made]
    assert [refund["amount"] for refund in refunds] == [1, 2, 897]
    assert set(refunds[0]) == {
        *("id", "order_id", "payment_id", "status", "amount", "currency", "reason", "failure_reason"),
        *("metadata", "created_at", "updated_at"),
    }
    assert [refunds[0][name] for name in ("currency", "reason", "failure_reason")] == ["EUR", "broken", None]
    assert made[0].headers["Location"] == f"{path}/{refunds[0]['id']}"
    listed = pair.order.get(path, headers={"If-None-Match": empty.headers["ETag"]})
    assert (listed.status_code, listed.json()) == (200, {"data": refunds[::-1], "next_cursor": None})
    unchanged = pair.order.get(path, headers={"If-None-Match": listed.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_an_unchanged_history_is_304(pair: Pair) -> None:
    order = place(pair, "refunds")
    path = f"/v1/orders/{order['id']}/events"
    etag = pair.order.get(path).headers["ETag"]
    unchanged = pair.order.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    pair.order.post(path_of(order, "refunds"), {"amount": 1}, Prefer="wait=10")
    grown = pair.order.get(path, headers={"If-None-Match": etag})
    assert (grown.status_code, len(grown.json()["data"]) > 2) == (200, True)


def test_the_first_wait_preference_applies(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_slow"}, Prefer="wait=0, wait=10")
    assert (placed.json()["status"], placed.headers["Preference-Applied"]) == ("pending_payment", "wait=0")
    nonsense = pair.order.post("/v1/orders", ORDER, Prefer="wait=soon, wait=10")
    assert "Preference-Applied" not in nonsense.headers


def test_the_history_keeps_the_reason_of_every_declined_payment(pair: Pair) -> None:
    order = place(pair, "payment-attempts")
    body = {"payment_method": "pm_insufficient_funds"}
    failed = pair.order.post(path_of(order, "payment-attempts"), body, Prefer="wait=10").json()
    assert (failed["status"], failed["payment_method"]) == ("payment_failed", "pm_insufficient_funds")
    assert failed["payment"]["failure_reason"] == "insufficient_funds"
    reasons = [event["data"].get("failure_reason") for event in history(pair, order)]
    assert [reason for reason in reasons if reason] == ["card_declined", "insufficient_funds"]
    assert failed["payment"]["id"] != order["payment"]["id"]


def test_two_refunds_and_a_cancel_return_all_money(pair: Pair) -> None:
    order = place(pair, "cancel")
    pair.stop_payment()
    try:
        for amount in (300, 200):
            assert pair.order.post(path_of(order, "refunds"), {"amount": amount}).status_code == 201
        assert pair.order.post(path_of(order, "cancel")).status_code == 202
    finally:
        pair.start_payment()
    where = f"/v1/orders/{order['id']}"
    eventually(lambda: pair.order.get(where).json()["status"] == "canceled", "it is canceled")
    seen = pair.order.get(where).json()
    assert (seen["paid_amount"], seen["refunded_amount"]) == (900, 900)
    refunds = pair.order.get(path_of(order, "refunds")).json()["data"]
    assert sum(refund["amount"] for refund in refunds if refund["status"] == "succeeded") == 900


def create_payment(pair: Pair, order: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Create a payment for an order directly at payment, without the order service."""
    body = {"order_id": order["id"], "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}
    made: dict[str, Any] = pair.payment.post("/v1/payments", body).json()
    return made


def test_a_declined_refund_of_a_final_order_is_not_requested_forever(pair: Pair) -> None:
    order = place(pair, "cancel")
    pair.order.post(path_of(order, "cancel"), Prefer="wait=10")
    free = {**ORDER, "items": [{"sku": "gift", "quantity": 1, "unit_amount": 0}]}
    over = pair.order.post("/v1/orders", free).json()
    assert pair.order.post(path_of(over, "cancel")).json()["status"] == "canceled"
    create_payment(pair, over, payment_method="pm_refund_declined")
    path = path_of(over, "refunds")
    eventually(lambda: [r for r in pair.order.get(path).json()["data"] if r["status"] == "failed"], "it was declined")
    other = place(pair, "refunds")  # Meanwhile another order is placed, paid and refunded.
    pair.order.post(path_of(other, "refunds"), Prefer="wait=10")
    assert len(pair.order.get(path).json()["data"]) <= 2
    assert pair.order.get(f"/v1/orders/{over['id']}").json()["status"] == "canceled"


def test_a_payment_attempt_ends_while_a_payment_of_another_amount_exists(pair: Pair) -> None:
    order = {"id": str(uuid.uuid4())}
    create_payment(pair, order, amount=500)
    placed = pair.order.request("POST", "/orders", json={"id": order["id"], "items": ["tea"], "total": 9.0})
    assert placed.status_code == 201
    where = f"/v1/orders/{order['id']}"
    eventually(lambda: pair.order.get(where).json()["status"] == "payment_failed", "the amount does not match")
    again = pair.order.post(path_of(order, "payment-attempts"), {"payment_method": "pm_ok"}, Prefer="wait=3")
    assert (again.status_code, again.json()["status"]) == (200, "payment_failed")
    assert again.json()["payment"]["failure_reason"] == "amount_mismatch"


def test_a_cancel_ends_if_the_refund_of_a_partial_capture_is_declined(pair: Pair) -> None:
    body = {**ORDER, "capture": "manual", "payment_method": "pm_refund_declined"}
    order = pair.order.post("/v1/orders", body, Prefer="wait=10").json()
    part = pair.payment.post(f"/v1/payments/{order['payment']['id']}/capture", {"amount": 400})
    assert part.json()["captured_amount"] == 400
    where = f"/v1/orders/{order['id']}"
    eventually(lambda: pair.order.get(where).json()["paid_amount"] == 400, "the order has the captured amount")
    canceled = pair.order.post(path_of(order, "cancel"), Prefer="wait=3")
    assert canceled.status_code == 200, canceled.text
    assert (canceled.json()["status"], canceled.json()["paid_amount"]) == ("paid", 400)


def pages(client: Client, path: str, limit: int) -> list[list[dict[str, Any]]]:
    """Return all pages of a list, following both `next_cursor` and the Link header."""
    found, following = [], f"{path}?limit={limit}"
    while True:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["data"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            assert "Link" not in answer.headers
            return found
        following = f"{path}?limit={limit}&cursor={cursor}"
        assert answer.headers["Link"] == f'<{following}>; rel="next"'


def test_refunds_and_history_come_in_pages(pair: Pair) -> None:
    order = place(pair, "refunds")
    path = path_of(order, "refunds")
    made = [pair.order.post(path, {"amount": 1}, Prefer="wait=10").json()["id"] for _ in range(5)]
    shown = pages(pair.order, path, 2)
    assert [len(page) for page in shown] == [2, 2, 1]
    assert [refund["id"] for page in shown for refund in page] == made[::-1]
    steps = pages(pair.order, path_of(order, "events"), 3)
    assert [len(page) for page in steps][:-1] == [3] * (len(steps) - 1)
    assert [step["version"] for page in steps for step in page] == list(range(1, sum(map(len, steps)) + 1))
    for name in ("refunds", "events"):
        refused(pair.order.get(path_of(order, name) + "?limit=101"), 422, "validation", "/limit")
        refused(pair.order.get(path_of(order, name) + "?cursor=x"), 422, "validation", "/cursor")
        refused(pair.order.get(f"/v1/orders/{uuid.uuid4()}/{name}?limit=1"), 404, "order-not-found")
    beyond = pair.order.get(path_of(order, "events") + "?cursor=" + "_" * 21 + "w")
    assert (beyond.status_code, beyond.json()) == (200, {"data": [], "next_cursor": None})


def test_an_order_has_at_most_a_thousand_refunds(pair: Pair) -> None:
    order = place(pair, "refunds")
    pair.databases.query(
        "order",
        """INSERT INTO refunds (merchant, id, order_id, amount, currency, status)
           SELECT 'demo', gen_random_uuid(), %s, 1, 'EUR', 'failed' FROM generate_series(1, 997)""",
        order["id"],
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pair.order.post(path_of(order, "refunds"), {"amount": 1}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    problem = refused(pair.order.post(path_of(order, "refunds"), {"amount": 1}), 409, "refund-limit")
    assert "1,000" in problem["detail"]


@pytest.mark.parametrize("refunded_at", ["order", "payment"])
def test_an_order_with_a_thousand_refunds_can_be_canceled(pair: Pair, refunded_at: str) -> None:
    order = place(pair, "refunds")
    made = {
        "order": """INSERT INTO refunds (merchant, id, order_id, amount, currency, status)
            SELECT 'demo', gen_random_uuid(), %s, 1, 'EUR', 'failed' FROM generate_series(1, 1000)""",
        "payment": """INSERT INTO operations (merchant, id, payment_id, kind, amount, currency, status, settled_at)
            SELECT 'demo', gen_random_uuid(), %s, 'refund', 1, 'EUR', 'declined', now()
            FROM generate_series(1, 1000)""",
    }
    id_at = {"order": order["id"], "payment": order["payment"]["id"]}
    for service in {"order": ["order", "payment"], "payment": ["payment"]}[refunded_at]:
        pair.databases.query(service, made[service], id_at[service])
    canceled = pair.order.post(path_of(order, "cancel"), Prefer="wait=10").json()
    assert (canceled["status"], canceled["refunded_amount"]) == ("canceled", canceled["paid_amount"])
