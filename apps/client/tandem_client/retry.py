"""When a request is made again, and after how long."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tandem_client.errors import Problem

FIRST, LONGEST = 0.1, 5.0
"""Seconds: the longest first pause, and the longest of all that no Retry-After asks for."""

_PASSING = frozenset({429, 502, 503, 504})


def is_passing(problem: Problem) -> bool:
    """Whether a refusal is for now only: the same request, with the same key, may be answered well in a moment."""
    return problem.status in _PASSING or (problem.status == 409 and problem.name == "idempotency-key-in-use")


def pause(attempt: int, retry_after: float | None = None) -> float:
    """Seconds before the next attempt, after this many: anything up to a limit that doubles (full jitter).

    Callers that failed together so come back apart. What a service asks for by Retry-After is waited in full.
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    jitter = random.uniform(0, min(LONGEST, FIRST * 2.0 ** min(attempt - 1, 30)))
    return jitter + (retry_after or 0.0)


def after(header: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date (RFC 9110); None when it asks nonsense."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
