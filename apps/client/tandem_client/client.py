"""The client: where the services are, as whom they are called, and for how long."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import requests

from tandem_client.attempt import Limits, Peer
from tandem_client.connections import Bearer, Connections
from tandem_client.endpoints import WebhookEndpoints
from tandem_client.orders import Orders
from tandem_client.payments import Payments
from tandem_client.transport import Transport

TIMEOUT, DEADLINE = 10.0, 60.0
"""Seconds, unless a client is given others."""


class Client(Orders, Payments, WebhookEndpoints):
    """Tandem's two services, as one merchant sees them.

    A client may be shared by all threads of a process and lives as long as it: connections are kept and used again,
    and a child process that was forked makes its own. It is a context manager; outside one, `close` ends its
    connections.
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
        """`payment_url` is needed for what payments are asked; where only order can be reached it is left out.

        `timeout` is how many seconds one attempt may take besides the `wait` that it asks for, and `deadline` how
        many a call may take with all its attempts and pauses; a server that sends its answer drop by drop can
        overrun either by one time-out. `merchant` is for keys that may act for any of them.

        Proxies and certificates come from the environment, as requests has it (HTTPS_PROXY, REQUESTS_CA_BUNDLE), but
        no password from a .netrc: the key stays the key. `session` is a requests.Session with other ways (trust_env,
        verify, cert, adapters), which is then used as it is, in every thread.

        Raises ValueError for addresses, keys or limits that cannot be.
        """
        self._connections = Connections(session)
        self._auth = Bearer(api_key)
        self._urls = (order_url, payment_url)
        self._merchant, self._limits = merchant, Limits(timeout, deadline)
        self._connect()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Self:
        """A client from ORDER_URL, PAYMENT_URL (may be missing) and API_KEY, as `.run/env` has them.

        `options` are those of the constructor. Raises ValueError, which names the variable.
        """
        for name in ("ORDER_URL", "API_KEY"):
            if not environ.get(name):
                raise ValueError(f"{name} is not set: `make run` writes .run/env, which can be sourced")
        return cls(environ["ORDER_URL"], environ.get("PAYMENT_URL") or None, api_key=environ["API_KEY"], **options)

    def with_options(
        self, *, timeout: float | None = None, deadline: float | None = None, merchant: str | None = None
    ) -> Self:
        """A client with other limits, or for another merchant, over the same connections."""
        other = copy.copy(self)
        other._limits = Limits(timeout or self._limits.timeout, deadline or self._limits.deadline)
        other._merchant = merchant or self._merchant
        other._connect()
        return other

    def _connect(self) -> None:
        order_url, payment_url = self._urls
        shared = (self._connections, self._auth, self._merchant, self._limits)
        self._order = Transport(Peer("order", order_url, *shared))
        self._to_payment = None if payment_url is None else Transport(Peer("payment", payment_url, *shared))

    def close(self) -> None:
        """End the connections, unless the session is the caller's own; a later call opens new ones."""
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
