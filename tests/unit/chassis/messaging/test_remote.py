from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from chassis.messaging.remote import Breaker, Refused, Remote, Unreachable


class Clock:
    """The time that passes for the breaker: only what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        self._began = datetime.now(UTC)
        monkeypatch.setattr("pybreaker.datetime", self)
        monkeypatch.setattr(time, "monotonic", lambda: 1_000.0 + self._ahead)

    def now(self, _: object = None) -> datetime:
        """What datetime.now says."""
        return self._began + timedelta(seconds=self._ahead)

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Destination:
    """Counts its calls and does as it is told."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.calls, self.fault = 0, fault

    def __call__(self) -> str:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        return "answer"


def fail(breaker: Breaker, times: int, fault: Exception | None = None) -> Destination:
    destination = Destination(fault or Unreachable("away"))
    for _ in range(times):
        with pytest.raises((Unreachable, Refused)):
            breaker.call(destination)
    return destination


def test_it_opens_after_five_unreachables_in_a_row_and_then_calls_nobody() -> None:
    breaker = Breaker("somebody", reset=60)
    assert fail(breaker, 4).calls == 4
    assert not breaker.is_open
    assert breaker.room(8) == 8
    assert fail(breaker, 1).calls == 1
    assert breaker.is_open
    assert breaker.room(8) == 0
    destination = Destination()
    with pytest.raises(Unreachable, match="somebody is taken to be down"):
        breaker.call(destination)
    assert destination.calls == 0


def test_an_answer_in_between_starts_the_count_anew() -> None:
    breaker = Breaker("somebody", reset=60)
    for _ in range(3):
        fail(breaker, 4)
        assert breaker.call(Destination()) == "answer"
    assert not breaker.is_open


def test_a_refusal_is_an_answer_and_does_not_count() -> None:
    breaker = Breaker("somebody", reset=60)
    assert fail(breaker, 20, Refused("no")).calls == 20
    assert not breaker.is_open


def test_a_probe_that_is_answered_closes_it(clock: Clock) -> None:
    breaker = Breaker("somebody", reset=60)
    fail(breaker, 5)
    clock.forward(61)
    assert breaker.call(Destination()) == "answer"
    assert not breaker.is_open
    assert breaker.room(8) == 8


def test_a_probe_that_is_not_answered_leaves_it_open_for_as_long_again(clock: Clock) -> None:
    breaker = Breaker("somebody", reset=60)
    fail(breaker, 5)
    for _ in range(3):
        clock.forward(59)
        assert (fail(breaker, 3).calls, breaker.room(8)) == (0, 0)
        clock.forward(2)
        assert breaker.room(8) == 1
        assert fail(breaker, 3).calls == 1
        assert (breaker.is_open, breaker.room(8)) == (True, 0)
    clock.forward(61)
    assert breaker.call(Destination()) == "answer"
    assert breaker.room(8) == 8


def test_a_probe_that_is_refused_closes_it_for_somebody_is_there(clock: Clock) -> None:
    breaker = Breaker("somebody", reset=60)
    fail(breaker, 5)
    clock.forward(61)
    fail(breaker, 1, Refused("no"))
    assert not breaker.is_open


def test_calls_do_not_wait_for_one_another_while_it_is_closed() -> None:
    breaker = Breaker("somebody")
    together = threading.Barrier(4, timeout=10)
    with ThreadPoolExecutor(4) as pool:
        arrived = list(pool.map(lambda _: breaker.call(together.wait), range(4)))
    assert sorted(arrived) == [0, 1, 2, 3]


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    remote = Remote("somebody", "http://127.0.0.1:9", {}, 1.0)
    with pytest.raises(Unreachable, match="somebody"):
        remote.post("/", b"{}", {})
