"""`Client`: the client for threads. It sends its requests with the requests library."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import requests

from tandem_client.api import DEADLINE, TIMEOUT, Api
from tandem_client.attempt import Limits
from tandem_client.connections import AGENT, Connections
from tandem_client.operation import BlockingRunner
from tandem_client.steps import FailedAttempt, Received, Request

if TYPE_CHECKING:
    from typing_extensions import Self


class Client(BlockingRunner, Api):
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
        adapters); the client uses it unchanged, in every thread. Without the client's adapter, a server that sends its
        headers very slowly can exceed the limits.

        Raises ValueError if a URL, the API key, the merchant or a limit is not valid.
        """
        self._connections = Connections(api_key, session)
        self._set_up(order_url, payment_url, AGENT, merchant, Limits(timeout, deadline))

    def close(self) -> None:
        """Close the connections, unless the session is the caller's own. A later call opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send_request(self, request: Request) -> Received | FailedAttempt:
        return self._connections.send(request)

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
