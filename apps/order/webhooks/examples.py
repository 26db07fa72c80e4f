"""Examples of events, which merchants send to their endpoints to test them: pure functions."""

from __future__ import annotations

from typing import Any

from order.webhooks.model import TEST

_PAYMENTS = {
    "order.authorized": "authorized",
    "order.partially_captured": "authorized",
    "order.payment_failed": "failed",
    "order.canceling": "authorized",
    "order.canceled": "voided",
    "order.expired": "expired",
}
_NOT_PAID = {*_PAYMENTS, "order.placed"} - {"order.partially_captured"}
_MANUAL = ("order.authorized", "order.partially_captured", "order.expired")
_STATUSES = {
    "order.placed": "pending_payment",
    "order.partially_captured": "authorized",
    "order.updated": "paid",
    "refund.succeeded": "paid",
    "refund.failed": "paid",
}


def example(kind: str, endpoint_id: str, now: str, order_id: str, payment_id: str) -> dict[str, Any]:
    """Return the body of an event of this type, recorded at `now` (RFC 3339).

    It looks like one of a real order, whose id no order has, and whose metadata say that it is a test.
    """
    if kind == TEST:
        return {"type": TEST, "timestamp": now, "data": {"webhook_endpoint_id": endpoint_id}}
    event = {"type": kind, "timestamp": now, "data": _order(kind, now, order_id, payment_id)}
    if kind.startswith("refund."):
        failed = kind == "refund.failed"
        event["refund"] = {
            "id": payment_id,
            "order_id": order_id,
            "payment_id": payment_id,
            "status": kind.removeprefix("refund."),
            "amount": 450,
            "currency": "EUR",
            "reason": "One of two was damaged",
            "failure_reason": "refund_declined" if failed else None,
            "metadata": {"test": "true"},
            "created_at": now,
            "updated_at": now,
        }
    return event


def _order(kind: str, now: str, order_id: str, payment_id: str) -> dict[str, Any]:
    paid = 0 if kind in _NOT_PAID else 450 if kind == "order.partially_captured" else 900
    payment = {
        "id": payment_id,
        "status": _PAYMENTS.get(kind, "captured"),
        "captured_amount": paid,
        "failure_reason": "card_declined" if kind == "order.payment_failed" else None,
    }
    placed = kind == "order.placed"
    return {
        "id": order_id,
        "status": _STATUSES.get(kind, kind.removeprefix("order.")),
        "currency": "EUR",
        "total_amount": 900,
        "paid_amount": paid,
        "refunded_amount": {"order.refunded": 900, "refund.succeeded": 450}.get(kind, 0),
        "items": [
            {
                "kind": "item",
                "sku": "tea-100",
                "name": "Green tea",
                "quantity": 2,
                "unit_amount": 450,
                "amount": 900,
                "tax_amount": None,
            }
        ],
        "customer": "cus_17",
        "reference": "A-1001",
        "payment_method": "pm_ok",
        "capture": "manual" if kind in _MANUAL else "automatic",
        "metadata": {"test": "true"},
        "payment": None if placed else payment,
        "last_error": None,
        "version": 1 if placed else 2,
        "created_at": now,
        "updated_at": now,
    }
