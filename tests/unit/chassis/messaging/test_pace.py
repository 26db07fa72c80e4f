"""How long a loop rests for callers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from chassis.messaging.pace import Pace


class Sessions:
    """Stands for a database in which `busy` sessions of requests are busy. Counts how often it is asked."""

    def __init__(self, busy: int) -> None:
        self.busy, self.asked = busy, 0

    def session(self) -> Sessions:
        return self

    def one(self, query: str, parameters: tuple[str]) -> dict[str, int]:
        assert parameters == ("callers",)
        self.asked += 1
        return {"busy": self.busy}


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each rest, which are not waited."""
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    return rests


def pace(sessions: Any) -> Pace:
    return Pace(sessions, "callers")


def test_while_requests_are_served_a_loop_rests_as_long_as_its_work_took(rests: list[float]) -> None:
    pace(Sessions(3)).rest(0.06)
    assert rests == [0.06]


def test_the_time_of_work_that_waited_for_somebody_else_does_not_count(rests: list[float]) -> None:
    pace(Sessions(12)).rest(30.0)
    assert rests == [0.1]


def test_without_requests_or_with_probes_only_a_loop_does_not_rest(rests: list[float]) -> None:
    for busy in (0, 1, 2):
        pace(Sessions(busy)).rest(0.06)
    assert rests == []


def test_the_database_is_asked_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch, rests: list[float]) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sessions = Sessions(3)
    working = pace(sessions)
    for _ in range(30):
        working.rest(0.01)
        now += 0.02
    assert 4 <= sessions.asked <= 6
    assert len(rests) == 30
    sessions.busy = 0
    now += 0.2
    working.rest(0.01)
    assert len(rests) == 30
