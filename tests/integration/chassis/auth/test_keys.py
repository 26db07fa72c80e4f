"""Authentication and authorization, which work in the same way in both services."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support import applications
from tests.support.applications import get, make
from tests.support.databases import Databases
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY, READONLY_KEY

PATHS = {
    "order": ("/v1/orders", "/orders"),
    "payment": ("/v1/payments", "/payments"),
}


def payment(**changes: Any) -> dict[str, Any]:
    return {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}


@pytest.fixture(params=["order", "payment"])
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(pair: Pair, service: str) -> str:
    client: Client = getattr(pair, service)
    return client.url


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, "Bearer"),
        ("Bearer", "Bearer"),
        ("Basic dGRtX3Rlc3Q6", "Bearer"),
        (f"Token {KEY}", "Bearer"),
        (KEY, "Bearer"),
        (f"Bearer {KEY}x", 'Bearer error="invalid_token"'),
        (f"Bearer {KEY.upper()}", 'Bearer error="invalid_token"'),
        (f"Bearer {KEY} {KEY}", 'Bearer error="invalid_token"'),
        (f"Bearer {KEY},", 'Bearer error="invalid_token"'),
        (b"Bearer \xff\xfe", 'Bearer error="invalid_token"'),
    ],
)
def test_a_request_without_a_valid_key_is_401_with_a_challenge(
    url: str, service: str, header: str | bytes | None, challenge: str
) -> None:
    stranger = Client(url, None)
    headers = {"Authorization": header} if header is not None else {}
    for path in PATHS[service]:
        response = stranger.request("POST", path, json={}, headers=headers)
        refused(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == challenge
        assert KEY not in response.text
    where = f"{PATHS[service][0]}/{uuid.uuid4()}"
    refused(stranger.request("GET", where, headers=headers), 401, "unauthorized")


@pytest.mark.parametrize("header", [f"bearer {KEY}", f"BEARER {KEY}", f"Bearer  {KEY}"])
def test_the_authorization_scheme_is_case_insensitive(url: str, service: str, header: str) -> None:
    response = Client(url, None).get(f"{PATHS[service][0]}/{uuid.uuid4()}", headers={"Authorization": header})
    refused(response, 404, f"{service}-not-found")


def test_a_key_without_the_scope_is_403_and_the_scope_is_named(url: str, service: str) -> None:
    reader = Client(url, READONLY_KEY)
    for path in PATHS[service]:
        response = reader.post(path, {})
        refused(response, 403, "forbidden")
        scope = f"{service}s:write"
        assert response.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'
    refused(reader.get(f"{PATHS[service][0]}/{uuid.uuid4()}"), 404, f"{service}-not-found")


def test_a_key_for_payments_may_not_read_orders(pair: Pair) -> None:
    internal = Client(pair.order.url, INTERNAL_KEY)
    refused(internal.get(f"/v1/orders/{uuid.uuid4()}"), 403, "forbidden")
    refused(internal.post("/v1/orders", ORDER), 403, "forbidden")


@pytest.mark.parametrize("merchant", ["other", "tandem", "nobody"])
def test_only_a_key_for_any_merchant_may_name_another_merchant(url: str, service: str, merchant: str) -> None:
    where = f"{PATHS[service][0]}/{uuid.uuid4()}"
    refused(Client(url).get(where, headers={"Tandem-Merchant": merchant}), 403, "forbidden")
    refused(Client(url).get(where, headers={"Tandem-Merchant": "demo"}), 404, f"{service}-not-found")


def test_a_key_for_any_merchant_acts_for_the_named_merchant(pair: Pair) -> None:
    internal = Client(pair.payment.url, INTERNAL_KEY)
    made = internal.post("/v1/payments", payment(), Tandem_Merchant="other")
    assert made.status_code == 201
    path = made.headers["Location"]
    assert Client(pair.payment.url, OTHER_KEY).get(path).json()["id"] == made.json()["id"]
    assert internal.get(path, headers={"Tandem-Merchant": "other"}).status_code == 200
    refused(internal.get(path), 404, "payment-not-found")
    refused(pair.payment.get(path), 404, "payment-not-found")
    for nonsense in ("a b", "é".encode(), "x" * 65, "../demo", "4111111111111111", "4539-5787-6362-1486"):
        refused(internal.get(path, headers={"Tandem-Merchant": nonsense}), 403, "forbidden")


def test_without_authentication_a_merchant_needs_a_valid_name_too(databases: Databases, service: str) -> None:
    app = make(databases, service, AUTH_MODE="off")
    assert get(app, None, Tandem_Merchant="a.merchant").status_code == 404
    for nonsense in ("a b", "é", "x" * 65, "4111111111111111"):
        applications.refused(get(app, None, Tandem_Merchant=nonsense), 403, "forbidden")


def test_another_merchants_order_is_404_everywhere(pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", ORDER).json()
    other = Client(pair.order.url, OTHER_KEY)
    for path in ("/v1/orders/{}", "/v1/orders/{}/events", "/orders/{}"):
        assert pair.order.get(path.format(placed["id"])).status_code == 200
        refused(other.get(path.format(placed["id"])), 404, "order-not-found")


def test_another_merchants_payment_is_404_and_listed_nowhere(pair: Pair) -> None:
    made = pair.payment.post("/v1/payments", payment()).json()
    other = Client(pair.payment.url, OTHER_KEY)
    refused(other.get(f"/v1/payments/{made['id']}"), 404, "payment-not-found")
    assert other.get(f"/v1/payments?order_id={made['order_id']}").json()["data"] == []
    assert [each["id"] for each in pair.payment.get(f"/v1/payments?order_id={made['order_id']}").json()["data"]] == [
        made["id"]
    ]


def test_two_merchants_may_use_the_same_order_id_and_see_only_their_own(pair: Pair) -> None:
    other = Client(pair.order.url, OTHER_KEY)
    order_id = str(uuid.uuid4())
    assert pair.order.post("/orders", {"id": order_id, "items": ["mine"], "total": 1}).status_code == 201
    assert other.post("/orders", {"id": order_id, "items": ["theirs"], "total": 2}).status_code == 201
    assert pair.order.get(f"/orders/{order_id}").json()["items"] == ["mine"]
    assert other.get(f"/orders/{order_id}").json()["items"] == ["theirs"]
