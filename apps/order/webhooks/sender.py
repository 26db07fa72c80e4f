"""One POST to a host that others have chosen: to checked addresses only, within a deadline, with nothing kept of it.

http.client and no session on top: no redirects, no proxies, no cookies, no .netrc. requests has a timeout for each
read and none for all of them, which a server that drips its answer never reaches.
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

import certifi

from chassis import __version__
from order.webhooks import addresses
from order.webhooks.addresses import BadUrl, Forbidden, Resolver, Target
from order.webhooks.config import Settings
from order.webhooks.model import Attempt

_LARGEST_HEAD = 64 * 1024


class Sender:
    """Makes attempts; `seconds` of one are never more than the time-out of the settings, whatever the server does."""

    def __init__(self, settings: Settings) -> None:
        """Opens nothing yet."""
        self._allow_http, self._timeout = settings.allow_http, settings.timeout
        self._resolver = Resolver(settings.allowed_networks, settings.concurrency)
        self._tls = ssl.create_default_context(cafile=certifi.where())
        self._tls.load_default_certs()  # and whatever SSL_CERT_FILE names

    def check(self, url: str) -> None:
        """See that webhooks may go to a URL, now. Raises BadUrl, Forbidden."""
        target = addresses.parse(url, self._allow_http)
        try:
            self._resolver.resolve(target, min(2.0, self._timeout))
        except OSError as error:
            # In the same words: whether a name of our own network exists is nobody's business.
            raise Forbidden from error

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Post JSON and see the status code of the answer. Does not raise for what the other side does."""
        began = time.monotonic()
        try:
            target = addresses.parse(url, self._allow_http)
            clock = _Clock(began + self._timeout)
            response = self._exchange(target, self._resolver.resolve(target, clock.left()), clock, body, headers)
        except (BadUrl, Forbidden, OSError, http.client.HTTPException) as error:
            return Attempt(None, _said(error), time.monotonic() - began)
        error_text = f"answered {response.status}" if not 200 <= response.status < 300 else None
        if 300 <= response.status < 400:
            error_text = f"answered {response.status}: redirects are not followed"
        return Attempt(
            response.status, error_text, time.monotonic() - began, _retry_after(response.getheader("Retry-After"))
        )

    def _exchange(
        self, target: Target, found: list[str], clock: _Clock, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = _Connection(target, found, clock, self._tls)
        sent = {
            "Content-Type": "application/json",
            "User-Agent": f"Tandem-Webhooks/{__version__}",
            "Connection": "close",
            **headers,
        }
        try:
            connection.request("POST", target.path, body, sent)
            # The body stays unread: nobody needs it, and it can be as long and as slow as the server likes.
            return connection.getresponse()
        finally:
            connection.close()


class _Clock:
    """What is left of an attempt's time."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def left(self) -> float:
        """In seconds. Raises TimeoutError when it is nothing."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Connection(http.client.HTTPConnection):
    """A connection to one of the addresses that were found for a target; the host's name is for TLS and Host."""

    def __init__(self, target: Target, found: list[str], clock: _Clock, tls: ssl.SSLContext) -> None:
        self.default_port = 443 if target.scheme == "https" else 80
        super().__init__(target.host, target.port)
        self._target, self._found, self._clock, self._tls = target, found, clock, tls

    def connect(self) -> None:
        """Try one address after the other. Raises OSError, of the last."""
        for number, address in enumerate(self._found, 1):
            try:
                self.sock = self._connect(address)
            except OSError:
                if number == len(self._found):
                    raise
            else:
                return

    def _connect(self, address: str) -> Any:
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
    """What http.client needs of a socket, with one deadline for all of it and a bound on what is read."""

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock, self._clock = sock, clock

    def sendall(self, data: Any) -> None:
        """Send everything. Raises TimeoutError."""
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What http.client reads from."""
        return io.BufferedReader(_Reader(self._sock, self._clock))

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock, self._clock = sock, clock
        self._room = _LARGEST_HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._clock.left())
        count = self._sock.recv_into(buffer, min(len(buffer), 4096))
        self._room -= count
        if self._room < 0:
            raise http.client.HTTPException("the head of the answer is too large")
        return count


def _said(error: Exception) -> str:
    """An error in words that may be shown to the merchant."""
    if isinstance(error, BadUrl | Forbidden):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    return f"no answer: {type(error).__name__}"


def _retry_after(text: str | None) -> float | None:
    """The header in seconds (RFC 9110, 10.2.3: a number or a date), None where it makes no sense."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
