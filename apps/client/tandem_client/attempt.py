"""A call, and a single attempt at it: the request to send and what its response means."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tandem_client import errors, retry
from tandem_client.answers import Answer
from tandem_client.errors import FieldError, Problem
from tandem_client.reading import LARGEST_BODY
from tandem_client.steps import FailedAttempt, Received, Request, Steps

CONNECT_TIMEOUT = 3.05
"""Seconds to wait for a connection: slightly more than TCP needs to send a lost SYN packet again."""

MAX_WAIT = 10
"""The services' upper limit for `Prefer: wait` and for `wait` of the feed, in seconds."""

_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One API call. All its attempts send the same idempotency key, body and request id.

    `key` is the idempotency key; calls that only read, and those that can be repeated without one, have none. `wait`,
    in seconds, is sent as a preference, or in the query of a GET. `deadline` is in seconds, if it is not the client's.
    """

    method: str
    path: str
    request_id: str
    body: bytes | None = None
    query: Mapping[str, Any] | None = None
    key: str | None = None
    wait: int | None = None
    if_match: int | None = None
    deadline: float | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def headers(self, seconds_left: float) -> dict[str, str]:
        """Return this call's own headers for an attempt with `seconds_left` until the deadline."""
        prefers = self.wait and self.method != "GET"
        headers = {
            "X-Request-Id": self.request_id,
            "Idempotency-Key": self.key,
            "Content-Type": None if self.body is None else "application/json",
            "If-Match": None if self.if_match is None else f'"{self.if_match}"',
            "Prefer": f"wait={self.preferred_wait(seconds_left)}" if prefers else None,
        }
        return {name: value for name, value in headers.items() if value is not None}

    def parameters(self, seconds_left: float) -> dict[str, Any]:
        """Return the query for an attempt with `seconds_left` until the deadline."""
        waits = self.wait and self.method == "GET"
        return {**(self.query or {}), **({"wait": self.preferred_wait(seconds_left)} if waits else {})}

    def preferred_wait(self, seconds_left: float) -> int:
        """Return how many seconds the service should wait so that its response still arrives in time."""
        return max(0, min(self.wait or 0, MAX_WAIT, int(seconds_left) - 1))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in seconds: `timeout` for one attempt, not counting `Call.wait`; `deadline` for a whole call."""

    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        if not (0 < self.timeout < float("inf") and 0 < self.deadline < float("inf")):
            raise ValueError("timeout and deadline are in seconds and must be more than 0 and finite")


class Service:
    """One service: its URL, the limits, and the headers of all requests to it."""

    def __init__(self, name: str, url: str, agent: str, merchant: str | None, limits: Limits) -> None:
        """`name` is used in messages. `merchant` is the merchant to act for, if not the key's own.

        Raises ValueError if `url` or `merchant` is not valid.
        """
        self.name, self.url, self.limits = name, check_url(url), limits
        self._headers = {"Accept": "application/json", "User-Agent": agent}
        if merchant is not None:
            if not _MERCHANT.fullmatch(merchant):
                raise ValueError("a merchant's name has 1 to 64 letters, digits, dots, dashes and underscores")
            self._headers["Tandem-Merchant"] = merchant

    def attempt(self, call: Call, until: float) -> Steps[Answer | FailedAttempt]:
        """Send one request. It has until `until` on the monotonic clock; a slow response can overrun by one timeout.

        Raises ApiError if the service refuses the request, UnexpectedAnswer if the response is not Tandem's, and
        OutcomeUnknown if a call with an idempotency key succeeds but the response has no JSON object.
        """
        began = time.monotonic()
        seconds_left = max(0.001, until - began)
        limit = min(self.limits.timeout + call.preferred_wait(seconds_left), seconds_left)
        outcome = yield Request(
            method=call.method,
            url=self.url + call.path,
            query=call.parameters(seconds_left),
            body=call.body,
            headers={**self._headers, **call.headers(seconds_left)},
            connect_timeout=min(CONNECT_TIMEOUT, limit),
            timeout=limit,
            until=began + limit,
        )
        return self._interpret(call, outcome) if isinstance(outcome, Received) else outcome

    def _interpret(self, call: Call, response: Received) -> Answer | FailedAttempt:
        """Interpret a complete response. Raises what `attempt` raises."""
        status = response.status
        request_id = response.headers.get("X-Request-Id", call.request_id)
        if status >= 400:
            problem = _parse_problem(response, request_id, self.url)
            retry_after = retry.parse_retry_after(response.headers.get("Retry-After"))
            if not retry.is_temporary(problem):
                raise errors.from_problem(problem, idempotency_key=call.key)
            return FailedAttempt(f"responded with {status} {problem.name}", status != 429, problem, retry_after)
        members = {} if status == 204 else _parse_json(response.body)
        if 200 <= status < 300 and isinstance(members, dict):
            replayed = response.headers.get("Idempotency-Replayed") == "true"
            return Answer(status, members, request_id, replayed, call.key)
        target = response.location if 300 <= status < 400 else None
        unexpected = errors.UnexpectedAnswer(
            f"{call} got a response that is not Tandem's: {status}{f' (to {target})' if target else ''} without a JSON "
            f"object of at most {LARGEST_BODY >> 20} MiB. Check that {self.url} is the URL of the {self.name} service.",
            status=status,
            body=response.body,
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


def check_url(url: str) -> str:
    """Return the base URL of a service without a trailing slash. Raises ValueError if it is not valid."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"not the URL of a service, such as http://localhost:8080: {parts.hostname or url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a service URL must not contain a user name or password: pass the API key as api_key")
    return url.rstrip("/")


def check_api_key(key: str) -> str:
    """Return an API key. Raises ValueError, without quoting it, if it cannot be sent in a header."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the API key is empty or has characters that no API key has")
    return key


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON (RFC 8259, 6)")


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


_PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "errors", "more_errors"}


def _parse_problem(response: Received, request_id: str, url: str) -> Problem:
    """Return the problem in a response, or one made from the status if the response is not Tandem's."""
    parsed = _parse_json(response.body)
    members: Mapping[str, Any] = parsed if isinstance(parsed, dict) else {}
    kind = str(members.get("type", "about:blank"))
    listed = members.get("errors")
    field_errors = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return Problem(
        type=kind,
        title=str(members.get("title") or response.reason or ""),
        status=response.status,
        detail=str(members.get("detail") or ""),
        errors=tuple(FieldError(str(each.get("pointer", "")), str(each.get("detail", ""))) for each in field_errors),
        request_id=request_id,
        about=url + kind if kind.startswith("/") else kind if "/problems/" in kind else None,
        extensions={name: value for name, value in members.items() if name not in _PROBLEM_MEMBERS},
    )
