"""A client, and the `responses` library in place of the services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from tandem_client import Client, Item, retry

ORDER_URL, PAYMENT_URL = "http://order.test", "http://payment.test"
ORDERS = f"{ORDER_URL}/v1/orders"
KEY = "tdm_secret_of_this_test"
TEA = Item("tea-100", quantity=2, unit_amount=450)
ORDER: dict[str, Any] = {
    "id": "0198c5f0-0000-7000-8000-000000000001",
    "status": "paid",
    "currency": "EUR",
    "total_amount": 900,
    "paid_amount": 900,
    "refunded_amount": 0,
    "items": [{"sku": "tea-100", "name": None, "quantity": 2, "unit_amount": 450, "amount": 900}],
    "customer": None,
    "payment_method": "pm_ok",
    "capture": "automatic",
    "metadata": {},
    "payment": {"id": "0198c5f0-0000-7000-8000-000000000002", "status": "captured", "failure_reason": None},
    "version": 2,
    "created_at": "2026-01-02T03:04:05.678901Z",
    "updated_at": "2026-01-02T03:04:06.000001Z",
}


@pytest.fixture
def service() -> Iterator[responses.RequestsMock]:
    """Mocked services. Responses are returned in the order they are added; a further request is a lost connection."""
    with responses.RequestsMock(registry=responses.registries.OrderedRegistry) as mock:
        yield mock


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client with very short pauses."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.002)
    return Client(ORDER_URL, PAYMENT_URL, api_key=KEY, timeout=2, deadline=5)


def place(client: Client, **options: Any) -> Any:
    """Place an order."""
    return client.place_order(items=[TEA], currency="EUR", payment_method="pm_ok", **options)


def sent(service: responses.RequestsMock, name: str) -> list[Any]:
    """Return one header of all requests so far."""
    return [call.request.headers.get(name) for call in service.calls]
