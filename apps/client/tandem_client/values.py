"""The known values of statuses and types. Their fields also accept values that later releases add.

::

    order.status          # OrderStatus | Unknown
    order.status == "paid"
    isinstance(order.status, Unknown)  # a status that this version of the client does not know

Arguments of methods take the known values only, so that a type checker finds a misspelled one. Wrap a value that the
service knows and this client does not: `tandem.list_orders(status=Unknown("shipped"))`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

OrderStatus = Literal[
    "pending_payment", "authorized", "paid", "payment_failed", "canceling", "canceled", "refunded", "expired"
]
PaymentStatus = Literal["processing", "authorized", "captured", "failed", "voided", "expired"]
RefundStatus = Literal["pending", "succeeded", "failed"]
LineKind = Literal["item", "shipping", "tax", "discount"]
Capture = Literal["automatic", "manual"]
Sort = Literal["created_at", "-created_at"]
Actor = Literal["merchant", "payment"]
OperationKind = Literal["sale", "authorize", "capture", "void", "refund"]
OperationStatus = Literal["pending", "succeeded", "declined"]
Direction = Literal["debit", "credit"]
EndpointStatus = Literal["enabled", "disabled"]
DeliveryStatus = Literal["pending", "delivered", "dead"]

WebhookEventType = Literal[
    "order.placed",
    "order.authorized",
    "order.partially_captured",
    "order.paid",
    "order.payment_failed",
    "order.canceling",
    "order.canceled",
    "order.refunded",
    "order.expired",
    "order.updated",
    "refund.succeeded",
    "refund.failed",
]
"""The events that an endpoint can be registered for."""

DeliveryEventType = Literal[WebhookEventType, "webhook.test"]
"""The events that an endpoint can receive."""

EventType = Literal[
    WebhookEventType,
    "order.payment_attempted",
    "order.pending_payment",
    "payment.create_requested",
    "payment.capture_requested",
    "payment.capture_declined",
    "payment.void_requested",
    "payment.void_declined",
    "payment.refund_requested",
    "payment.updated",
]
"""The events of the feed."""


class Unknown(str):
    """A status or type that this version of the client does not know. It is a str like any other."""

    __slots__ = ()


def value_of(known: Any) -> Callable[[Any], Any]:
    """Return a function that reads a string from JSON: as it is if `known`, a Literal, has it, otherwise as `Unknown`.

    The function raises TypeError for anything but a string.
    """
    values = frozenset(get_args(known))

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a string")
        return value if value in values else Unknown(value)

    return read


def values_of(known: Any) -> Callable[[Any], Any]:
    """Return a function that reads a list of strings from JSON as a tuple, each as with `value_of`."""
    read = value_of(known)
    return lambda items: tuple(read(each) for each in items)
