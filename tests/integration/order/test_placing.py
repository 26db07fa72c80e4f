"""Placing an order with /v1/orders, and reading it."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.problems import refused, send

LINE: dict[str, Any] = {"sku": "tea-100", "quantity": 1, "unit_amount": 450}
NO_INTEGERS: list[Any] = [1.0, 1.5, "1", True, False, None, [1], {}, ...]
NO_ITEMS: list[Any] = [[], [LINE] * 101, None, {}, "tea", 1, ...]
NO_LINES: list[Any] = [1, None, "tea", []]
NO_METADATA: list[Any] = [None, [], "x", {str(number): "" for number in range(51)}]


def order(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}


def line(**changes: Any) -> dict[str, Any]:
    items = [{name: value for name, value in {**LINE, **changes}.items() if value is not ...}]
    return order(items=items)


def test_an_order_is_returned_as_it_was_placed(pair: Pair) -> None:
    wanted = order(
        items=[{**LINE, "name": "Green tea", "quantity": 3}, {**LINE, "sku": "cup", "unit_amount": 0}],
        customer="cus_17",
        metadata={"cart": "9", "empty": ""},
        capture="automatic",
    )
    placed = pair.order.post("/v1/orders", wanted)
    assert placed.status_code == 201
    body = placed.json()
    assert placed.headers["Location"] == f"/v1/orders/{body['id']}"
    assert placed.headers["ETag"] == f'"{body["version"]}"'
    assert uuid.UUID(body["id"]).version == 7
    assert set(body) == {
        "id", "status", "currency", "total_amount", "paid_amount", "refunded_amount", "items", "customer",
        "reference", "payment_method", "capture", "metadata", "payment", "last_error", "version", "created_at",
        "updated_at",
    }  # fmt: skip
    assert (body["currency"], body["total_amount"], body["refunded_amount"]) == ("EUR", 1350, 0)
    unmarked = {"kind": "item", "tax_amount": None}
    assert body["items"] == [
        {**unmarked, "sku": "tea-100", "name": "Green tea", "quantity": 3, "unit_amount": 450, "amount": 1350},
        {**unmarked, "sku": "cup", "name": None, "quantity": 1, "unit_amount": 0, "amount": 0},
    ]
    assert (body["customer"], body["metadata"]) == ("cus_17", {"cart": "9", "empty": ""})
    assert (body["payment_method"], body["capture"]) == ("pm_ok", "automatic")
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body[name])
        assert datetime.fromisoformat(body[name]).tzinfo is not None


def test_optional_fields_have_defaults(pair: Pair) -> None:
    body = pair.order.post("/v1/orders", line()).json()
    assert (body["customer"], body["metadata"], body["capture"]) == (None, {}, "automatic")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/currency", "/items", "/payment_method"]),
        (order(unknown=1), ["/unknown"]),
        (order(total_amount=900), ["/total_amount"]),
        (order(id=str(uuid.uuid4())), ["/id"]),
        (line(colour="green"), ["/items/0/colour"]),
        (order(items=[LINE, {**LINE, "a/b~c": 1}]), ["/items/1/a~1b~0c"]),
        *((order(currency=code), ["/currency"]) for code in ("eur", "EURO", "XAU", "ZZZ", "", " EUR", None, 978, ...)),
        *((order(currency=code), ["/currency"]) for code in (["EUR"], {"code": "EUR"}, True)),
        *((line(quantity=number), ["/items/0/quantity"]) for number in (0, -1, 1_000_001, 10**30)),
        *((line(quantity=number), ["/items/0/quantity"]) for number in NO_INTEGERS),
        *((line(unit_amount=number), ["/items/0/unit_amount"]) for number in (-1, 10**12 + 1, 10**30)),
        *((line(unit_amount=number), ["/items/0/unit_amount"]) for number in NO_INTEGERS),
        *((order(items=items), ["/items"]) for items in NO_ITEMS),
        *((order(items=[LINE, item]), ["/items/1"]) for item in NO_LINES),
        *((line(sku=text), ["/items/0/sku"]) for text in ("", "x" * 101, None, 1, ...)),
        *((line(name=text), ["/items/0/name"]) for text in ("", "x" * 201, None, 1)),
        *((order(customer=text), ["/customer"]) for text in ("", "x" * 101, None, 1)),
        *((order(payment_method=text), ["/payment_method"]) for text in ("", "x" * 101, None, 1, ...)),
        *((order(capture=text), ["/capture"]) for text in ("later", "", None, 1)),
        *((order(metadata=value), ["/metadata"]) for value in NO_METADATA),
        (order(metadata={"a": 1, "b/c~d": None, "e": "f"}), ["/metadata/a", "/metadata/b~1c~0d"]),
        (order(metadata={"": "x"}), ["/metadata/"]),
        (order(metadata={"x" * 41: "y"}), ["/metadata/" + "x" * 41]),
        (order(metadata={"a": "x" * 501, "b": {"c": "d"}, "e": ["f"]}), ["/metadata/a", "/metadata/b", "/metadata/e"]),
        (order(_schema=1), ["/_schema"]),
        (order(metadata={"_schema": 1}), ["/metadata/_schema"]),
        (
            order(currency="eur", items=[{**LINE, "quantity": 0}, {"sku": ""}], more=1),
            ["/currency", "/items/0/quantity", "/items/1/quantity", "/items/1/sku", "/items/1/unit_amount", "/more"],
        ),
        (order(items=[{**LINE, "quantity": 10**6, "unit_amount": 10**12}] * 10), ["/items"]),
    ],
)
def test_each_invalid_field_is_named(pair: Pair, body: dict[str, Any], pointers: list[str]) -> None:
    refused(pair.order.post("/v1/orders", body), 422, "validation", *pointers)


@pytest.mark.parametrize("number", [b"1e2", b"1E+400", b"-0.0", b"9" * 400])
def test_numbers_out_of_range_are_refused_in_any_notation(pair: Pair, number: bytes) -> None:
    data = b'{"currency":"EUR","payment_method":"pm_ok","items":[{"sku":"a","quantity":1,"unit_amount":%s}]}' % number
    refused(send(pair.order, "/v1/orders", data), 422, "validation", "/items/0/unit_amount")


@pytest.mark.parametrize(
    ("items", "total"),
    [
        ([{**LINE, "unit_amount": 10**12}], 10**12),
        ([{**LINE, "quantity": 1_000_000, "unit_amount": 1}], 1_000_000),
        ([{**LINE, "quantity": 10**6, "unit_amount": 10**12}] * 9, 9 * 10**18),
        ([{**LINE, "unit_amount": 1}] * 100, 100),
        ([{**LINE, "sku": "x" * 100, "name": "y" * 200}], 450),
    ],
)
def test_the_largest_values_are_stored_exactly(pair: Pair, items: list[dict[str, Any]], total: int) -> None:
    placed = pair.order.post("/v1/orders", order(items=items))
    assert placed.status_code == 201
    seen = pair.order.get(placed.headers["Location"]).json()
    assert (seen["total_amount"], len(seen["items"])) == (total, len(items))
    assert sum(item["amount"] for item in seen["items"]) == total


def test_text_in_any_language_is_returned_unchanged(pair: Pair) -> None:
    text = "Grüner Tee ' \" \\ </script> %s {} \N{TEACUP WITHOUT HANDLE} شاي"
    placed = pair.order.post("/v1/orders", order(items=[{**LINE, "name": text}], metadata={text[:40]: text}))
    seen = pair.order.get(placed.headers["Location"]).json()
    assert (seen["items"][0]["name"], seen["metadata"]) == (text, {text[:40]: text})


def test_a_refused_order_is_not_stored(pair: Pair) -> None:
    before = pair.databases.query("order", "SELECT count(*) FROM orders")
    for body in ({}, order(currency="eur"), line(quantity=0), order(customer="4111 1111 1111 1111")):
        assert pair.order.post("/v1/orders", body).status_code == 422
    assert pair.databases.query("order", "SELECT count(*) FROM orders") == before


def test_a_free_order_is_paid_at_once_without_a_charge(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", line(unit_amount=0))
    assert placed.json()["status"] == "paid"
    assert (placed.json()["total_amount"], placed.json()["paid_amount"], placed.json()["payment"]) == (0, 0, None)
    history = pair.order.get(placed.headers["Location"] + "/events").json()["data"]
    assert [(event["version"], event["type"], event["from"], event["to"]) for event in history] == [
        (1, "order.placed", None, "pending_payment"),
        (2, "order.paid", "pending_payment", "paid"),
    ]
    assert pair.payment.get(f"/v1/payments?order_id={placed.json()['id']}").json()["data"] == []


def test_the_history_has_the_actor_and_time_of_each_change(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", order(payment_method="pm_declined"), Prefer="wait=10")
    path = placed.headers["Location"]
    eventually(lambda: pair.order.get(path).json()["status"] == "payment_failed", "the payment has failed")
    seen = pair.order.get(path).json()
    placing, failing = pair.order.get(f"{path}/events").json()["data"]
    assert set(placing) == {"version", "type", "from", "to", "actor", "data", "at"}
    assert (placing["from"], placing["to"], placing["actor"]) == (None, "pending_payment", "merchant")
    assert (failing["from"], failing["to"], failing["actor"]) == ("pending_payment", "payment_failed", "payment")
    assert failing["data"]["failure_reason"] == seen["payment"]["failure_reason"] == "card_declined"
    assert (failing["version"], placing["at"] < failing["at"]) == (seen["version"], True)


def test_an_order_with_manual_capture_is_authorized(pair: Pair) -> None:
    path = pair.order.post("/v1/orders", order(capture="manual")).headers["Location"]
    eventually(lambda: pair.order.get(path).json()["status"] == "authorized", "the order is authorized")
    seen = pair.order.get(path).json()
    assert (seen["paid_amount"], seen["payment"]["status"]) == (0, "authorized")


def test_an_unknown_order_and_its_history_are_404(pair: Pair) -> None:
    for path in (f"/v1/orders/{uuid.uuid4()}", f"/v1/orders/{uuid.uuid4()}/events"):
        refused(pair.order.get(path), 404, "order-not-found")


def test_an_unchanged_order_is_304(pair: Pair) -> None:
    path = pair.order.post("/v1/orders", line(unit_amount=0)).headers["Location"]
    etag = pair.order.get(path).headers["ETag"]
    for same in (etag, f"W/{etag}", f'"nonsense", {etag}', "*"):
        unchanged = pair.order.get(path, headers={"If-None-Match": same})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    for other in ('"999"', "nonsense", ""):
        assert pair.order.get(path, headers={"If-None-Match": other}).json()["id"] in path
    head = pair.order.request("HEAD", path)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", etag)


def test_a_changed_order_is_not_304(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", ORDER)
    path = placed.headers["Location"]
    eventually(lambda: pair.order.get(path).json()["status"] == "paid", "the order is paid")
    seen = pair.order.get(path, headers={"If-None-Match": '"1"'})
    assert (seen.status_code, seen.headers["ETag"]) == (200, '"2"')


@pytest.mark.parametrize("prefer", ["wait=nonsense", "wait=-1", "respond-async", "", "wait=1.5"])
def test_an_invalid_preference_is_ignored(pair: Pair, prefer: str) -> None:
    placed = pair.order.post("/v1/orders", ORDER, Prefer=prefer)
    assert placed.status_code == 201
    assert "Preference-Applied" not in placed.headers


def test_the_request_id_and_the_trace_are_passed_to_payment_and_back(pair: Pair) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    placed = pair.order.post("/v1/orders", ORDER, X_Request_Id="the-first", traceparent=trace)
    order_id = placed.json()["id"]
    expected = {"X-Request-Id": "the-first", "traceparent": trace}

    def carried(service: str, table: str, column: str) -> list[Any]:
        rows = pair.databases.query(service, f"SELECT headers FROM {table} WHERE {column} = %s", order_id)
        return [row["headers"] for row in rows]

    eventually(lambda: carried("payment", "payments", "order_id"), "the payment is stored")
    assert carried("order", "outbox", "aggregate_id") == [expected]
    assert carried("payment", "payments", "order_id") == [expected]
    slow = {**ORDER, "payment_method": "pm_timeout_charged"}  # the executor settles it, so there is an event
    order_id = pair.order.post("/v1/orders", slow, X_Request_Id="the-first", traceparent=trace).json()["id"]
    eventually(lambda: carried("payment", "outbox", "aggregate_id"), "the payment is settled")
    assert carried("payment", "outbox", "aggregate_id") == [expected]


@pytest.mark.parametrize("capture", ["automatic", "manual"])
def test_an_order_whose_total_looks_like_a_card_number_is_paid(pair: Pair, capture: str) -> None:
    items = [{**LINE, "quantity": 1_000_000, "unit_amount": 4_111_111_111}, {**LINE, "unit_amount": 111_111}]
    placed = pair.order.post("/v1/orders", order(items=items, capture=capture), Prefer="wait=10").json()
    assert placed["total_amount"] == 4111111111111111
    assert placed["status"] == ("paid" if capture == "automatic" else "authorized")
