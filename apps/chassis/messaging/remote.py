"""Calling another service: deadlines, a circuit breaker, and two kinds of failure.

pybreaker holds its lock while the guarded call runs, which would serialize all calls. So while the circuit is closed,
the call runs outside and only its outcome is reported to pybreaker. When the circuit is open or half open, serial calls
are wanted: a single call probes the destination.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
import pybreaker
import requests
from marshmallow import ValidationError
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from chassis import cards, outgoing
from chassis.telemetry import metrics, tracing

T = TypeVar("T")


class Unreachable(Exception):
    """The destination did not respond, or cannot serve at the moment. It is not known whether it acted."""


class GivenUp(Unreachable):
    """There was no response within the caller's own timeout, which is shorter than the destination's.

    That does not say that the destination is down: a merchant chooses how long to wait, and for which slow work.
    """


class Refused(Exception):
    """The destination refused the request or sent an unexpected response. It is retried later; an operator should look.

    `problem` is the name of the problem (RFC 9457) in the answer, if there is one.
    """

    def __init__(self, message: str, problem: str | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class _Measured(pybreaker.CircuitBreakerListener):
    """Sets the metric at each change of state."""

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """Set the metric from `new_state`: the breaker itself has the new state only after this call."""
        metrics.breaker_open.labels(cb.name).set(new_state.name != pybreaker.STATE_CLOSED)


class Breaker:
    """A circuit breaker that opens after five Unreachable in a row.

    `reset` seconds after the last one, a single call probes the destination.
    """

    def __init__(self, name: str, reset: float = 1.0, *, measured: bool = True) -> None:
        """`name` is the destination's name in messages, and in the metrics if `measured` is true."""
        self.name = name
        self._reset = reset
        self._failed_at = 0.0
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=5,
            reset_timeout=reset,
            name=name,
            exclude=[lambda error: isinstance(error, GivenUp) or not isinstance(error, Unreachable)],
            listeners=[_Measured()] if measured else [],
        )
        if measured:
            metrics.breaker_open.labels(name).set(0)

    @property
    def is_open(self) -> bool:
        """Whether the destination is considered down."""
        return bool(self._breaker.current_state != pybreaker.STATE_CLOSED)

    def room(self, wanted: int) -> int:
        """Return how many calls to make now: `wanted`, 0 while the destination is down, 1 when it may be probed."""
        if not self.is_open:
            return wanted
        return 1 if time.monotonic() - self._failed_at >= self._reset else 0

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` and return its result. Only Unreachable counts as a failure of the destination.

        GivenUp is not counted. A probe that ends with it closes the circuit.

        Raises Unreachable at once while the circuit is open.
        """
        if self.is_open:
            return self._probe(function)
        try:
            result = function()
        except GivenUp:
            raise
        except Unreachable as error:
            self._report(error)
            raise
        self._report(None)
        return result

    def _probe(self, function: Callable[[], T]) -> T:
        try:
            return self._breaker.call(function)
        except pybreaker.CircuitBreakerError as error:
            if error.__context__ is not None and isinstance(error.__context__, Unreachable):
                self._failed_at = time.monotonic()
            raise Unreachable(f"{self.name} is considered down; it is probed again within seconds") from error

    def _report(self, error: Unreachable | None) -> None:
        def outcome() -> None:
            if error is not None:
                raise error

        if error is not None:
            self._failed_at = time.monotonic()
        try:
            self._breaker.call(outcome)
        except (Unreachable, pybreaker.CircuitBreakerError):
            return  # the caller raises the error; this call only counted it


# The status codes of a server, or a proxy in front of it, that cannot serve at the moment.
_TEMPORARY = frozenset({429, 502, 503, 504})


_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class Remote:
    """A destination: its URL, its circuit breaker, and one keep-alive connection per thread."""

    def __init__(
        self, name: str, url: str, headers: Mapping[str, str], timeout: float, *, measured: bool = True
    ) -> None:
        """`headers` are sent with every request; `timeout` is the longest time to wait for a whole answer, in seconds.

        `measured` is whether the metrics show the state of this breaker: true for one Remote per destination.
        Raises ValueError for a header that HTTP does not allow, without its value, which may be a secret.
        """
        for header, value in headers.items():
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the header {header} has characters that are not allowed in a header")
        self.url, self.timeout = url, timeout
        self.breaker = Breaker(name, measured=measured)
        self._name, self._headers = name, dict(headers)
        self._local = threading.local()

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None
    ) -> requests.Response:
        """POST a JSON body to `path` and return the successful (2xx) response.

        Raises Unreachable if it is not known whether the destination acted, and Refused for any other response.
        """
        return self._call("POST", path, {"Content-Type": "application/json", **headers}, timeout, body)

    def put(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None
    ) -> requests.Response:
        """PUT a JSON body to `path` and return the successful (2xx) response. Raises Unreachable and Refused."""
        return self._call("PUT", path, {"Content-Type": "application/json", **headers}, timeout, body)

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()

    def get(self, path: str, headers: Mapping[str, str], timeout: float | None = None) -> requests.Response:
        """GET `path` and return the successful (2xx) response. Raises Unreachable and Refused."""
        return self._call("GET", path, headers, timeout)

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], timeout: float | None, body: bytes | None = None
    ) -> requests.Response:
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        if limit <= 0:
            raise GivenUp(f"{self._name} was not called: no time was left")
        return self.breaker.call(lambda: self._request(method, path, headers, limit, body))

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], timeout: float, body: bytes | None
    ) -> requests.Response:
        began = time.monotonic()
        try:
            response = self._session().send(
                self._prepared(method, path, headers, body),
                timeout=(min(1.0, timeout), timeout),
                allow_redirects=False,
                proxies={},
                verify=True,
                stream=False,
            )
        except (requests.RequestException, HTTPError) as error:
            # The error of a timeout depends on what was awaited: the connection, the status line, or the body.
            given_up = timeout < self.timeout and time.monotonic() - began >= timeout
            raise (GivenUp if given_up else Unreachable)(f"{self._name}: {type(error).__name__}") from error
        if response.status_code in _TEMPORARY:
            raise Unreachable(f"{self._name} answered {response.status_code}")
        if not 200 <= response.status_code < 300:
            text = cards.shown(response.content[:400].decode(errors="replace"), 200)
            raise Refused(f"{self._name} answered {response.status_code}: {text}", _problem(response))
        return response

    def read(self, response: requests.Response, load: Callable[[Any], T]) -> T:
        """Return what `load` makes of the JSON of a response. Raises Refused if either fails."""
        try:
            return load(orjson.loads(response.content))
        except (ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
            raise Refused(f"{self._name} sent a response that is not valid") from error

    def _prepared(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        """Return the request as `Request.prepare` builds it, except that it does not quote the URL or add cookies."""
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url, prepared.body = method, self.url + path, body
        prepared.headers = CaseInsensitiveDict({**self._headers, **headers})
        if body is not None:
            prepared.headers["Content-Length"] = str(len(body))
        prepared.hooks = requests.hooks.default_hooks()
        return prepared

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = outgoing.limit(tracing.http_session())
            session.trust_env = False  # no proxies and no .netrc between the services
            self._local.session = session
        return session


def _problem(response: requests.Response) -> str | None:
    try:
        return str(orjson.loads(response.content)["type"]).rpartition("/problems/")[2]
    except (ValueError, LookupError, TypeError):
        return None
