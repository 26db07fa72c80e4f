"""What callers notice of a failover, and how long there was no leader. All times are on the monotonic clock."""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import psycopg
import requests

from tests.chaos.log import Log, Request
from tests.support.pair import ORDER, Client
from tests.support.settings import KEY

GAP = 1.5
"""Seconds between two successes from which on the time between them counts as one without success."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_COMMIT = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'drill', '') END IS NOT NULL"


@dataclass
class Successes:
    """When something succeeded."""

    times: list[float] = field(default_factory=list)

    def add(self) -> None:
        """Record a success."""
        self.times.append(time.monotonic())

    def without(self, begin: float, end: float) -> float:
        """Return the seconds without success in a span of time: the sum of its gaps that are longer than GAP."""
        inside = sorted(each for each in list(self.times) if begin < each < end)
        edges = [begin, *inside, end]
        return sum(later - sooner for sooner, later in zip(edges, edges[1:], strict=False) if later - sooner > GAP)


class Leader:
    """Commits on each server ten times a second, past the services. Where that succeeds there is a leader.

    Such a commit waits for a synchronous standby, as those of the services do.
    """

    def __init__(self, urls: list[str]) -> None:
        self.commits = Successes()
        self._ending = threading.Event()
        for url in urls:
            threading.Thread(target=self._run, args=[url], name="leader", daemon=True).start()

    def end(self) -> None:
        """Stop. A commit that waits is left alone."""
        self._ending.set()

    def _run(self, url: str) -> None:
        while not self._ending.wait(0.1):
            with suppress(psycopg.Error), psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
                while not self._ending.wait(0.1):
                    if connection.execute(_COMMIT).fetchone() == (True,):
                        self.commits.add()


@dataclass(frozen=True)
class Answer:
    """An attempt at a request: when it began and ended, and its status; None without an answer."""

    began: float
    ended: float
    status: int | None
    what: str

    @property
    def took(self) -> float:
        """Seconds until the answer."""
        return self.ended - self.began


class Answers:
    """All attempts of this process at requests to the services, and when one of them wrote something."""

    def __init__(self) -> None:
        self.all: list[Answer] = []
        self.writes = Successes()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record each attempt while the block runs."""
        send = requests.Session.send

        def timed(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            began, status = time.monotonic(), None
            try:
                response = send(session, request, **options)
                status = response.status_code
                return response
            finally:
                what = f"{request.method} {_ID.sub('{id}', str(request.path_url))}"
                self.all.append(Answer(began, time.monotonic(), status, what))
                if request.method == "POST" and status in (200, 201, 202):
                    self.writes.add()

        with mock.patch.object(requests.Session, "send", timed):
            yield

    def slowest(self, begin: float, end: float) -> Answer | None:
        """Return the attempt that took longest, of those that began in a span of time."""
        return max((each for each in self.all if begin <= each.began < end), key=lambda each: each.took, default=None)


class Pulse:
    """Places orders at a steady rate, whether or not the ones before are answered, each under its own key, once.

    Callers wait for answers, and so would notice late that requests succeed again.
    """

    RATE = 2.0  # orders in a second
    TIMEOUT = 20.0

    def __init__(self, seed: int, url: str, log: Log) -> None:
        self._random, self._client, self._log = random.Random(f"{seed}/pulse"), Client(url, KEY), log
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(int(self.RATE * self.TIMEOUT) + 1, "pulse") as pool:
            while not self._ending.wait(1 / self.RATE):
                pool.submit(self._place, str(uuid.UUID(int=self._random.getrandbits(128))))

    def _place(self, key: str) -> None:
        request = Request("demo", "place", ORDER, key)
        with suppress(requests.RequestException):
            answer = self._client.post("/v1/orders", ORDER, key=key)
            if answer.status_code == 201:
                request.status, request.answer = 201, answer.json()
            elif answer.status_code not in (409, 429, 503):
                self._log.complain(f"place {key}: {answer.status_code} {answer.text[:500]}")
        request.received = time.monotonic()
        self._log.add(request)
