"""Lines of the kinds item, shipping, tax and discount, with the tax that they contain."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.problems import refused

TEA: dict[str, Any] = {"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 1190, "tax_amount": 380}
SHIPPING: dict[str, Any] = {"kind": "shipping", "sku": "dhl", "quantity": 1, "unit_amount": 595, "tax_amount": 95}
TAX: dict[str, Any] = {"kind": "tax", "sku": "vat-19", "quantity": 1, "unit_amount": 171}
DISCOUNT: dict[str, Any] = {
    "kind": "discount", "sku": "WELCOME", "quantity": 1, "unit_amount": -595, "tax_amount": -95
}  # fmt: skip


NO_KINDS: list[Any] = ["Item", "fee", "", None, 1, ["item"], {}]
NO_TAX: list[Any] = [-1, 2381, 1.0, "1", True, None, 10**30]


def body(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**ORDER, "items": list(items), **changes}


def test_the_total_is_the_sum_of_all_kinds_and_tax_amounts_are_not_added(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", body(TEA, SHIPPING, TAX, DISCOUNT), Prefer="wait=10").json()
    assert (placed["status"], placed["total_amount"]) == ("paid", 2380 + 595 + 171 - 595)
    assert placed["paid_amount"] == placed["total_amount"]
    assert placed["items"] == [
        {"kind": "item", "amount": 2380, **TEA},
        {"name": None, "amount": 595, **SHIPPING},
        {"name": None, "amount": 171, "tax_amount": None, **TAX},
        {"name": None, "amount": -595, **DISCOUNT},
    ]
    (payment,) = pair.payment.get(f"/v1/payments?order_id={placed['id']}").json()["data"]
    assert (payment["amount"], payment["captured_amount"]) == (2551, 2551)


def test_lines_are_the_same_in_every_representation(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", body(TEA, DISCOUNT, SHIPPING), Prefer="wait=10").json()
    changed = pair.order.request("PATCH", f"/v1/orders/{order['id']}", json={"metadata": {"a": "b"}}).json()
    refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 2380}, Prefer="wait=10")
    assert refund.json()["status"] == "succeeded"
    feed = pair.order.get("/v1/events", params={"order_id": order["id"], "since": order["created_at"]}).json()["data"]
    refunded = pair.order.get(f"/v1/orders/{order['id']}").json()
    assert refunded["status"] == "refunded"
    for seen in (changed, refunded, *(event["data"] for event in feed)):
        assert seen["items"] == order["items"]


def test_a_discount_of_everything_is_a_free_order(pair: Pair) -> None:
    free = body({"sku": "tea", "quantity": 1, "unit_amount": 595}, {**DISCOUNT, "tax_amount": 0})
    placed = pair.order.post("/v1/orders", free).json()
    assert (placed["status"], placed["total_amount"], placed["payment"]) == ("paid", 0, None)


def test_amounts_of_zero_are_possible_in_each_kind(pair: Pair) -> None:
    kinds = ("item", "shipping", "tax", "discount")
    lines = [{"kind": kind, "sku": kind, "quantity": 1, "unit_amount": 0, "tax_amount": 0} for kind in kinds]
    placed = pair.order.post("/v1/orders", body(*lines))
    assert placed.status_code == 201
    assert [line["kind"] for line in placed.json()["items"]] == list(kinds)


@pytest.mark.parametrize(
    ("items", "pointers"),
    [
        ([TEA, {**TEA, "unit_amount": -1}], ["/items/1/unit_amount"]),
        ([{**TEA, "kind": "item", "unit_amount": -1}], ["/items/0/unit_amount"]),
        ([TEA, {**SHIPPING, "unit_amount": -1}], ["/items/1/unit_amount"]),
        ([TEA, {**TAX, "unit_amount": -171}], ["/items/1/unit_amount"]),
        ([TEA, SHIPPING, TAX, {**DISCOUNT, "unit_amount": 595}], ["/items/3/unit_amount"]),
        ([TEA, {**DISCOUNT, "unit_amount": -(10**12) - 1}], ["/items/1/unit_amount"]),
        *(([{**TEA, "kind": kind}], ["/items/0/kind"]) for kind in NO_KINDS),
        *(([{**TEA, "tax_amount": tax}], ["/items/0/tax_amount"]) for tax in NO_TAX),
        *(([TEA, {**DISCOUNT, "tax_amount": tax}], ["/items/1/tax_amount"]) for tax in (1, -596, -(10**30))),
        ([{"sku": "x", "quantity": 1, "unit_amount": 594}, DISCOUNT], ["/items"]),
        ([DISCOUNT], ["/items"]),
        ([{**TEA, "kind": "item", "quantity": 10**6, "unit_amount": 10**12}] * 10, ["/items"]),
        ([{**DISCOUNT, "quantity": 10**6, "unit_amount": -(10**12)}] * 100, ["/items"]),
        (
            [{**TEA, "unit_amount": -1}, {**TEA, "quantity": 0}, {**DISCOUNT, "tax_amount": 1}, {"sku": ""}],
            [
                *("/items/0/unit_amount", "/items/1/quantity", "/items/2/tax_amount"),
                *("/items/3/quantity", "/items/3/sku", "/items/3/unit_amount"),
            ],
        ),
    ],
)
def test_each_line_that_does_not_fit_its_kind_is_named(
    pair: Pair, items: list[dict[str, Any]], pointers: list[str]
) -> None:
    refused(pair.order.post("/v1/orders", body(*items)), 422, "validation", *pointers)


def test_the_largest_lines_are_stored_exactly_if_their_sum_is_an_amount(pair: Pair) -> None:
    largest = {"quantity": 10**6, "unit_amount": 10**12}
    lines = [*[{"sku": "much", **largest}] * 50, *[{**DISCOUNT, **largest, "unit_amount": -(10**12)}] * 41]
    placed = pair.order.post("/v1/orders", body(*lines))
    assert placed.status_code == 201, placed.text
    seen = pair.order.get(placed.headers["Location"]).json()
    assert seen["total_amount"] == sum(line["amount"] for line in seen["items"]) == 9 * 10**18


def test_lines_in_a_currency_without_decimals(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", body(TEA, {**DISCOUNT, "unit_amount": -380}, currency="JPY"))
    assert placed.json()["total_amount"] == 2000


def test_the_kind_is_part_of_what_an_idempotency_key_stands_for(pair: Pair) -> None:
    key, line = str(uuid.uuid4()), {"sku": "x", "quantity": 1, "unit_amount": 0}
    first = pair.order.post("/v1/orders", body(line), Idempotency_Key=key)
    again = pair.order.post("/v1/orders", body(line), Idempotency_Key=key)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = pair.order.post("/v1/orders", body({**line, "kind": "shipping"}), Idempotency_Key=key)
    refused(other, 422, "idempotency-key-reused")
    taxed = pair.order.post("/v1/orders", body({**line, "tax_amount": 0}), Idempotency_Key=key)
    refused(taxed, 422, "idempotency-key-reused")


def test_lines_that_an_earlier_release_stored_are_items(pair: Pair) -> None:
    old: list[dict[str, Any]] = [
        {"sku": "tea-100", "name": None, "quantity": 2, "unit_amount": 450, "amount": 900},
        {"sku": '{"sku": "', "name": 'Cup {"sku": 1}', "quantity": 1, "unit_amount": 0, "amount": 0},
    ]
    order_id = str(uuid.uuid4())
    pair.databases.query(
        "order",
        """WITH placed AS (
               INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture)
               VALUES ('demo', %s, 'canceled', 'EUR', 900, %s, 'pm_ok', 'automatic'))
           INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
           VALUES ('demo', %s, 1, 'order.placed', 'canceled', 'merchant')""",
        *(order_id, json.dumps(old), order_id),
    )
    expected = [{**line, "kind": "item", "tax_amount": None} for line in old]
    assert pair.order.get(f"/v1/orders/{order_id}").json()["items"] == expected
    changed = pair.order.request("PATCH", f"/v1/orders/{order_id}", json={"metadata": {"a": "b"}})
    assert changed.json()["items"] == expected
    assert pair.order.get(f"/orders/{order_id}").json()["items"] == ["tea-100", 'Cup {"sku": 1}']


def test_an_order_of_all_kinds_is_shown_by_the_sketchs_api_with_its_names(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", body(TEA, SHIPPING, DISCOUNT)).json()
    seen = pair.order.get(f"/orders/{placed['id']}").json()
    assert (seen["items"], seen["total"]) == (["Green tea", "dhl", "WELCOME"], 23.8)


def test_a_retry_of_a_sketch_order_that_an_earlier_release_placed_is_answered(pair: Pair) -> None:
    sketch = {"id": str(uuid.uuid4()), "items": ["tea"], "total": 4.5}
    old = [{"sku": None, "name": "tea", "quantity": 1, "unit_amount": None, "amount": None}]
    assert pair.order.post("/orders", sketch).status_code == 201
    stored = pair.databases.query("order", "SELECT items FROM orders WHERE id = %s", sketch["id"])
    assert stored == [{"items": old}]  # what both releases store, so that both recognize a retry
    assert pair.order.post("/orders", sketch).status_code == 201
    eventually(lambda: pair.order.get(f"/v1/orders/{sketch['id']}").json()["status"] == "paid", "the order is paid")
