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
from tandem_client.attempt import Call, FailedAttempt, Service, outcome_unknown

log = logging.getLogger("tandem_client")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Transport:
    """Sends calls to one service. Path segments are percent-encoded; None in a query or body is left out."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def get(self, *path: str, **query: Any) -> Answer:
        """Send GET /v1/{path}. Raises what `send` raises."""
        return self._send("GET", path, query={name: value for name, value in query.items() if value is not None})

    def post(
        self,
        *path: str,
        key: str | None,
        body: Mapping[str, Any] | None = None,
        wait: int | None = None,
        if_match: int | None = None,
    ) -> Answer:
        """Send POST /v1/{path} with an idempotency key, so that retries act only once. Raises what `send` raises.

        Without a `key`, a new one is generated; all attempts send it. Raises ValueError if `key` cannot be sent.
        """
        members = {name: value for name, value in (body or {}).items() if value is not None}
        data = json.dumps(members, allow_nan=False).encode()
        key = str(uuid.uuid4()) if key is None else key
        if not _KEY.fullmatch(key):
            raise ValueError("an idempotency key has 1 to 255 visible ASCII characters")
        return self._send("POST", path, key=key, body=data, wait=wait, if_match=if_match)

    def delete(self, *path: str) -> Answer:
        """Send DELETE /v1/{path}. Raises what `send` raises."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: tuple[str, ...], **more: Any) -> Answer:
        segments = [str(segment) for segment in path]
        if not {"", ".", ".."}.isdisjoint(segments):
            raise ValueError(f"{segments} has a segment that is not an id")
        full_path = "/".join(["/v1", *(quote(segment, safe="") for segment in segments)])
        return self.send(Call(method=method, path=full_path, request_id=str(uuid.uuid4()), **more))

    def send(self, call: Call) -> Answer:
        """Send a call, retry it while that can help, and return the successful response.

        Raises ApiError if the service refuses the request, and UnexpectedAnswer if the response is not Tandem's. After
        the deadline, raises OutcomeUnknown if a POST may have been carried out, otherwise RateLimited or Unavailable.
        """
        until = time.monotonic() + self.service.limits.deadline
        may_have_acted = False
        for attempt in itertools.count(1):
            try:
                outcome = self.service.attempt(call, until)
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
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _final_error(self, call: Call, last: FailedAttempt, attempts: int, may_have_acted: bool) -> errors.TandemError:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        reason = (
            f"{self.service.name} at {self.service.url} {last.reason} "
            f"({tries}, deadline {self.service.limits.deadline:g} s)"
        )
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
