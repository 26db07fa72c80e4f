"""Sending a call to a service, with retries until there is a final response or the deadline has passed."""

from __future__ import annotations

import itertools
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tandem_client import errors, retry
from tandem_client.answers import Answer
from tandem_client.attempt import Call, Service, outcome_unknown
from tandem_client.steps import FailedAttempt, Pause, Steps

log = logging.getLogger("tandem_client")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Transport:
    """Sends calls to one service. Path segments are percent-encoded; None in a query or body is left out."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def get(self, *path: str, wait: int | None = None, deadline: float | None = None, **query: Any) -> Steps[Answer]:
        """Send GET /v1/{path}. Raises what `send` raises."""
        return self._send("GET", path, query=_without_none(query), wait=wait, deadline=deadline)

    def post(
        self,
        *path: str,
        key: str | None,
        body: Mapping[str, Any] | None = None,
        wait: int | None = None,
        if_match: int | None = None,
    ) -> Steps[Answer]:
        """Send POST /v1/{path} with an idempotency key, so that retries act only once. Raises what `send` raises.

        Without a `key`, a new one is generated; all attempts send it. Raises ValueError if `key` cannot be sent.
        """
        data = _encode(_without_none(body or {}))
        return self._send("POST", path, key=_checked(key), body=data, wait=wait, if_match=if_match)

    def patch(
        self, *path: str, body: Mapping[str, Any], key: str | None = None, if_match: int | None = None
    ) -> Steps[Answer]:
        """Send PATCH /v1/{path} with an idempotency key, as `post` does. None in the body is sent as null."""
        return self._send("PATCH", path, key=_checked(key), body=_encode(body), if_match=if_match)

    def patch_without_key(self, *path: str, body: Mapping[str, Any]) -> Steps[Answer]:
        """Send PATCH /v1/{path} for a change that can be made twice without harm. None in the body is sent as null."""
        return self._send("PATCH", path, body=_encode(body))

    def delete(self, *path: str) -> Steps[Answer]:
        """Send DELETE /v1/{path}. Raises what `send` raises."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: tuple[str, ...], **more: Any) -> Steps[Answer]:
        segments = [str(segment) for segment in path]
        if not {"", ".", ".."}.isdisjoint(segments):
            raise ValueError(f"{segments} has a segment that is not an id")
        full_path = "/".join(["/v1", *(quote(segment, safe="") for segment in segments)])
        return self.send(Call(method=method, path=full_path, request_id=str(uuid.uuid4()), **more))

    def send(self, call: Call) -> Steps[Answer]:
        """Send a call, retry it while that can help, and return the successful response.

        Raises ApiError if the service refuses the request, and UnexpectedAnswer if the response is not Tandem's. After
        the deadline, raises OutcomeUnknown if a call with an idempotency key may have been carried out, otherwise
        RateLimited or Unavailable.
        """
        deadline = self.service.limits.deadline if call.deadline is None else call.deadline
        until = time.monotonic() + deadline
        may_have_acted = False
        for attempt in itertools.count(1):
            try:
                outcome = yield from self.service.attempt(call, until)
            except (errors.ApiError, errors.UnexpectedAnswer) as error:
                is_gone = isinstance(error, errors.NotFound) and _is_conclusive(error)
                if may_have_acted and call.method == "DELETE" and is_gone:
                    return Answer(204, {}, error.request_id)  # An earlier attempt deleted it.
                if may_have_acted and call.key is not None and not _is_conclusive(error):
                    reason = f"attempt {attempt} failed after attempts without a response: {error}"
                    raise outcome_unknown(call, reason, attempt) from error
                raise
            if isinstance(outcome, Answer):
                return outcome
            may_have_acted = may_have_acted or outcome.may_have_acted
            pause = retry.pause(attempt, outcome.retry_after)
            if outcome.is_permanent or time.monotonic() + pause >= until:
                raise self._final_error(call, outcome, attempt, may_have_acted) from outcome.cause
            log.info("%s: attempt %d: %s %s, retry in %.2f s", call, attempt, self.service.name, outcome.reason, pause)
            yield Pause(pause)
        raise AssertionError("unreachable")

    def _final_error(self, call: Call, last: FailedAttempt, attempts: int, may_have_acted: bool) -> errors.TandemError:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        deadline = self.service.limits.deadline if call.deadline is None else call.deadline
        reason = f"{self.service.name} at {self.service.url} {last.reason} ({tries}, deadline {deadline:g} s)"
        if call.key is not None and may_have_acted:
            return outcome_unknown(call, reason, attempts)
        if last.problem is not None and last.problem.status == 429:
            return errors.from_problem(last.problem, idempotency_key=call.key, retry_after=last.retry_after)
        not_sent = " This call changed nothing: make it again when the service is available." if call.key else ""
        return errors.Unavailable(
            f"{call} got no final response: {reason} (request {call.request_id}).{not_sent}",
            idempotency_key=call.key,
            request_id=call.request_id,
        )


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _encode(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, allow_nan=False).encode()


def _checked(key: str | None) -> str:
    """Return an idempotency key: the caller's or a new one. Raises ValueError if it cannot be sent in a header."""
    key = str(uuid.uuid4()) if key is None else key
    if not _KEY.fullmatch(key):
        raise ValueError("an idempotency key has 1 to 255 visible ASCII characters")
    return key


def _is_conclusive(error: errors.TandemError) -> bool:
    """Return whether a refusal also tells the outcome of earlier attempts with the same idempotency key.

    The services look up the idempotency key before the resource, but only after they have checked the API key (401,
    403). A server error tells nothing about earlier attempts, and neither does a proxy's response (`about:blank`).
    """
    return (
        isinstance(error, errors.ApiError)
        and error.status not in (401, 403)
        and error.status < 500
        and error.problem.type != "about:blank"
    )
