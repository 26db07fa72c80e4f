"""A call, and a single attempt at it: send one request and interpret the response."""

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
from tandem_client.connections import BearerAuth, Connections, check_url
from tandem_client.errors import FieldError, Problem
from tandem_client.version import __version__

CONNECT_TIMEOUT = 3.05
"""Seconds to wait for a connection: slightly more than TCP needs to send a lost SYN packet again."""

MAX_WAIT = 10
"""The services' upper limit for `Prefer: wait`, in seconds."""

_CHUNK = 65536
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_AGENT = f"tandem-client/{__version__} python-requests/{requests.__version__} python/{platform.python_version()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One API call. All its attempts send the same idempotency key, body and request id.

    `key` is the idempotency key; only POST requests have one. `wait` is in seconds.
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

    def headers(self, seconds_left: float) -> dict[str, str]:
        """Return this call's own headers for an attempt with `seconds_left` until the deadline."""
        headers = {
            "X-Request-Id": self.request_id,
            "Idempotency-Key": self.key,
            "Content-Type": None if self.body is None else "application/json",
            "If-Match": None if self.if_match is None else f'"{self.if_match}"',
            "Prefer": f"wait={self.preferred_wait(seconds_left)}" if self.wait else None,
        }
        return {name: value for name, value in headers.items() if value is not None}

    def preferred_wait(self, seconds_left: float) -> int:
        """Return how many seconds the service should wait so that its response still arrives in time."""
        return max(0, min(self.wait or 0, MAX_WAIT, int(seconds_left) - 1))


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


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in seconds: `timeout` for one attempt, not counting `Call.wait`; `deadline` for a whole call."""

    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        if not (0 < self.timeout < float("inf") and 0 < self.deadline < float("inf")):
            raise ValueError("timeout and deadline are in seconds and must be more than 0 and finite")


class Service:
    """One service: its URL, and the session, API key and headers of the requests to it."""

    def __init__(
        self, name: str, url: str, connections: Connections, auth: BearerAuth, merchant: str | None, limits: Limits
    ) -> None:
        """`name` is used in messages. `merchant` is the merchant to act for, if not the key's own.

        Raises ValueError if `url` or `merchant` is not valid.
        """
        self.name, self.url, self.limits = name, check_url(url), limits
        self._connections, self._auth = connections, auth
        self._headers = {"Accept": "application/json", "User-Agent": _AGENT}
        if merchant is not None:
            if not _MERCHANT.fullmatch(merchant):
                raise ValueError("a merchant's name has 1 to 64 letters, digits, dots, dashes and underscores")
            self._headers["Tandem-Merchant"] = merchant

    def attempt(self, call: Call, until: float) -> Answer | FailedAttempt:
        """Send one request. It has until `until` on the monotonic clock; a slow body can overrun by one timeout.

        Raises ApiError if the service refuses the request, UnexpectedAnswer if the response is not Tandem's, and
        OutcomeUnknown if a POST succeeds but the response has no JSON object.
        """
        began = time.monotonic()
        seconds_left = max(0.001, until - began)
        limit = min(self.limits.timeout + call.preferred_wait(seconds_left), seconds_left)
        try:
            response = self._connections.session.request(
                call.method,
                self.url + call.path,
                params=call.query,
                data=call.body,
                headers={**self._headers, **call.headers(seconds_left)},
                auth=self._auth,
                timeout=(min(CONNECT_TIMEOUT, limit), limit),
                allow_redirects=False,
                stream=True,
            )
            body = b"".join(_body_chunks(response, began + limit))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, ValueError):
                raise  # The request could not be built, for example because the proxy's URL is not valid.
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
                return FailedAttempt("has no trusted certificate", False, cause=error, is_permanent=True)
            never_sent = any(isinstance(cause, _NOT_CONNECTED) for cause in _causes(error))
            reason = "could not be reached" if never_sent else "did not respond"
            return FailedAttempt(f"{reason} ({type(error).__name__})", may_have_acted=not never_sent, cause=error)
        return self._interpret(call, response, body)

    def _interpret(self, call: Call, response: requests.Response, body: bytes) -> Answer | FailedAttempt:
        """Interpret a complete response. Raises what `attempt` raises."""
        status = response.status_code
        request_id = response.headers.get("X-Request-Id", call.request_id)
        if status >= 400:
            problem = _parse_problem(status, response, body, request_id, self.url)
            retry_after = retry.parse_retry_after(response.headers.get("Retry-After"))
            if not retry.is_temporary(problem):
                raise errors.from_problem(problem, idempotency_key=call.key)
            return FailedAttempt(f"responded with {status} {problem.name}", status != 429, problem, retry_after)
        members = {} if status == 204 else _parse_json(body)
        if 200 <= status < 300 and isinstance(members, dict):
            replayed = response.headers.get("Idempotency-Replayed") == "true"
            return Answer(status, members, request_id, replayed, call.key)
        target = f" (to {response.headers['Location']})" if response.is_redirect else ""
        unexpected = errors.UnexpectedAnswer(
            f"{call} got a response that is not Tandem's: {status}{target} without a JSON object. "
            f"Check that {self.url} is the URL of the {self.name} service.",
            status=status,
            body=body,
            idempotency_key=call.key,
            request_id=request_id,
        )
        if call.key is not None and status < 300:
            raise outcome_unknown(call, f"{self.url} responded with {status} without a JSON object") from unexpected
        raise unexpected


def outcome_unknown(call: Call, reason: str, attempts: int = 1) -> errors.OutcomeUnknown:
    """Return the exception for a call that the service may have carried out."""
    assert call.key is not None
    return errors.OutcomeUnknown(
        f"The outcome of {call} is unknown: {reason} (request {call.request_id}). This is not a failure. Make the same "
        f"call again with idempotency_key={call.key!r}: it is not carried out twice.",
        attempts=attempts,
        idempotency_key=call.key,
        request_id=call.request_id,
    )


def _body_chunks(response: requests.Response, until: float) -> Iterator[bytes]:
    """Yield the body as it arrives. Raises ReadTimeout if a server that sends it slowly exceeds `until`."""
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            yield chunk
            if time.monotonic() > until:
                raise requests.ReadTimeout("the response did not end in time")
    except BaseException:
        response.close()
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that requests and urllib3 wrapped in it."""
    remaining: list[BaseException | None] = [error]
    while remaining:
        cause = remaining.pop()
        if cause is not None:
            yield cause
            wrapped = (*cause.args, getattr(cause, "reason", None))
            remaining += [each for each in wrapped if isinstance(each, BaseException)]


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _parse_problem(status: int, response: requests.Response, body: bytes, request_id: str, url: str) -> Problem:
    """Return the problem in a response, or one made from the status if the response is not Tandem's."""
    parsed = _parse_json(body)
    members: Mapping[str, Any] = parsed if isinstance(parsed, dict) else {}
    kind = str(members.get("type", "about:blank"))
    listed = members.get("errors")
    field_errors = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return Problem(
        type=kind,
        title=str(members.get("title") or response.reason or ""),
        status=status,
        detail=str(members.get("detail") or ""),
        errors=tuple(FieldError(str(each.get("pointer", "")), str(each.get("detail", ""))) for each in field_errors),
        request_id=request_id,
        about=url + kind if kind.startswith("/") else kind if "/problems/" in kind else None,
    )
