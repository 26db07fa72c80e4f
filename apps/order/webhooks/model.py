"""The events of webhooks, and the decision after an attempt to deliver one: pure functions without input or output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from order.transition import EVENTS

DEFAULT_EVENTS = tuple(event for event in EVENTS if event not in ("order.placed", "order.canceling", "order.updated"))
"""The events of an endpoint that names none: outcomes, without the merchant's own actions."""

TEST = "webhook.test"
"""The type of the event that a merchant asks for to test an endpoint."""

ENDED_BY_DISABLING = "the endpoint is disabled"
"""The error of deliveries that waited when their endpoint answered 410. They are sent when it is enabled."""

LONGEST_DELAY = 3 * 3600.0
"""The longest delay before the next attempt, in seconds."""

TOLERATED = 4
"""The most failures in a row for which an endpoint is not paused."""

LONGEST_PAUSE = 900.0
"""The longest pause of an endpoint that failed more often, in seconds. While it is paused, nothing is sent to it."""


class Status(StrEnum):
    """The status of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt: the response's status code if there was one, and the error if it failed.

    `seconds` is its duration; `retry_after` is the response's Retry-After, in seconds.
    """

    status_code: int | None
    error: str | None
    seconds: float
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt: the delivery's status, the delay of the next attempt, the pause of its endpoint.

    Times in seconds. `gone` disables the endpoint.
    """

    status: Status
    delay: float = 0.0
    pause: float = 0.0
    gone: bool = False


def decide(attempt: Attempt, tries: int, failures: int, remaining: float, first_delay: float, jitter: float) -> Verdict:
    """Decide what follows from an attempt.

    `tries` is the attempt's number. `failures` is how many attempts at the endpoint have failed in a row, this one
    included. `remaining` is how many seconds are left until the delivery is given up. The delay after the first failure
    is at most `first_delay`, and the maximum doubles with each failure. `jitter` is a new random number from 0 to 1 for
    each attempt: full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    code = attempt.status_code
    if code is not None and 200 <= code < 300:
        return Verdict(Status.DELIVERED)
    if code == 410:
        return Verdict(Status.DEAD, gone=True)
    if remaining <= 0:
        return Verdict(Status.DEAD, pause=jitter * longest_pause(failures))
    asked = min(attempt.retry_after or 0.0, LONGEST_DELAY) if code in (429, 503) else 0.0
    delay = max(jitter * longest_delay(tries, first_delay), asked)
    # The last attempt is at the very end, so an endpoint that recovers before it misses nothing.
    return Verdict(Status.PENDING, min(delay, remaining), max(jitter * longest_pause(failures), asked))


def longest_delay(tries: int, first_delay: float) -> float:
    """Return the longest delay after this many attempts, in seconds."""
    return float(min(LONGEST_DELAY, first_delay * 2 ** min(tries - 1, 20)))


def longest_pause(failures: int) -> float:
    """Return the longest pause of an endpoint after this many failures in a row, in seconds."""
    return float(min(LONGEST_PAUSE, 2 ** min(failures - TOLERATED, 20))) if failures > TOLERATED else 0.0
