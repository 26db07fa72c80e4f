"""What the services answer with, as frozen dataclasses. Amounts are in minor units: 450 is 4.50 EUR.

`status` and `type` are plain texts, and each result's `answer.body` has the JSON as it came: a service may learn
to say more, and older clients go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tandem_client.answers import Answer, member, origin, part, parts, time


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an order: to place one, and as it is shown. `amount` is quantity times unit amount.

    Only orders of the original sketch's API have lines without a sku and a unit amount.
    """

    sku: str | None
    quantity: int
    unit_amount: int | None
    name: str | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """What an order shows of its payment; `failure_reason` says why it was declined."""

    id: str
    status: str
    failure_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order. Its status is `pending_payment`, `authorized`, `paid`, `payment_failed`, `canceling`, `canceled`,
    `refunded` or `expired`.

    `version` is what `if_match` takes: a change is then made only to the order as you know it.
    """

    id: str
    status: str
    currency: str
    total_amount: int
    paid_amount: int
    refunded_amount: int
    items: tuple[Item, ...] = member(read=parts(Item))
    customer: str | None
    payment_method: str
    capture: str
    metadata: Mapping[str, str]
    payment: OrderPayment | None = member(read=part(OrderPayment))
    version: int
    created_at: datetime = time()
    updated_at: datetime = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One step of an order's history: `before` and `after` are the order's status, `data` depends on `type`."""

    version: int
    type: str
    before: str | None = member("from")
    after: str = member("to")
    actor: str
    data: Mapping[str, Any]
    at: datetime = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of an order or payment. Its status is `pending`, `succeeded` or `failed` (see `failure_reason`)."""

    id: str
    status: str
    amount: int
    currency: str
    reason: str | None
    failure_reason: str | None
    created_at: datetime = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. Its status is `processing`, `authorized`, `captured`, `failed` (see `failure_reason`), `voided`
    or `expired`.

    `refunding_amount` is under way to the customer; `provider_reference` is the provider's name for the charge.
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
    created_at: datetime = time()
    updated_at: datetime = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that was asked of the provider for a payment: `kind` is `sale`, `authorize`, `capture`, `void` or
    `refund`, status `pending`, `succeeded` or `declined`.
    """

    id: str
    kind: str
    amount: int
    currency: str
    status: str
    attempts: int
    provider_reference: str | None
    reason: str | None
    created_at: datetime = time()
    settled_at: datetime | None = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccount:
    """A payment by the provider's own account; `untold` counts operations that it did not tell of."""

    captured_amount: int
    refunded_amount: int
    untold: int
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The sums of one account of the ledger in one currency; `balance` is debits less credits."""

    account: str
    currency: str
    debits: int
    credits: int
    balance: int
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One side of a double entry; `direction` is `debit` or `credit`."""

    id: str
    operation_id: str
    payment_id: str
    account: str
    direction: str
    amount: int
    currency: str
    at: datetime = time()
    answer: Answer = origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """Where events are sent. Its status is `enabled` or `disabled` (see `disabled_reason`).

    `secret` is there only in what made it; until `signed_until`, the secrets before it sign besides.
    """

    id: str
    url: str
    description: str | None
    events: tuple[str, ...] = member(read=tuple)
    status: str
    disabled_reason: str | None
    signed_until: datetime | None = time()
    created_at: datetime = time()
    secret: str | None = field(default=None, repr=False)
    answer: Answer = origin()


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One attempt at a delivery: the status code of the answer, or an error; `duration` is in seconds."""

    number: int
    status_code: int | None
    error: str | None
    duration: float
    at: datetime = time()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """An event on its way to an endpoint; its id is the `id` of `webhooks.Event`.

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
    next_attempt_at: datetime | None = time()
    created_at: datetime = time()
    settled_at: datetime | None = time()
    payload: Mapping[str, Any] | None = None
    attempts: tuple[WebhookAttempt, ...] | None = member(read=parts(WebhookAttempt), default=None)
    answer: Answer = origin()
