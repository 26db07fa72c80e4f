"""The resources that the services return, as frozen dataclasses. Amounts are in minor units: 450 is 4.50 EUR.

A service can add values and fields without breaking older clients: a status or type that this client does not know is
a `values.Unknown`, and each result's `answer.body` has the JSON as received.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tandem_client import values
from tandem_client.answers import Answer, answer_field, json_field, nested, nested_list, result_field, time_field
from tandem_client.values import Unknown, value_of, values_of


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order, in requests and responses. `amount` is `quantity` times `unit_amount`.

    The order's total is the sum of the amounts of all lines. The `unit_amount` of a `discount` is negative.
    `tax_amount` says how much of `amount` is tax; it is not added.

    `sku` and `unit_amount` are None only in orders placed through the original sketch's API.
    """

    sku: str | None
    quantity: int
    unit_amount: int | None
    name: str | None = None
    amount: int | None = None
    kind: values.LineKind | Unknown = json_field(read=value_of(values.LineKind), default="item")
    tax_amount: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPayment:
    """An order's payment. `failure_reason` says why it was declined.

    `captured_amount` is less than the order's total after a partial capture. It is None if the service does not report
    it.
    """

    id: str
    status: values.PaymentStatus | Unknown = json_field(read=value_of(values.PaymentStatus))
    failure_reason: str | None
    captured_amount: int | None = None


@dataclass(frozen=True, slots=True)
class LastError:
    """What the payment provider declined: `code` is `capture_declined`, `void_declined` or `refund_declined`.

    `detail` is one sentence for people.
    """

    code: str
    detail: str
    at: datetime = time_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order.

    `reference` is the shop's own order number. `last_error` is what the provider declined last; it is None again after
    something has succeeded.

    Pass `version` as `if_match` to change the order only if it still has that version.
    """

    id: str
    status: values.OrderStatus | Unknown = json_field(read=value_of(values.OrderStatus))
    currency: str
    total_amount: int
    paid_amount: int
    refunded_amount: int
    items: tuple[Item, ...] = json_field(read=nested_list(Item))
    customer: str | None
    payment_method: str
    capture: values.Capture | Unknown = json_field(read=value_of(values.Capture))
    metadata: Mapping[str, str]
    payment: OrderPayment | None = json_field(read=nested(OrderPayment))
    version: int
    created_at: datetime = time_field()
    updated_at: datetime = time_field()
    last_error: LastError | None = json_field(read=nested(LastError), default=None)
    reference: str | None = None
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One entry of an order's history. `before` and `after` are the order's status; `data` depends on `type`."""

    version: int
    type: values.EventType | Unknown = json_field(read=value_of(values.EventType))
    before: values.OrderStatus | Unknown | None = json_field("from", value_of(values.OrderStatus))
    after: values.OrderStatus | Unknown = json_field("to", value_of(values.OrderStatus))
    actor: values.Actor | Unknown = json_field(read=value_of(values.Actor))
    data: Mapping[str, Any]
    at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of an order. `failure_reason` says why it failed, if it did."""

    id: str
    order_id: str
    payment_id: str
    status: values.RefundStatus | Unknown = json_field(read=value_of(values.RefundStatus))
    amount: int
    currency: str
    reason: str | None
    failure_reason: str | None
    metadata: Mapping[str, str]
    created_at: datetime = time_field()
    updated_at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRefund:
    """A refund of a payment. `failure_reason` says why it failed, if it did."""

    id: str
    status: values.RefundStatus | Unknown = json_field(read=value_of(values.RefundStatus))
    amount: int
    currency: str
    reason: str | None
    failure_reason: str | None
    created_at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent:
    """An event of the feed: `order` is the order as it was after it, with `version`.

    `id` stays the same when the event is read again: store it to recognize duplicates. `refund` is the refund if `type`
    is `refund.succeeded` or `refund.failed`.

    `position` is set by `events`, not by `read_events`: passed as `after`, it continues behind this event. No later
    event is missed, but up to a page of earlier ones may come again.
    """

    id: str
    type: values.EventType | Unknown = json_field(read=value_of(values.EventType))
    order_id: str
    version: int
    created_at: datetime = time_field()
    order: Order = result_field(Order, "data")
    refund: Refund | None = result_field(Refund)
    position: str = ""
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. `failure_reason` says why it failed, if it did.

    `refunding_amount` is the sum of refunds in progress. `provider_reference` is the provider's id of the charge.
    """

    id: str
    order_id: str
    status: values.PaymentStatus | Unknown = json_field(read=value_of(values.PaymentStatus))
    amount: int
    currency: str
    authorized_amount: int
    captured_amount: int
    refunded_amount: int
    refunding_amount: int
    payment_method: str
    capture: values.Capture | Unknown = json_field(read=value_of(values.Capture))
    failure_reason: str | None
    provider: str
    provider_reference: str | None
    version: int
    created_at: datetime = time_field()
    updated_at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request to the provider for a payment. `reason` says why it was declined, if it was.

    `final` is false for a capture that keeps the rest authorized, and None for operations other than captures.
    """

    id: str
    kind: values.OperationKind | Unknown = json_field(read=value_of(values.OperationKind))
    amount: int
    currency: str
    status: values.OperationStatus | Unknown = json_field(read=value_of(values.OperationStatus))
    attempts: int
    provider_reference: str | None
    reason: str | None
    created_at: datetime = time_field()
    settled_at: datetime | None = time_field()
    final: bool | None = None
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """A payment as the provider's own records show it.

    `untold` counts operations that the provider did not report. `missing` counts succeeded operations that it has no
    record of; it is None if the service does not report it.
    """

    captured_amount: int
    refunded_amount: int
    untold: int
    missing: int | None = None
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The totals of one ledger account in one currency. `balance` is debits minus credits."""

    account: str
    currency: str
    debits: int
    credits: int
    balance: int
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One side of a double entry."""

    id: str
    operation_id: str
    payment_id: str
    account: str
    direction: values.Direction | Unknown = json_field(read=value_of(values.Direction))
    amount: int
    currency: str
    at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """A URL that events are sent to. `disabled_reason` says why it is disabled, if it is.

    `secret` is present only in the response that created it. Until `signed_until`, earlier secrets sign as well. Events
    since `redelivering_since` are being sent again; it is None when all of them are due, or if none were requested.
    """

    id: str
    url: str
    description: str | None
    events: tuple[values.WebhookEventType | Unknown, ...] = json_field(read=values_of(values.WebhookEventType))
    status: values.EndpointStatus | Unknown = json_field(read=value_of(values.EndpointStatus))
    disabled_reason: str | None
    redelivering_since: datetime | None = time_field(default=None)
    signed_until: datetime | None = time_field()
    created_at: datetime = time_field()
    secret: str | None = field(default=None, repr=False)
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One attempt at a delivery, with the status code of the response or an error. `duration` is in seconds."""

    number: int
    status_code: int | None
    error: str | None
    duration: float
    at: datetime = time_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """The delivery of an event to an endpoint. Its `id` is the `id` of `webhooks.Event`.

    A `dead` delivery is sent again only on request. `payload` and `attempts` are None in lists.
    """

    id: str
    endpoint_id: str
    order_id: str | None
    type: values.DeliveryEventType | Unknown = json_field(read=value_of(values.DeliveryEventType))
    status: values.DeliveryStatus | Unknown = json_field(read=value_of(values.DeliveryStatus))
    attempt_count: int
    last_status_code: int | None
    last_error: str | None
    next_attempt_at: datetime | None = time_field()
    created_at: datetime = time_field()
    settled_at: datetime | None = time_field()
    payload: Mapping[str, Any] | None = None
    attempts: tuple[WebhookAttempt, ...] | None = json_field(read=nested_list(WebhookAttempt), default=None)
    answer: Answer = answer_field()
