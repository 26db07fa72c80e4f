"""The resources that the services return, as frozen dataclasses. Amounts are in minor units: 450 is 4.50 EUR.

`status` and `type` are strings, and each result's `answer.body` has the JSON as received, so that a service can add
values and fields without breaking older clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tandem_client.answers import Answer, answer_field, json_field, nested, nested_list, time_field


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order, in requests and responses. `amount` is `quantity` times `unit_amount`.

    `sku` and `unit_amount` are None only in orders placed through the original sketch's API.
    """

    sku: str | None
    quantity: int
    unit_amount: int | None
    name: str | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """An order's payment. `failure_reason` says why it was declined.

    `captured_amount` is less than the order's total after a partial capture. It is None if the service does not report
    it.
    """

    id: str
    status: str
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
    """An order. Its status is `pending_payment`, `authorized`, `paid`, `payment_failed`, `canceling`, `canceled`,
    `refunded` or `expired`.

    `last_error` is what the provider declined last; it is None again after something has succeeded.

    Pass `version` as `if_match` to change the order only if it still has that version.
    """

    id: str
    status: str
    currency: str
    total_amount: int
    paid_amount: int
    refunded_amount: int
    items: tuple[Item, ...] = json_field(read=nested_list(Item))
    customer: str | None
    payment_method: str
    capture: str
    metadata: Mapping[str, str]
    payment: OrderPayment | None = json_field(read=nested(OrderPayment))
    version: int
    created_at: datetime = time_field()
    updated_at: datetime = time_field()
    last_error: LastError | None = json_field(read=nested(LastError), default=None)
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One entry of an order's history. `before` and `after` are the order's status; `data` depends on `type`."""

    version: int
    type: str
    before: str | None = json_field("from")
    after: str = json_field("to")
    actor: str
    data: Mapping[str, Any]
    at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent:
    """An event of the feed: `order` is the order as it was after it, with `version`.

    `id` stays the same when the event is read again: store it to recognize duplicates. `refund` is the refund if `type`
    is `refund.succeeded` or `refund.failed`.
    """

    id: str
    type: str
    order_id: str
    version: int
    created_at: datetime = time_field()
    order: Mapping[str, Any] = json_field("data")
    refund: Mapping[str, Any] | None
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of an order or a payment. Its status is `pending`, `succeeded` or `failed` (see `failure_reason`)."""

    id: str
    status: str
    amount: int
    currency: str
    reason: str | None
    failure_reason: str | None
    created_at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. Its status is `processing`, `authorized`, `captured`, `failed` (see `failure_reason`), `voided`
    or `expired`.

    `refunding_amount` is the sum of refunds in progress. `provider_reference` is the provider's id of the charge.
    """

    id: str
    order_id: str
    status: str
    amount: int
    currency: str
    authorized_amount: int
    captured_amount: int
    refunded_amount: int
    refunding_amount: int
    payment_method: str
    capture: str
    failure_reason: str | None
    provider: str
    provider_reference: str | None
    version: int
    created_at: datetime = time_field()
    updated_at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request to the provider for a payment. `kind` is `sale`, `authorize`, `capture`, `void` or `refund`; `status`
    is `pending`, `succeeded` or `declined`.
    """

    id: str
    kind: str
    amount: int
    currency: str
    status: str
    attempts: int
    provider_reference: str | None
    reason: str | None
    created_at: datetime = time_field()
    settled_at: datetime | None = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """A payment as the provider's own records show it. `untold` counts operations that the provider did not report."""

    captured_amount: int
    refunded_amount: int
    untold: int
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
    """One side of a double entry. `direction` is `debit` or `credit`."""

    id: str
    operation_id: str
    payment_id: str
    account: str
    direction: str
    amount: int
    currency: str
    at: datetime = time_field()
    answer: Answer = answer_field()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """A URL that events are sent to. Its status is `enabled` or `disabled` (see `disabled_reason`).

    `secret` is present only in the response that created it. Until `signed_until`, earlier secrets sign as well.
    """

    id: str
    url: str
    description: str | None
    events: tuple[str, ...] = json_field(read=tuple)
    status: str
    disabled_reason: str | None
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

    Its status is `pending`, `delivered` or `dead`. `payload` and `attempts` are None in lists.
    """

    id: str
    endpoint_id: str
    order_id: str | None
    type: str
    status: str
    attempt_count: int
    last_status_code: int | None
    last_error: str | None
    next_attempt_at: datetime | None = time_field()
    created_at: datetime = time_field()
    settled_at: datetime | None = time_field()
    payload: Mapping[str, Any] | None = None
    attempts: tuple[WebhookAttempt, ...] | None = json_field(read=nested_list(WebhookAttempt), default=None)
    answer: Answer = answer_field()
