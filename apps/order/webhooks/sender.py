"""POST requests to hosts that merchants choose: to checked addresses only, each within one deadline.

It uses http.client directly: no redirects, cookies or .netrc, and no proxy except WEBHOOK_PROXY. The timeout of
requests applies to each read, not to the whole response, so a server that sends a byte at a time would never reach it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from chassis import __version__
from chassis.http import authorities
from chassis.outgoing import FinalResponse, LimitedReader
from order.webhooks import addresses
from order.webhooks.addresses import BadUrl, Forbidden, Resolver, Target
from order.webhooks.config import Settings
from order.webhooks.model import Attempt
from order.webhooks.proxy import Proxy

_LARGEST_HEAD = 64 * 1024
_LONGEST_RETRY_AFTER = 64  # characters; a date has 29
_MOST_ADDRESSES = 8
"""How many addresses of a host an attempt tries. A name server may answer with hundreds of addresses of others."""


class Sender:
    """Makes attempts. Each ends within the timeout of the settings, whatever the server does."""

    def __init__(self, settings: Settings) -> None:
        self._allow_http, self._timeout = settings.allow_http, settings.timeout
        self._resolver = Resolver(settings.allowed_networks, settings.concurrency)
        self._networks, self._proxy = tuple(settings.allowed_networks), Proxy.parse(settings.proxy)
        self._tls = ssl.create_default_context(cafile=authorities.bundle())
        self._tls.load_default_certs()  # and those that SSL_CERT_FILE names

    def check(self, url: str, merchant: str = "") -> None:
        """Check that webhooks of a merchant may be sent to a URL now. Raises BadUrl or Forbidden."""
        target = addresses.parse(url, self._allow_http)
        try:
            self._resolve(target, min(2.0, self._timeout), merchant)
        except OSError as error:
            # The same error, so that a merchant cannot find out which names exist in this network.
            raise Forbidden from error

    def post(self, url: str, body: bytes, headers: Mapping[str, str], merchant: str = "") -> Attempt:
        """Post JSON to a merchant's URL and return the result.

        If the server fails, nothing is raised: the result has the error.
        """
        began = time.monotonic()
        try:
            target = addresses.parse(url, self._allow_http)
            clock = _Clock(began + self._timeout)
            found = self._resolve(target, clock.left(), merchant)
            response = self._exchange(target, found, clock, body, headers)
        except (BadUrl, Forbidden, OSError, http.client.HTTPException) as error:
            return Attempt(None, _text_of(error), time.monotonic() - began)
        seconds = time.monotonic() - began
        if 200 <= response.status < 300:
            return Attempt(response.status, None, seconds)
        error_text = f"answered {response.status}"
        if 300 <= response.status < 400:
            error_text += ": redirects are not followed"
        return Attempt(response.status, error_text, seconds, retry_after(response.getheader("Retry-After")))

    def _resolve(self, target: Target, seconds: float, merchant: str) -> list[str]:
        """Return the target's addresses, if all are allowed. With a proxy, its host: the proxy looks it up."""
        if self._proxy is None:
            return self._resolver.resolve(target, seconds, merchant)
        self._proxy.check(target, self._networks)
        return [target.host]

    def _exchange(
        self, target: Target, found: list[str], clock: _Clock, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = _Connection(target, found, clock, self._tls, self._proxy)
        sent = {
            "Content-Type": "application/json",
            "User-Agent": f"Tandem-Webhooks/{__version__}",
            "Connection": "close",
            **headers,
        }
        try:
            connection.request("POST", target.path, body, sent)
            # The body is not read: it is not needed, and may be of any length and arbitrarily slow.
            return connection.getresponse()
        finally:
            connection.close()


class _Clock:
    """The deadline of an attempt."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def left(self) -> float:
        """Return the seconds until the deadline. Raises TimeoutError when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Connection(http.client.HTTPConnection):
    """A connection to one of a target's resolved addresses. The host's name is used for TLS and the Host header."""

    response_class = FinalResponse

    def __init__(
        self, target: Target, found: list[str], clock: _Clock, tls: ssl.SSLContext, proxy: Proxy | None
    ) -> None:
        self.default_port = 443 if target.scheme == "https" else 80
        super().__init__(target.host, target.port)
        self._target, self._found, self._clock, self._tls = target, found[:_MOST_ADDRESSES], clock, tls
        self._proxy = proxy

    def connect(self) -> None:
        """Try the addresses in turn. Raises the OSError of the last."""
        for number, address in enumerate(self._found, 1):
            try:
                self.sock = self._connect(address)
            except OSError:
                if number == len(self._found):
                    raise
            else:
                return

    def _connect(self, address: str) -> Any:
        if self._proxy is not None:
            sock = self._proxy.connect(self._target, self._clock.left)
        else:
            sock = socket.create_connection((address, self._target.port), self._clock.left())
        try:
            if self._target.scheme == "https":
                sock.settimeout(self._clock.left())
                sock = self._tls.wrap_socket(sock, server_hostname=self._target.host)
        except BaseException:
            sock.close()
            raise
        return _Timed(sock, self._clock)


class _Timed:
    """The part of a socket that http.client uses, with one deadline for all calls and a limit on what is read."""

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock, self._clock = sock, clock

    def sendall(self, data: Any) -> None:
        """Send everything. Raises TimeoutError."""
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Return the file from which http.client reads the response."""
        return io.BufferedReader(LimitedReader(self._sock, self._clock.deadline, _LARGEST_HEAD))

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def _text_of(error: Exception) -> str:
    """Return the text of an error, as the merchant may see it."""
    if isinstance(error, BadUrl | Forbidden):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no response within the timeout"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return "no response: it is not HTTP/1.1, or its head has more than 64 KiB or 100 headers"
    return f"no response: {type(error).__name__}"


def retry_after(text: str | None) -> float | None:
    """Return a Retry-After header's value in seconds, at least 0 (RFC 9110, 10.2.3: a whole number or a date).

    Returns None if it is neither, or if the date is outside of the years 1 to 9999.
    """
    if text is None or len(text) > _LONGEST_RETRY_AFTER:
        return None
    text = text.strip(" \t")  # which http.client leaves behind a value, and which is no part of it (RFC 9110, 5.5)
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # The parser raises each of these: OverflowError for a year of 20 digits, for example.
        return None
