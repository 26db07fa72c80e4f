"""Which responses are retried, and how long to pause before a retry."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from tandem_client.errors import Problem

FIRST_PAUSE = 0.1
"""Upper limit of the first pause, in seconds."""
LONGEST_PAUSE = 5.0
"""Upper limit of any pause, in seconds, not counting Retry-After."""

_TEMPORARY = frozenset({429, 502, 503, 504})


def is_temporary(problem: Problem) -> bool:
    """Return whether the same request with the same key may succeed later."""
    return problem.status in _TEMPORARY or (problem.status == 409 and problem.name == "idempotency-key-in-use")


def pause(attempt: int, retry_after: float | None = None) -> float:
    """Return the seconds to pause after attempt number `attempt`: full jitter plus `retry_after`.

    The jitter is between 0 and a limit that doubles with each attempt, so that callers that failed together retry at
    different times. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    jitter = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 30)))
    return jitter + (retry_after or 0.0)


def parse_retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date (RFC 9110).

    Returns None if the header is missing or not valid.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: the date's time zone is too large
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - (now or datetime.now(timezone.utc))).total_seconds())
