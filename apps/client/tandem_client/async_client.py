"""`AsyncClient`: the client for an event loop. It sends its requests with httpx, the extra `async`."""

from __future__ import annotations

import importlib
import platform
import ssl
import time
from collections.abc import Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import TYPE_CHECKING

from tandem_client.api import DEADLINE, TIMEOUT, Api
from tandem_client.attempt import Limits, check_api_key
from tandem_client.operation import AsyncRunner
from tandem_client.reading import LARGEST_BODY
from tandem_client.steps import FailedAttempt, Received, Request, no_response, untrusted
from tandem_client.version import __version__

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

_GRACE = 0.5
"""How many seconds a response whose headers do not end may take longer, at least."""


class AsyncClient(AsyncRunner, Api):
    """Client with the methods of `Client` as coroutines, and its lists as asynchronous iterators.

    ::

        async with AsyncClient.from_env() as tandem:
            order = await tandem.place_order(items=[tea], currency="EUR", payment_method="pm_ok")
            async for payment in tandem.list_payments(order_id=order.id): ...

    It works with asyncio and trio. Tasks of one event loop can share a client; each event loop needs its own. A task
    that is canceled during a call leaves its outcome open: make the call again with the same `idempotency_key`.
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
        session: httpx.AsyncClient | None = None,
    ) -> None:
        """The arguments are those of `Client`.

        Proxies and certificates are configured as for httpx (HTTPS_PROXY, SSL_CERT_FILE). `session` is a
        httpx.AsyncClient for other settings; this client does not close it.

        Raises ValueError as `Client` does, and ImportError if httpx is not installed.
        """
        try:
            self._httpx, self._anyio = importlib.import_module("httpx"), importlib.import_module("anyio")
        except ImportError as error:
            raise ImportError("AsyncClient needs httpx: pip install 'tandem-client[async]'") from error
        self._authorization = f"Bearer {check_api_key(api_key)}"
        agent = f"tandem-client/{__version__} python-httpx/{self._httpx.__version__} python/{platform.python_version()}"
        self._set_up(order_url, payment_url, agent, merchant, Limits(timeout, deadline))
        self._owns_session = session is None
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._session: httpx.AsyncClient = session or self._httpx.AsyncClient(cookies=no_cookies)

    async def close(self) -> None:
        """Close the connections, unless the session is the caller's own. The client cannot be used any more."""
        if self._owns_session:
            await self._session.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _pause(self, seconds: float) -> None:
        await self._anyio.sleep(seconds)

    async def _send_request(self, request: Request) -> Received | FailedAttempt:
        httpx = self._httpx
        try:
            # The timeout of httpx applies to each read: a server that sends a byte a second is never too slow for it.
            # A connection that is not made ends before, with an exception of its own.
            left = request.until - time.monotonic()
            with self._anyio.move_on_after(left + max(request.connect_timeout, _GRACE)):
                return await self._exchange(request)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ValueError(str(error)) from error
        except httpx.RequestError as error:
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
                return untrusted(error)
            never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
            return no_response(error, never_sent=never_sent)
        return no_response(httpx.ReadTimeout("the response did not end in time"), never_sent=False)

    async def _exchange(self, request: Request) -> Received:
        """Send a request and read the response. Raises httpx.RequestError."""
        async with self._session.stream(
            request.method,
            request.url,
            params=dict(request.query),
            content=request.body,
            headers=dict(request.headers),
            auth=self._authorize,
            timeout=self._httpx.Timeout(request.timeout, connect=request.connect_timeout),
            follow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_BODY:
                    body.clear()
                    break
                if time.monotonic() > request.until:
                    raise self._httpx.ReadTimeout("the response did not end in time")
        location = response.headers.get("Location")
        return Received(response.status_code, response.reason_phrase, response.headers, bytes(body), location)

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        """Set the API key. Because it is httpx' `auth`, nothing replaces it."""
        request.headers["Authorization"] = self._authorization
        return request


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
