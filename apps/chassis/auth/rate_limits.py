"""Rate limits that all workers and pods of a service share, by way of its own database.

The algorithm is GCRA (ITU-T I.371, the virtual scheduling one): for each caller and limit only the time is kept at
which the whole quota would be there again. A request moves it on by window / quota, and is refused where it would
get further ahead than the window. So a full quota may be used in a burst, and then comes back evenly: no window
begins anew with a rush.

All limits of a caller are one row and one statement. A caller that was refused is refused from memory until its
time has come, which no other process can bring forward. Without the database each process counts for itself.
Flask-Limiter was looked at and left out: it counts before views know their merchant, asks its storage several times
for each limit, and sends other headers.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cachetools import LRUCache, TLRUCache
from flask import Response, after_this_request

from chassis.http.problems import Problem
from chassis.postgres.database import DOWN, Database
from chassis.telemetry import logs

log = logs.get_logger()

_LIMIT = re.compile(r"([1-9]\d{0,8})\s*/\s*([1-9]\d{0,3})?\s*(second|minute|hour|day)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

PATIENCE = 0.25
"""How long the database may take to count a request, in seconds."""
REST = 2.0
"""How long a database that did not answer is left alone, in seconds."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in so many seconds."""

    name: str
    quota: int
    window: int

    @property
    def gap(self) -> float:
        """The seconds in which one request's worth of quota comes back."""
        return self.window / self.quota


def parse(text: str) -> tuple[Limit, ...]:
    """Read limits such as "600/minute; 50/second; 1000/15 minutes"; none for an empty text. Raises ValueError."""
    limits = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = _LIMIT.fullmatch(part)
        if found is None:
            raise ValueError("must be one or more of NUMBER/second, /minute, /hour or /day, with semicolons between")
        quota, count, unit = int(found[1]), int(found[2] or 1), found[3]
        if quota > 100_000 * count * _SECONDS[unit]:
            raise ValueError("must not allow more than 100000 a second")
        limits.append(Limit(f"{count}-{unit}s" if count > 1 else unit, quota, count * _SECONDS[unit]))
    if len({limit.window for limit in limits}) < len(limits):
        raise ValueError("must not have two limits for the same time")
    return tuple(limits)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and for each limit in how many seconds its quota is full again."""

    passed: bool
    ahead: tuple[float, ...]

    def later(self, seconds: float) -> Verdict:
        """The same, so many seconds later."""
        return Verdict(self.passed, tuple(max(0.0, each - seconds) for each in self.ahead))

    def wait(self, limits: Sequence[Limit]) -> float:
        """In how many seconds a request may pass."""
        pairs = zip(limits, self.ahead, strict=True)
        return max(0.0, *(ahead + limit.gap - limit.window for limit, ahead in pairs))


def count(limits: Sequence[Limit], ahead: Sequence[float]) -> Verdict:
    """The verdict on one more request."""
    after = tuple(each + limit.gap for limit, each in zip(limits, ahead, strict=True))
    passed = all(each <= limit.window + 1e-6 for limit, each in zip(limits, after, strict=True))
    return Verdict(passed, after if passed else tuple(ahead))


# The same as `count`, for everybody. A time further ahead than its window is of limits that were other ones before.
_COUNT = """
INSERT INTO rate_limits AS held (caller, full_at, passed)
VALUES (%(caller)s, ARRAY(SELECT now() + make_interval(secs => gap) FROM unnest(%(gaps)s::float8[]) AS gap), true)
ON CONFLICT (caller) DO UPDATE SET (full_at, passed) = (
    SELECT CASE WHEN bool_and(after <= now() + room) THEN array_agg(after ORDER BY place)
                ELSE array_agg(before ORDER BY place) END,
           bool_and(after <= now() + room)
    FROM (SELECT place, room, before, before + make_interval(secs => gap) AS after
          FROM (SELECT place, gap, make_interval(secs => room) AS room,
                       LEAST(GREATEST(full_at, now()), now() + make_interval(secs => room)) AS before
                FROM unnest(held.full_at, %(gaps)s::float8[], %(windows)s::float8[]) WITH ORDINALITY
                     AS each (full_at, gap, room, place)
                WHERE gap IS NOT NULL) AS counted) AS decided)
RETURNING passed, ARRAY(SELECT extract(epoch FROM each - now())::float8 FROM unnest(full_at) AS each) AS ahead
"""


class Limiter:
    """Counts the requests of callers of one kind against limits."""

    def __init__(
        self, kind: str, limits: Sequence[Limit], database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`kind` sets these callers apart from others in the table; `clock` is in seconds."""
        self._kind, self._limits, self._database, self._clock = kind, tuple(limits), database, clock
        self._statement = {"gaps": [limit.gap for limit in limits], "windows": [limit.window for limit in limits]}
        self._resting_until = -math.inf
        self._lock = threading.Lock()
        # By caller, at what time what was said: for each who was refused, and of all while the database is away.
        self._refused: TLRUCache[str, tuple[float, Verdict]] = TLRUCache(
            4096, lambda _, told, now: told[0] + told[1].wait(self._limits), timer=clock
        )
        self._alone: LRUCache[str, tuple[float, Verdict]] = LRUCache(4096)
        self._policy = ", ".join(f'"{limit.name}";q={limit.quota};w={limit.window}' for limit in limits)

    def pass_or_refuse(self, caller: str) -> None:
        """Count this request, and let the answer's headers say what is left (draft-ietf-httpapi-ratelimit-headers-11).

        Raises Problem `too-many-requests`.
        """
        verdict = self.take(caller)
        after_this_request(lambda response: self._tell(response, verdict))
        if not verdict.passed:
            seconds = max(1, math.ceil(verdict.wait(self._limits)))
            raise Problem(
                "too-many-requests",
                f"The quota is used up; there is room again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )

    def take(self, caller: str) -> Verdict:
        """The verdict on one more request of this caller's, now."""
        now = self._clock()
        with self._lock:
            told = self._refused.get(caller)
        if told is not None:
            return told[1].later(now - told[0])
        verdict = self._ask(caller, now) or self._count_alone(caller, now)
        if not verdict.passed:
            with self._lock:
                self._refused[caller] = (now, verdict)
        return verdict

    def _ask(self, caller: str, now: float) -> Verdict | None:
        """The verdict of the database, None when it does not answer."""
        if now < self._resting_until:
            return None
        try:
            named = {"caller": f"{self._kind} {caller}", **self._statement}
            row = self._database.session().one(_COUNT, named)
        except DOWN as error:
            self._resting_until = self._clock() + REST
            log.warning("rate_limits_are_counted_alone", error=error)
            return None
        assert row is not None
        return Verdict(row["passed"], tuple(max(0.0, each) for each in row["ahead"]))

    def _count_alone(self, caller: str, now: float) -> Verdict:
        with self._lock:
            then, held = self._alone.get(caller, (now, Verdict(True, (0.0,) * len(self._limits))))
            verdict = count(self._limits, held.later(now - then).ahead)
            self._alone[caller] = (now, verdict)
            return verdict

    def _tell(self, response: Response, verdict: Verdict) -> Response:
        left = ", ".join(
            f'"{limit.name}";r={max(0, math.floor((limit.window - ahead) / limit.gap + 1e-6))};t={math.ceil(ahead)}'
            for limit, ahead in zip(self._limits, verdict.ahead, strict=True)
        )
        response.headers["RateLimit-Policy"] = self._policy
        response.headers["RateLimit"] = left
        return response


def database(url: str, name: str) -> Database:
    """Connections of their own, one a thread, that wait for nothing: neither for long nor for the disk."""
    return Database(url, f"{name}-limits", statement_timeout=PATIENCE, lock_timeout=PATIENCE, synchronous_commit=False)
