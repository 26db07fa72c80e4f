"""One call and one attempt at it: a request, and what its answer means."""

from __future__ import annotations

import json
import platform
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from tandem_client import errors, retry
from tandem_client.answers import Answer
from tandem_client.connections import Bearer, Connections, base
from tandem_client.errors import FieldError, Problem
from tandem_client.version import __version__

CONNECT = 3.05
"""Seconds to wait for a connection: a little more than a lost packet of TCP's handshake costs."""

LONGEST_WAIT = 10
"""Seconds: services wait for an outcome no longer, whatever is preferred."""

_CHUNK = 65536
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_AGENT = f"tandem-client/{__version__} python-requests/{requests.__version__} python/{platform.python_version()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One intention. Every attempt at it has the same key, body and request id.

    `key` is the idempotency key of what changes something. `wait` is in seconds.
    """

    method: str
    path: str
    request_id: str
    body: bytes | None = None
    query: Mapping[str, Any] | None = None
    key: str | None = None
    wait: int | None = None
    if_match: int | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def headers(self, left: float) -> dict[str, str]:
        """The header fields that are this call's own, when so many seconds are left for it."""
        named = {
            "X-Request-Id": self.request_id,
            "Idempotency-Key": self.key,
            "Content-Type": None if self.body is None else "application/json",
            "If-Match": None if self.if_match is None else f'"{self.if_match}"',
            "Prefer": f"wait={self.wait_at_most(left)}" if self.wait else None,
        }
        return {name: value for name, value in named.items() if value is not None}

    def wait_at_most(self, left: float) -> int:
        """How many seconds the service is asked to wait: never so many that its answer would come too late."""
        return max(0, min(self.wait or 0, LONGEST_WAIT, int(left) - 1))


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that may be made again: what was seen, and whether the service may have acted on it.

    `problem` is what it answered, if it did, and `retry_after` the seconds that it asks for; what is hopeless stays as
    it is whenever it is tried.
    """

    saw: str
    may_have_acted: bool
    problem: Problem | None = None
    retry_after: float | None = None
    cause: Exception | None = None
    is_hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for one attempt, without what it prefers to wait, and for a call in all."""

    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        if not (0 < self.timeout < float("inf") and 0 < self.deadline < float("inf")):
            raise ValueError("timeout and deadline are seconds, more than 0 and not without end")


class Peer:
    """One service as it is reached, and who reaches for it."""

    def __init__(
        self, name: str, url: str, connections: Connections, auth: Bearer, merchant: str | None, limits: Limits
    ) -> None:
        """`name` is for messages, `merchant` the one to act for. Raises ValueError for what cannot be."""
        self.name, self.url, self.limits = name, base(url), limits
        self._connections, self._auth = connections, auth
        self._headers = {"Accept": "application/json", "User-Agent": _AGENT}
        if merchant is not None:
            if not _MERCHANT.fullmatch(merchant):
                raise ValueError("a merchant's name has 1 to 64 letters, digits, dots, dashes and underscores")
            self._headers["Tandem-Merchant"] = merchant

    def attempt(self, call: Call, until: float) -> Answer | Failed:
        """Make one request, which has until then (on the monotonic clock) at most.

        Raises ApiError when the service says no, UnexpectedAnswer when something else than Tandem answers, and
        OutcomeUnknown when it answers with success and does not say of what.
        """
        began = time.monotonic()
        left = max(0.001, until - began)
        limit = min(self.limits.timeout + call.wait_at_most(left), left)
        try:
            response = self._connections.session.request(
                call.method,
                self.url + call.path,
                params=call.query,
                data=call.body,
                headers={**self._headers, **call.headers(left)},
                auth=self._auth,
                timeout=(min(CONNECT, limit), limit),
                allow_redirects=False,
                stream=True,
            )
            body = b"".join(_chunks(response, began + limit))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, ValueError):
                raise  # it was never a request: a proxy's address that is none, for one
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
                return Failed("has no certificate that is trusted here", False, cause=error, is_hopeless=True)
            never = any(isinstance(one, _NOT_CONNECTED) for one in _causes(error))
            saw = "could not be reached" if never else "gave no answer"
            return Failed(f"{saw} ({type(error).__name__})", may_have_acted=not never, cause=error)
        return self._understand(call, response, body)

    def _understand(self, call: Call, response: requests.Response, body: bytes) -> Answer | Failed:
        """An answer that was read to its end. Raises ApiError and UnexpectedAnswer."""
        status = response.status_code
        request_id = response.headers.get("X-Request-Id", call.request_id)
        if status >= 400:
            problem = _problem(status, response, body, request_id, self.url)
            after = retry.after(response.headers.get("Retry-After"))
            if not retry.is_passing(problem):
                raise errors.of(problem, idempotency_key=call.key)
            return Failed(f"answered {status} {problem.name}", status != 429, problem, after)
        members = {} if status == 204 else _json(body)
        if 200 <= status < 300 and isinstance(members, dict):
            replayed = response.headers.get("Idempotency-Replayed") == "true"
            return Answer(status, members, request_id, replayed, call.key)
        where = f" (to {response.headers['Location']})" if response.is_redirect else ""
        odd = errors.UnexpectedAnswer(
            f"{call} was answered with {status}{where} and not with a JSON object, which is not what Tandem does: "
            f"is {self.url} the address of {self.name}?",
            status=status,
            body=body,
            idempotency_key=call.key,
            request_id=request_id,
        )
        if call.key is not None and status < 300:
            raise unknown(call, f"{self.url} answered {status}, and not with a JSON object") from odd
        raise odd


def unknown(call: Call, saw: str, attempts: int = 1) -> errors.OutcomeUnknown:
    """The error that says that a call may have been carried out, and how to find out."""
    assert call.key is not None
    return errors.OutcomeUnknown(
        f"It is not known what became of {call}: {saw} (request {call.request_id}). It has not failed: make the same "
        f"call again with idempotency_key={call.key!r}, and nothing is done twice.",
        attempts=attempts,
        idempotency_key=call.key,
        request_id=call.request_id,
    )


def _chunks(response: requests.Response, until: float) -> Iterator[bytes]:
    """The body, as it comes; a server that sends it drop by drop does not outlast the attempt."""
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            yield chunk
            if time.monotonic() > until:
                raise requests.ReadTimeout("the answer did not end in time")
    except BaseException:
        response.close()
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what requests and urllib3 have wrapped in it."""
    seen: list[BaseException | None] = [error]
    while seen:
        one = seen.pop()
        if one is not None:
            yield one
            seen += [each for each in (*one.args, getattr(one, "reason", None)) if isinstance(each, BaseException)]


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _problem(status: int, response: requests.Response, body: bytes, request_id: str, url: str) -> Problem:
    """The problem that an answer holds; one of its status alone where somebody else than Tandem has answered."""
    told = _json(body)
    members: Mapping[str, Any] = told if isinstance(told, dict) else {}
    kind = str(members.get("type", "about:blank"))
    listed = members.get("errors")
    wrong = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return Problem(
        type=kind,
        title=str(members.get("title") or response.reason or ""),
        status=status,
        detail=str(members.get("detail") or ""),
        errors=tuple(FieldError(str(each.get("pointer", "")), str(each.get("detail", ""))) for each in wrong),
        request_id=request_id,
        about=url + kind if kind.startswith("/") else None,
    )
