"""Reading responses: unknown fields are ignored, missing fields raise UnexpectedAnswer."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from tandem_client import Client, Item, LastError, Order, UnexpectedAnswer
from tandem_client.values import Unknown
from tests.unit.client.conftest import KEY, ORDER, ORDER_URL, ORDERS, PAYMENT_URL, place


def get(client: Client, service: responses.RequestsMock, body: Any) -> Order:
    service.get(f"{ORDERS}/1", json=body, headers={"X-Request-Id": "req-1"})
    return client.get_order("1")


def test_an_order_is_read_into_typed_fields(client: Client, service: responses.RequestsMock) -> None:
    order = get(client, service, ORDER)
    assert order.items == (Item("tea-100", quantity=2, unit_amount=450, amount=900),)
    assert order.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert order.payment is not None
    assert order.payment.status == "captured"
    assert (order.answer.request_id, order.answer.status, order.answer.replayed) == ("req-1", 200, False)
    assert order.answer.body == ORDER
    assert "answer" not in repr(order)


def test_a_decline_is_read_with_its_time_and_may_be_missing(client: Client, service: responses.RequestsMock) -> None:
    error = {"code": "capture_declined", "detail": "No.", "at": "2026-01-02T03:04:05.678901Z"}
    order = get(
        client, service, {**ORDER, "last_error": error, "payment": {**ORDER["payment"], "captured_amount": 400}}
    )
    assert order.last_error == LastError("capture_declined", "No.", datetime(2026, 1, 2, 3, 4, 5, 678901, UTC))
    assert (order.payment and order.payment.captured_amount) == 400
    assert get(client, service, {**ORDER, "last_error": None}).last_error is None
    older = get(client, service, ORDER)
    assert (older.last_error, older.payment and older.payment.captured_amount) == (None, None)


def test_fields_and_values_of_a_newer_service_do_not_break_the_client(
    client: Client, service: responses.RequestsMock
) -> None:
    newer = copy.deepcopy(ORDER)
    newer["items"][0]["tax"] = newer["payment"]["risk"] = newer["loyalty"] = {"points": 3}
    newer["status"] = "shipped"
    order = get(client, service, newer)
    assert order.status == "shipped"
    assert order.answer.body["loyalty"] == {"points": 3}


@pytest.mark.parametrize(
    "change",
    [
        {"id": ...},
        {"created_at": "yesterday"},
        {"created_at": 7},
        {"items": 3},
        {"items": [{}]},
        {"items": ["item1"]},
        {"payment": "none"},
    ],
    ids=str,
)
def test_a_response_that_is_not_an_order_raises(
    client: Client, service: responses.RequestsMock, change: dict[str, Any]
) -> None:
    body = {name: value for name, value in {**ORDER, **change}.items() if value is not ...}
    with pytest.raises(UnexpectedAnswer, match="not a valid Order") as caught:
        get(client, service, body)
    assert (caught.value.status, caught.value.body, caught.value.request_id) == (200, body, "req-1")


def test_an_unexpected_response_to_a_post_keeps_the_idempotency_key(
    client: Client, service: responses.RequestsMock
) -> None:
    service.post(ORDERS, json={"ok": True}, status=201)
    with pytest.raises(UnexpectedAnswer) as caught:
        place(client, idempotency_key="mine")
    assert caught.value.idempotency_key == "mine"


def test_results_can_be_compared_and_pickled(client: Client, service: responses.RequestsMock) -> None:
    first, second = get(client, service, ORDER), get(client, service, {**ORDER, "new": 1})
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first


def pages(service: responses.RequestsMock, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        service.get(ORDERS, json=body, headers={"X-Request-Id": "req-page"})


def test_pages_are_requested_when_they_are_needed(client: Client, service: responses.RequestsMock) -> None:
    def numbered(number: int) -> dict[str, Any]:
        return {**ORDER, "id": str(number)}

    pages(
        service,
        {"data": [numbered(1), numbered(2)], "next_cursor": "a+/="},
        {"data": [], "next_cursor": "b"},
        {"data": [numbered(3)], "next_cursor": None},
    )
    orders = client.list_orders(
        status="paid",
        customer="cus 17&x",
        created_after=datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        page_size=2,
    )
    assert len(service.calls) == 0
    assert [next(orders).id, next(orders).id] == ["1", "2"]
    assert len(service.calls) == 1
    third = next(orders)
    assert (third.id, third.answer.request_id, third.answer.body["id"]) == ("3", "req-page", "3")
    assert list(orders) == []
    queries = [parse_qs(urlsplit(str(call.request.url)).query) for call in service.calls]
    filters = {"status": ["paid"], "customer": ["cus 17&x"], "created_after": ["2026-01-01T00:00:00Z"], "limit": ["2"]}
    assert queries == [filters, {**filters, "cursor": ["a+/="]}, {**filters, "cursor": ["b"]}]


@pytest.mark.parametrize("cursor", ["a", 7, {}])
def test_an_invalid_or_repeated_cursor_raises(client: Client, service: responses.RequestsMock, cursor: object) -> None:
    pages(service, {"data": [ORDER], "next_cursor": "a"}, {"data": [ORDER], "next_cursor": cursor})
    orders = client.list_orders()
    assert [next(orders).id for _ in range(2)] == [ORDER["id"]] * 2
    with pytest.raises(UnexpectedAnswer, match="next_cursor"):
        next(orders)


def test_a_list_without_data_raises(client: Client, service: responses.RequestsMock) -> None:
    service.get(f"{ORDERS}/1/refunds", json={"refunds": []})
    with pytest.raises(UnexpectedAnswer, match="no list named data"):
        list(client.list_refunds("1"))


def test_a_time_without_a_time_zone_raises(client: Client) -> None:
    with pytest.raises(ValueError, match="time zone"):
        list(client.list_orders(created_before=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_an_empty_list_has_an_answer(client: Client, service: responses.RequestsMock) -> None:
    service.get(f"{PAYMENT_URL}/v1/ledger/balances", json={"data": []}, headers={"X-Request-Id": "req-9"})
    balances = client.balances(currency="EUR")
    assert list(balances) == []
    assert balances.answer.request_id == "req-9"


@pytest.mark.parametrize("order_id", ["", ".", ".."])
def test_an_id_that_would_change_the_path_raises(client: Client, order_id: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        client.get_order(order_id)


def test_ids_are_percent_encoded(client: Client, service: responses.RequestsMock) -> None:
    service.get(f"{ORDERS}/..%2Fa%3Fb%23c", json=ORDER)
    client.get_order("../a?b#c")
    assert str(service.calls[0].request.url) == f"{ORDER_URL}/v1/orders/..%2Fa%3Fb%23c"


def test_omitted_arguments_are_not_sent_and_empty_ones_are(client: Client, service: responses.RequestsMock) -> None:
    for _ in range(2):
        service.post(ORDERS, json=ORDER, status=201)
    place(client)
    place(client, customer="", metadata={}, capture="manual")
    first, second = (call.request.body for call in service.calls)
    item = b'"items": [{"sku": "tea-100", "quantity": 2, "unit_amount": 450}]'
    assert first == b'{"currency": "EUR", ' + item + b', "payment_method": "pm_ok"}'
    assert second == first[:-1] + b', "customer": "", "capture": "manual", "metadata": {}}'


def test_lines_are_sent_with_their_kind_unless_it_is_the_default(
    client: Client, service: responses.RequestsMock
) -> None:
    service.post(ORDERS, json=ORDER, status=201)
    lines = [
        Item("tea-100", 2, 1190, tax_amount=380),
        Item("dhl", 1, 0, kind="shipping"),
        Item("WELCOME", 1, -595, kind="discount", tax_amount=-95),
    ]
    client.place_order(items=lines, currency="EUR", payment_method="pm_ok", reference="A-1001")
    assert json.loads(service.calls[0].request.body or "") == {
        "currency": "EUR",
        "items": [
            {"sku": "tea-100", "quantity": 2, "unit_amount": 1190, "tax_amount": 380},
            {"kind": "shipping", "sku": "dhl", "quantity": 1, "unit_amount": 0},
            {"kind": "discount", "sku": "WELCOME", "quantity": 1, "unit_amount": -595, "tax_amount": -95},
        ],
        "payment_method": "pm_ok",
        "reference": "A-1001",
    }


def test_lines_of_a_service_without_kinds_are_items_and_new_kinds_are_unknown(
    client: Client, service: responses.RequestsMock
) -> None:
    line = {"sku": "x", "name": None, "quantity": 1, "unit_amount": 1, "amount": 1}
    service.get(f"{ORDERS}/1", json={**ORDER, "items": [line, {**line, "kind": "deposit", "tax_amount": 0}]})
    order = client.get_order("1")
    assert order.items == (
        Item("x", 1, 1, None, 1),
        Item("x", 1, 1, None, 1, kind=Unknown("deposit"), tax_amount=0),
    )
    assert isinstance(order.items[1].kind, Unknown)
    assert order.reference is None


def test_the_api_key_is_not_in_the_repr_of_the_client(client: Client) -> None:
    assert KEY not in repr(client)
    assert ORDER_URL in repr(client)
