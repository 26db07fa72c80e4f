"""What `Client` and `AsyncClient` have in common: the operations, the services' URLs, and the time limits."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tandem_client.attempt import Limits, Service
from tandem_client.endpoints import WebhookEndpoints
from tandem_client.feed import Feed
from tandem_client.orders import Orders
from tandem_client.payments import Payments
from tandem_client.transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT, DEADLINE = 10.0, 60.0
"""Default limits in seconds."""


class Api(Orders, Feed, Payments, WebhookEndpoints):
    """The operations of both services for one merchant. `Client` and `AsyncClient` send the requests."""

    def _set_up(
        self, order_url: str, payment_url: str | None, agent: str, merchant: str | None, limits: Limits
    ) -> None:
        self._urls, self._agent = (order_url, payment_url), agent
        self._merchant, self._limits = merchant, limits
        self._connect()

    def _connect(self) -> None:
        order_url, payment_url = self._urls
        shared = (self._agent, self._merchant, self._limits)
        self._order = Transport(Service("order", order_url, *shared))
        self._optional_payment = None if payment_url is None else Transport(Service("payment", payment_url, *shared))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """Create a client from ORDER_URL, PAYMENT_URL (optional) and API_KEY, the variables in `.run/env`.

        `options` are those of the constructor. Raises ValueError that names a missing variable.
        """
        for name in ("ORDER_URL", "API_KEY"):
            if not environ.get(name):
                raise ValueError(f"{name} is not set: source .run/env, which `make run` writes")
        settings: dict[str, Any] = {
            "order_url": environ["ORDER_URL"],
            "payment_url": environ.get("PAYMENT_URL") or None,
            "api_key": environ["API_KEY"],
        }
        return cls(**settings, **options)

    def with_options(
        self, *, timeout: float | None = None, deadline: float | None = None, merchant: str | None = None
    ) -> Self:
        """Return a client with other limits or another merchant that shares this client's connections."""
        other = copy.copy(self)
        other._limits = Limits(timeout or self._limits.timeout, deadline or self._limits.deadline)
        other._merchant = merchant or self._merchant
        other._connect()
        return other

    def __repr__(self) -> str:
        order_url, payment_url = self._urls
        return f"<tandem_client.{type(self).__name__} order={order_url} payment={payment_url}>"
