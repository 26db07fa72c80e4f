"""Rate limits that all workers and pods of a service share through its own database.

The algorithm is GCRA (ITU-T I.371, virtual scheduling). For each caller and limit, the database stores one time: when
the whole quota will be available again. A request moves this time by window / quota, and is rejected if the time would
then be further ahead than the window. So the whole quota may be used in a burst, and becomes available again evenly;
there is no rush at the start of a window.

The limits of a caller are one row, counted by one statement. A rejection is cached until the caller's next request may
pass, which no other process can bring forward. While the database is unavailable, each process counts for itself.

Flask-Limiter is not used: it counts before a view knows its merchant, sends several statements per limit, and sends
other headers.
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
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.telemetry import logs

log = logs.get_logger()

_LIMIT = re.compile(r"([1-9]\d{0,8})\s*/\s*([1-9]\d{0,3})?\s*(second|minute|hour|day)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

COUNT_TIMEOUT = 0.25
"""Seconds that the database may take to count a request."""
RETRY_AFTER = 2.0
"""Seconds until a database that did not respond is used again."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota of requests per window, in seconds."""

    name: str
    quota: int
    window: int

    @property
    def gap(self) -> float:
        """Seconds after which the quota of one request is available again."""
        return self.window / self.quota


def parse(text: str) -> tuple[Limit, ...]:
    """Parse limits such as "600/minute; 50/second; 1000/15 minutes". An empty text has none. Raises ValueError."""
    limits = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = _LIMIT.fullmatch(part)
        if found is None:
            raise ValueError("must be one or more of NUMBER/second, /minute, /hour or /day, separated by semicolons")
        quota, count, unit = int(found[1]), int(found[2] or 1), found[3]
        if quota > 100_000 * count * _SECONDS[unit]:
            raise ValueError("must not allow more than 100000 per second")
        limits.append(Limit(f"{count}-{unit}s" if count > 1 else unit, quota, count * _SECONDS[unit]))
    if len({limit.window for limit in limits}) < len(limits):
        raise ValueError("must not have two limits with the same window")
    return tuple(limits)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass; `ahead` are the seconds until the whole quota of each limit is available again."""

    passed: bool
    ahead: tuple[float, ...]

    def later(self, seconds: float) -> Decision:
        """Return the decision as it is `seconds` later: the quotas have recovered by that."""
        return Decision(self.passed, tuple(max(0.0, each - seconds) for each in self.ahead))

    def wait(self, limits: Sequence[Limit]) -> float:
        """Return the seconds until a request may pass."""
        pairs = zip(limits, self.ahead, strict=True)
        return max(0.0, *(ahead + limit.gap - limit.window for limit, ahead in pairs))


def count(limits: Sequence[Limit], ahead: Sequence[float]) -> Decision:
    """Count one more request and decide whether it passes. A rejected request uses no quota."""
    after = tuple(each + limit.gap for limit, each in zip(limits, ahead, strict=True))
    passed = all(each <= limit.window + 1e-6 for limit, each in zip(limits, after, strict=True))
    return Decision(passed, after if passed else tuple(ahead))


# The same as `count`, in SQL. A time further ahead than its window was stored under other limits, and is cut.
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


class LocalCounts:
    """Counts the requests of callers in the memory of this process, for the 4,096 callers that were counted last.

    It is not safe for threads: the caller holds a lock.
    """

    def __init__(self) -> None:
        self._decisions: LRUCache[str, tuple[float, Decision]] = LRUCache(4096)

    def __len__(self) -> int:
        return len(self._decisions)

    def take(self, limits: Sequence[Limit], caller: str, now: float) -> Decision:
        """Count a request of this caller and decide whether it passes. `now` is in seconds."""
        then, held = self._decisions.get(caller, (now, Decision(True, (0.0,) * len(limits))))
        decision = count(limits, held.later(now - then).ahead)
        self._decisions[caller] = (now, decision)
        return decision


class Limiter:
    """Limits the requests of one kind of callers, such as merchants."""

    def __init__(
        self, kind: str, limits: Sequence[Limit], database: Database, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`kind` separates these callers from others in the table. `clock` returns seconds."""
        self._kind, self._limits, self._database, self._clock = kind, tuple(limits), database, clock
        self._statement = {"gaps": [limit.gap for limit in limits], "windows": [limit.window for limit in limits]}
        self._database_retry_at = -math.inf
        self._lock = threading.Lock()
        # The time of the last decision and the decision, by caller: rejections, and all while the database is away.
        self._rejected: TLRUCache[str, tuple[float, Decision]] = TLRUCache(
            4096, lambda _, entry, now: entry[0] + entry[1].wait(self._limits), timer=clock
        )
        self._local = LocalCounts()
        self._policy = ", ".join(f'"{limit.name}";q={limit.quota};w={limit.window}' for limit in limits)

    def count_request(self, caller: str) -> None:
        """Count the current request, and add the remaining quota to the headers of its response.

        The headers are those of draft-ietf-httpapi-ratelimit-headers-11. Raises Problem `too-many-requests`.
        """
        decision = self.take(caller)
        after_this_request(lambda response: self._add_headers(response, decision))
        if not decision.passed:
            seconds = max(1, math.ceil(decision.wait(self._limits)))
            raise Problem(
                "too-many-requests",
                f"The quota is used up. The next request is allowed in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )

    def take(self, caller: str) -> Decision:
        """Count a request of this caller and decide whether it passes."""
        now = self._clock()
        with self._lock:
            entry = self._rejected.get(caller)
        if entry is not None:
            return entry[1].later(now - entry[0])
        decision = self._count_in_database(caller, now) or self._count_locally(caller, now)
        if not decision.passed:
            with self._lock:
                self._rejected[caller] = (now, decision)
        return decision

    def _count_in_database(self, caller: str, now: float) -> Decision | None:
        """Count in the database. Returns None while it is unavailable."""
        if now < self._database_retry_at:
            return None
        try:
            parameters = {"caller": f"{self._kind} {caller}", **self._statement}
            row = self._database.session().one(_COUNT, parameters)
        except UNAVAILABLE as error:
            self._database_retry_at = self._clock() + RETRY_AFTER
            log.warning("rate_limits_are_counted_alone", error=error)
            return None
        assert row is not None
        return Decision(row["passed"], tuple(max(0.0, each) for each in row["ahead"]))

    def _count_locally(self, caller: str, now: float) -> Decision:
        with self._lock:
            return self._local.take(self._limits, caller, now)

    def _add_headers(self, response: Response, decision: Decision) -> Response:
        left = ", ".join(
            f'"{limit.name}";r={max(0, math.floor((limit.window - ahead) / limit.gap + 1e-6))};t={math.ceil(ahead)}'
            for limit, ahead in zip(self._limits, decision.ahead, strict=True)
        )
        response.headers["RateLimit-Policy"] = self._policy
        response.headers["RateLimit"] = left
        return response


def database(url: str, name: str) -> Database:
    """Return separate connections for counting, with short timeouts. Commits do not wait for the disk."""
    return Database(
        url, f"{name}-limits", statement_timeout=COUNT_TIMEOUT, lock_timeout=COUNT_TIMEOUT, synchronous_commit=False
    )
