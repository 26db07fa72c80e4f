"""`Client`: the services' URLs, the API key, and the time limits."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import requests

from tandem_client.attempt import Limits, Service
from tandem_client.connections import BearerAuth, Connections
from tandem_client.endpoints import WebhookEndpoints
from tandem_client.orders import Orders
from tandem_client.payments import Payments
from tandem_client.transport import Transport

TIMEOUT, DEADLINE = 10.0, 60.0
"""Default limits in seconds."""


class Client(Orders, Payments, WebhookEndpoints):
    """Client for Tandem's two services, acting for one merchant.

    All threads of a process can share a client. Keep it for the life of the process: it reuses its connections, and a
    forked child process opens its own. It is a context manager; without `with`, call `close` to end the connections.
    """

    def __init__(
        self,
        order_url: str,
        payment_url: str | None = None,
        *,
        api_key: str,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        merchant: str | None = None,
        session: requests.Session | None = None,
    ) -> None:
        """Only the payment service's methods need `payment_url`; omit it where only the order service is reachable.

        `timeout` limits one attempt, not counting the `wait` it asks for. `deadline` limits a whole call with all its
        attempts and pauses. Both are in seconds; a server that sends its response very slowly can overrun either by one
        timeout. `merchant` is the merchant to act for, with an API key that may act for any merchant.

        Proxies and certificates are configured as for requests (HTTPS_PROXY, REQUESTS_CA_BUNDLE), but a .netrc does
        not replace the API key. `session` is a requests.Session for other settings (trust_env, verify, cert,
        adapters); the client uses it unchanged, in every thread.

        Raises ValueError if a URL, the API key, the merchant or a limit is not valid.
        """
        self._connections = Connections(session)
        self._auth = BearerAuth(api_key)
        self._urls = (order_url, payment_url)
        self._merchant, self._limits = merchant, Limits(timeout, deadline)
        self._connect()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """Create a client from ORDER_URL, PAYMENT_URL (optional) and API_KEY, the variables in `.run/env`.

        `options` are those of the constructor. Raises ValueError that names a missing variable.
        """
        for name in ("ORDER_URL", "API_KEY"):
            if not environ.get(name):
                raise ValueError(f"{name} is not set: source .run/env, which `make run` writes")
        return cls(environ["ORDER_URL"], environ.get("PAYMENT_URL") or None, api_key=environ["API_KEY"], **options)

    def with_options(
        self, *, timeout: float | None = None, deadline: float | None = None, merchant: str | None = None
    ) -> Self:
        """Return a client with other limits or another merchant that shares this client's connections."""
        other = copy.copy(self)
        other._limits = Limits(timeout or self._limits.timeout, deadline or self._limits.deadline)
        other._merchant = merchant or self._merchant
        other._connect()
        return other

    def _connect(self) -> None:
        order_url, payment_url = self._urls
        shared = (self._connections, self._auth, self._merchant, self._limits)
        self._order = Transport(Service("order", order_url, *shared))
        self._optional_payment = None if payment_url is None else Transport(Service("payment", payment_url, *shared))

    def close(self) -> None:
        """Close the connections, unless the session is the caller's own. A later call opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        order_url, payment_url = self._urls
        return f"<tandem_client.Client order={order_url} payment={payment_url}>"
