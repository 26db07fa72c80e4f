"""The Python client offers everything that the OpenAPI documents describe to merchants."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_client import Client

_DOCUMENTS = Path(__file__).parents[3] / "docs/openapi"

# For the other service, the provider, and tests with the simulator.
_NOT_OF_MERCHANTS = {
    "receivePaymentEvent",
    "carryOut",
    "listMerchants",
    "receiveProviderEvent",
    "getSimulatorFaults",
    "setSimulatorFaults",
}
_METHODS = {
    ("order", "placeOrder"): "place_order",
    ("order", "listOrders"): "list_orders",
    ("order", "getOrder"): "get_order",
    ("order", "labelOrder"): "update_order",
    ("order", "captureOrder"): "capture",
    ("order", "cancelOrder"): "cancel",
    ("order", "createPaymentAttempt"): "pay_again",
    ("order", "createRefund"): "refund",
    ("order", "listRefunds"): "list_refunds",
    ("order", "getRefund"): "get_refund",
    ("order", "listAllRefunds"): "list_all_refunds",
    ("order", "listEvents"): "order_events",
    ("order", "listAllEvents"): "read_events",
    ("order", "createWebhookEndpoint"): "create_webhook_endpoint",
    ("order", "listWebhookEndpoints"): "list_webhook_endpoints",
    ("order", "getWebhookEndpoint"): "get_webhook_endpoint",
    ("order", "changeWebhookEndpoint"): "update_webhook_endpoint",
    ("order", "deleteWebhookEndpoint"): "delete_webhook_endpoint",
    ("order", "rotateWebhookSecret"): "rotate_webhook_secret",
    ("order", "enableWebhookEndpoint"): "enable_webhook_endpoint",
    ("order", "sendTestEvent"): "test_webhook_endpoint",
    ("order", "redeliverWebhooks"): "redeliver_webhooks",
    ("order", "listWebhookDeliveries"): "list_webhook_deliveries",
    ("order", "getWebhookDelivery"): "get_webhook_delivery",
    ("order", "redeliverWebhook"): "redeliver_webhook",
    ("payment", "createPayment"): "create_payment",
    ("payment", "listPayments"): "list_payments",
    ("payment", "getPayment"): "get_payment",
    ("payment", "capturePayment"): "capture_payment",
    ("payment", "voidPayment"): "void_payment",
    ("payment", "createRefund"): "refund_payment",
    ("payment", "listRefunds"): "list_payment_refunds",
    ("payment", "listOperations"): "operations",
    ("payment", "askProvider"): "provider_account",
    ("payment", "listBalances"): "balances",
    ("payment", "listEntries"): "entries",
}
# How the client names them, or None if it sends them by itself.
_NAMES = {
    "limit": "page_size",
    "cursor": None,
    "Idempotency-Key": "idempotency_key",
    "If-Match": "if_match",
    "Prefer": "wait",
    "If-None-Match": None,
    "Tandem-Merchant": None,
    "X-Request-Id": None,
    "traceparent": None,
    "webhook_endpoint_id": "endpoint_id",
    "webhook_delivery_id": "delivery_id",
}


def _resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        reference, node = node["$ref"], document
        for segment in reference.removeprefix("#/").split("/"):
            node = node[segment]
    return node


def _operations() -> Iterator[tuple[str, str, set[str]]]:
    """Yield service, operation id, and the names of the parameters and of the members of the body."""
    for service in ("order", "payment"):
        document = json.loads((_DOCUMENTS / f"{service}.json").read_text())
        for path, item in document["paths"].items():
            if not path.startswith("/v1/"):
                continue
            for verb, operation in item.items():
                if verb == "parameters" or operation["operationId"] in _NOT_OF_MERCHANTS:
                    continue
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                names = {_resolve(document, each)["name"] for each in parameters}
                content = operation.get("requestBody", {}).get("content", {})
                body = _resolve(document, content.get("application/json", {}).get("schema", {}))
                yield service, operation["operationId"], names | set(body.get("properties", {}))


@pytest.mark.parametrize(
    ("service", "operation", "documented"),
    [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in _operations()],
)
def test_a_method_takes_every_parameter_and_member_that_the_document_has(
    service: str, operation: str, documented: set[str]
) -> None:
    method = getattr(Client, _METHODS[service, operation])
    expected = {name for each in documented if (name := _NAMES.get(each, each)) is not None}
    assert set(inspect.signature(method).parameters) - {"self"} == expected
