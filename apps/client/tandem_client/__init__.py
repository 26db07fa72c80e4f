"""Typed client for Tandem. One idempotency key per call, deadlines, and retries that never act twice.

::

    tandem = Client.from_env()
    order = tandem.place_order(items=[Item("tea-100", 2, 450)], currency="EUR", payment_method="pm_ok", wait=5)

`Client` has one method per operation of both services, and `AsyncClient` the same methods as coroutines. `values` has
the types of statuses. `errors` documents the exceptions. `webhooks.verify` checks the webhooks that Tandem sends you.
"""

from tandem_client.answers import Answer, Several
from tandem_client.async_client import AsyncClient
from tandem_client.client import Client
from tandem_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    InvalidSignature,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Problem,
    RateLimited,
    ServerError,
    StatusNotReached,
    TandemError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from tandem_client.model import (
    Balance,
    Entry,
    FeedEvent,
    Item,
    LastError,
    Operation,
    Order,
    OrderEvent,
    OrderPayment,
    Payment,
    PaymentRefund,
    ProviderAccount,
    Refund,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from tandem_client.values import Unknown
from tandem_client.version import __version__

__all__ = [
    "Answer",
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Balance",
    "Client",
    "Conflict",
    "Entry",
    "FeedEvent",
    "FieldError",
    "Forbidden",
    "Invalid",
    "InvalidSignature",
    "Item",
    "LastError",
    "NotFound",
    "Operation",
    "Order",
    "OrderEvent",
    "OrderPayment",
    "OutcomeUnknown",
    "Payment",
    "PaymentRefund",
    "PreconditionFailed",
    "Problem",
    "ProviderAccount",
    "RateLimited",
    "Refund",
    "ServerError",
    "Several",
    "StatusNotReached",
    "TandemError",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unknown",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "__version__",
]
