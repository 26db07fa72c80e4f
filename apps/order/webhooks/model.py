"""Which events there are, and what follows from an attempt to deliver one: pure decisions, no input or output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from order.transition import EVENTS

UNLESS_ASKED_OTHERWISE = tuple(event for event in EVENTS if event not in ("order.placed", "order.canceling"))
"""What an endpoint is told when it has not said: outcomes, and not what the merchant has just done by itself."""

TEST = "webhook.test"

LONGEST_DELAY = 3 * 3600.0
"""Seconds to wait at most before the next attempt."""

TOLERATED = 4
LONGEST_PAUSE = 900.0
"""So many failures in a row say nothing of an endpoint; after more, all of it rests, for so many seconds at most."""


class Status(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt: the status code of the answer, or an error instead. Times in seconds."""

    status_code: int | None
    error: str | None
    seconds: float
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows: the delivery's status, when it is tried again, and for how long its endpoint rests. In seconds.

    `gone`: the endpoint wants nothing any more.
    """

    status: Status
    delay: float = 0.0
    pause: float = 0.0
    gone: bool = False


def judge(attempt: Attempt, tries: int, failures: int, left: float, first_delay: float, chance: float) -> Verdict:
    """What follows from an attempt.

    It was the one of number `tries`, `failures` attempts at the endpoint have failed in a row, this one included if it
    has, and `left` seconds are left until nobody tries any more. After the first failure the wait is `first_delay` at
    most, and the most doubles with each. `chance`, from 0 to 1, is drawn anew for each: full
    jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    code = attempt.status_code
    if code is not None and 200 <= code < 300:
        return Verdict(Status.DELIVERED)
    if code == 410:
        return Verdict(Status.DEAD, gone=True)
    if left <= 0:
        return Verdict(Status.DEAD, pause=chance * longest_pause(failures))
    asked = min(attempt.retry_after or 0.0, LONGEST_DELAY) if code in (429, 503) else 0.0
    delay = max(chance * longest_delay(tries, first_delay), asked)
    # The last attempt is at the very end: a receiver that is back by then has missed nothing.
    return Verdict(Status.PENDING, min(delay, left), max(chance * longest_pause(failures), asked))


def longest_delay(tries: int, first_delay: float) -> float:
    """The longest wait after so many attempts, in seconds."""
    return float(min(LONGEST_DELAY, first_delay * 2 ** min(tries - 1, 20)))


def longest_pause(failures: int) -> float:
    """For how long an endpoint may rest after so many failures in a row, in seconds."""
    return float(min(LONGEST_PAUSE, 2 ** min(failures - TOLERATED, 20))) if failures > TOLERATED else 0.0
