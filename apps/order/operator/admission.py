"""Which requests to the operator's page are handled now: limits by client address, applied before a body is read.

One address never gets the last free place, and its queue and its rate of forms are bounded. A body is read before the
request gets a place, within a deadline. So an address that sends many forms, or slow ones, does not lock out others.
"""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Response

from chassis import counts
from chassis.auth.rate_limits import Limit, LocalCounts
from chassis.http.addresses import client_network

MAX_CONCURRENT_REQUESTS = 4
"""Requests that one process handles at the same time. Each may take long and has its own database connections."""
MAX_CONCURRENT_PER_ADDRESS = 3
"""Requests of one client address that one process handles at the same time: one place is left for others."""
MAX_PENDING_PER_ADDRESS = 12
"""Requests of one client address in one process, those that wait or are being read included. More get 429."""
QUEUE_TIMEOUT = 5.0
"""Seconds that a request waits for its turn before it gets 503."""
FORMS = (Limit("minute", 120, 60),)
"""The limit of forms from one client address to one process. More get 429."""
MAX_BODY = 16 * 1024
"""The most bytes of a form."""
BODY_TIMEOUT = 5.0
"""Seconds in which a form must arrive."""

_FORM_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Refusal(Exception):
    """A request is refused before the application sees it."""

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        """`retry_after` is in seconds."""
        super().__init__(text)
        headers = {"Connection": "close"} if retry_after is None else {"Retry-After": str(retry_after)}
        self.response = Response(f"{text}\n", status, headers, mimetype="text/plain")


class Admission:
    """Admits requests to a WSGI application."""

    def __init__(self, app: Application, after: Callable[[], None]) -> None:
        """`after` is called in the thread of each admitted request when it has been handled."""
        self._app, self._after = app, after
        self._changed = threading.Condition()
        self._pending: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._forms = LocalCounts()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        address = client_network(environ.get("REMOTE_ADDR", ""))
        try:
            self._enter(address, environ["REQUEST_METHOD"] in _FORM_METHODS)
        except Refusal as refusal:
            return refusal.response(environ, start_response)
        try:
            environ["wsgi.input"] = io.BytesIO(_read_body(environ))
            self._begin(address)
            try:
                return self._app(environ, start_response)
            finally:
                self._after()
                self._end(address)
        except Refusal as refusal:
            return refusal.response(environ, start_response)
        finally:
            self._leave(address)

    def _enter(self, address: str, is_form: bool) -> None:
        with self._changed:
            if self._pending[address] >= MAX_PENDING_PER_ADDRESS:
                raise Refusal(429, "Too many requests from this address at the same time.", 1)
            if is_form:
                self._count_form(address)
            self._pending[address] += 1

    def _count_form(self, address: str) -> None:
        decision = self._forms.take(FORMS, address, time.monotonic())
        if not decision.passed:
            raise Refusal(429, "Too many forms from this address.", max(1, round(decision.wait(FORMS))))

    def _begin(self, address: str) -> None:
        """Wait for a free place. Raises Refusal."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_place(address), QUEUE_TIMEOUT):
                raise Refusal(503, "Too many requests at the same time.", 1)
            self._running[address] += 1

    def _has_place(self, address: str) -> bool:
        return self._running[address] < MAX_CONCURRENT_PER_ADDRESS and self._running.total() < MAX_CONCURRENT_REQUESTS

    def _end(self, address: str) -> None:
        with self._changed:
            counts.subtract(self._running, address)
            self._changed.notify_all()

    def _leave(self, address: str) -> None:
        with self._changed:
            counts.subtract(self._pending, address)


def _read_body(environ: dict[str, Any]) -> bytes:
    """Read the body, however slowly it arrives, within BODY_TIMEOUT. Raises Refusal."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise Refusal(411, "A form must have a Content-Length.")
    text = environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, "The Content-Length is not a number.")
    if len(text) > 18 or int(text) > MAX_BODY:
        raise Refusal(413, f"A form has at most {MAX_BODY} bytes.")
    left, body, deadline = int(text), bytearray(), time.monotonic() + BODY_TIMEOUT
    try:
        while left > 0:
            data = environ["wsgi.input"].read1(left)
            if not data:
                raise Refusal(400, "The form is incomplete.")
            body += data
            left -= len(data)
            if left and time.monotonic() > deadline:
                raise Refusal(408, "The form did not arrive in time.")
    except TimeoutError as error:
        raise Refusal(408, "The form did not arrive in time.") from error
    return bytes(body)
