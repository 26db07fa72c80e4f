"""What an operation asks of the network, one step at a time.

An operation is a generator. It yields a `Request` or a `Pause`, is sent the `Received` response or the `FailedAttempt`,
and returns its result. All decisions (retries, idempotency keys, paging, parsing) are in such generators; `Client` and
`AsyncClient` only carry out the steps.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tandem_client.answers import Result, Several
from tandem_client.errors import Problem

T = TypeVar("T")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. It is sent with the API key, and no redirect is followed.

    `connect_timeout` and `timeout` are in seconds: for the connection, and for each wait for bytes of the response.
    `until` is the time on the monotonic clock at which a response that still arrives is cut off.
    """

    method: str
    url: str
    query: Mapping[str, Any]
    body: bytes | None
    headers: Mapping[str, str]
    connect_timeout: float
    timeout: float
    until: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause before the next step, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Received:
    """A complete HTTP response. The names of `headers` are not case-sensitive.

    `body` is empty if it is too large. `location` is where a redirect points to; nothing follows it.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    location: str | None = None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt without a final response. `reason` continues a sentence that starts with the service's name.

    `may_have_acted` is True if the service may have received and handled the request. `problem` is its response, if
    there was one, and `retry_after` the seconds it asks to wait. `is_permanent` is True if a retry cannot succeed.
    """

    reason: str
    may_have_acted: bool
    problem: Problem | None = None
    retry_after: float | None = None
    cause: Exception | None = None
    is_permanent: bool = False


def no_response(error: Exception, *, never_sent: bool) -> FailedAttempt:
    """Return the failure of a request without a response. `never_sent`: no connection was made for it."""
    reason = "could not be reached" if never_sent else "did not respond"
    return FailedAttempt(f"{reason} ({type(error).__name__})", may_have_acted=not never_sent, cause=error)


def untrusted(error: Exception) -> FailedAttempt:
    """Return the failure of a request to a server whose certificate is not trusted."""
    return FailedAttempt("has no trusted certificate", False, cause=error, is_permanent=True)


Step: TypeAlias = "Request | Pause"
Steps: TypeAlias = Generator[Step, Any, T]
"""The steps of an operation that returns a T."""

Listing: TypeAlias = "Generator[Step | Several[R], Any, None]"
"""The steps of an operation that returns results page by page."""
