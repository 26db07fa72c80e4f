"""Sending a call to a service until it is answered or its deadline has passed."""

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
from tandem_client.attempt import Call, Failed, Peer, unknown

log = logging.getLogger("tandem_client")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Transport:
    """The calls to one service; parts of a path are quoted, and None in a query or body is left out."""

    def __init__(self, peer: Peer) -> None:
        """`peer` makes each single attempt."""
        self.peer = peer

    def get(self, *path: str, **query: Any) -> Answer:
        """Ask for what is at /v1/... Raises what `send` raises."""
        return self._send("GET", path, query={name: value for name, value in query.items() if value is not None})

    def post(
        self,
        *path: str,
        key: str | None,
        body: Mapping[str, Any] | None = None,
        wait: int | None = None,
        if_match: int | None = None,
    ) -> Answer:
        """Have something done, once, whatever happens on the way. Raises what `send` raises.

        Without a `key` one is made here, for all attempts.
        """
        members = {name: value for name, value in (body or {}).items() if value is not None}
        data = json.dumps(members, allow_nan=False).encode()
        key = str(uuid.uuid4()) if key is None else key
        if not _KEY.fullmatch(key):
            raise ValueError("an idempotency key has 1 to 255 visible ASCII characters")
        return self._send("POST", path, key=key, body=data, wait=wait, if_match=if_match)

    def delete(self, *path: str) -> Answer:
        """Have what is at /v1/... forgotten. Raises what `send` raises."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: tuple[str, ...], **more: Any) -> Answer:
        parts = [str(part) for part in path]
        if not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"{parts} has a part that is no id")
        place = "/".join(["/v1", *(quote(part, safe="") for part in parts)])
        return self.send(Call(method=method, path=place, request_id=str(uuid.uuid4()), **more))

    def send(self, call: Call) -> Answer:
        """The successful answer to a call.

        Raises ApiError when the service says no; when the deadline has passed, OutcomeUnknown if it may have acted,
        else RateLimited or Unavailable; UnexpectedAnswer when something else than Tandem answers.
        """
        until = time.monotonic() + self.peer.limits.deadline
        may_have_acted = False
        for attempt in itertools.count(1):
            try:
                outcome = self.peer.attempt(call, until)
            except (errors.ApiError, errors.UnexpectedAnswer) as error:
                is_gone = isinstance(error, errors.NotFound) and _settles(error)
                if may_have_acted and call.method == "DELETE" and is_gone:
                    return Answer(204, {}, error.request_id)  # an earlier attempt has deleted it
                if may_have_acted and call.key is not None and not _settles(error):
                    raise unknown(call, f"after {attempt - 1} without an answer, {error}", attempt) from error
                raise
            if isinstance(outcome, Answer):
                return outcome
            may_have_acted = may_have_acted or outcome.may_have_acted
            pause = retry.pause(attempt, outcome.retry_after)
            if outcome.is_hopeless or time.monotonic() + pause >= until:
                raise self._gave_up(call, outcome, attempt, may_have_acted) from outcome.cause
            log.info("%s: %s %s, again in %.2f s (attempt %d)", self.peer.name, call, outcome.saw, pause, attempt)
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _gave_up(self, call: Call, last: Failed, attempts: int, may_have_acted: bool) -> errors.TandemError:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        saw = (
            f"{self.peer.name} at {self.peer.url} {last.saw}; {tries}, the deadline was {self.peer.limits.deadline:g} s"
        )
        if call.key is not None and may_have_acted:
            return unknown(call, saw, attempts)
        if last.problem is not None and last.problem.status == 429:
            return errors.of(last.problem, idempotency_key=call.key, retry_after=last.retry_after)
        nothing = " Nothing was sent by this call: make it again when the service is there." if call.key else ""
        return errors.Unavailable(
            f"{call} has no answer: {saw} (request {call.request_id}).{nothing}",
            idempotency_key=call.key,
            request_id=call.request_id,
        )


def _settles(error: errors.TandemError) -> bool:
    """Whether a refusal tells what became of earlier attempts with the same key.

    The services look the key up before they look at the resource; who calls, they ask first. And a proxy knows nothing.
    """
    return (
        isinstance(error, errors.ApiError)
        and error.status not in (401, 403)
        and error.status < 500
        and error.problem.type != "about:blank"
    )
