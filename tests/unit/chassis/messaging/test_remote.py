from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from chassis.messaging.remote import Breaker, GivenUp, Refused, Remote, Unreachable


class Clock:
    """The clock of the breaker; it moves only when a test calls `forward`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        self._began = datetime.now(UTC)
        monkeypatch.setattr("pybreaker.datetime", self)
        monkeypatch.setattr(time, "monotonic", lambda: 1_000.0 + self._ahead)

    def now(self, _: object = None) -> datetime:
        """The replacement of datetime.now."""
        return self._began + timedelta(seconds=self._ahead)

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Destination:
    """Counts its calls, and raises `fault` if there is one."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.calls, self.fault = 0, fault

    def __call__(self) -> str:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        return "answer"


def fail(breaker: Breaker, times: int, fault: Exception | None = None) -> Destination:
    destination = Destination(fault or Unreachable("no answer"))
    for _ in range(times):
        with pytest.raises((Unreachable, Refused)):
            breaker.call(destination)
    return destination


def test_it_opens_after_five_unreachables_in_a_row_and_then_makes_no_calls() -> None:
    breaker = Breaker("destination", reset=60)
    assert fail(breaker, 4).calls == 4
    assert not breaker.is_open
    assert breaker.room(8) == 8
    assert fail(breaker, 1).calls == 1
    assert breaker.is_open
    assert breaker.room(8) == 0
    destination = Destination()
    with pytest.raises(Unreachable, match="destination is considered down"):
        breaker.call(destination)
    assert destination.calls == 0


def test_an_answer_resets_the_count() -> None:
    breaker = Breaker("destination", reset=60)
    for _ in range(3):
        fail(breaker, 4)
        assert breaker.call(Destination()) == "answer"
    assert not breaker.is_open


def test_a_refusal_is_an_answer_and_does_not_count() -> None:
    breaker = Breaker("destination", reset=60)
    assert fail(breaker, 20, Refused("refused")).calls == 20
    assert not breaker.is_open


def test_an_answered_probe_closes_it(clock: Clock) -> None:
    breaker = Breaker("destination", reset=60)
    fail(breaker, 5)
    clock.forward(61)
    assert breaker.call(Destination()) == "answer"
    assert not breaker.is_open
    assert breaker.room(8) == 8


def test_an_unanswered_probe_leaves_it_open_for_the_same_time_again(clock: Clock) -> None:
    breaker = Breaker("destination", reset=60)
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


def test_a_refused_probe_closes_it_because_the_destination_answered(clock: Clock) -> None:
    breaker = Breaker("destination", reset=60)
    fail(breaker, 5)
    clock.forward(61)
    fail(breaker, 1, Refused("refused"))
    assert not breaker.is_open


@pytest.mark.adversarial
def test_callers_that_wait_for_a_short_time_do_not_open_it() -> None:
    """A merchant chooses how long it waits, and for which slow payments: that says nothing about the destination."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote("destination", f"http://127.0.0.1:{silent.getsockname()[1]}", {}, timeout=0.3)
        for timeout in (0.05, 0.001, 0.0, -1.0) * 3:
            with pytest.raises(GivenUp):
                remote.post("/", b"{}", {}, timeout)
        assert not remote.breaker.is_open
        for _ in range(5):
            with pytest.raises(Unreachable):
                remote.post("/", b"{}", {})
        assert remote.breaker.is_open


@pytest.mark.adversarial
def test_a_short_wait_neither_counts_nor_resets_the_count() -> None:
    breaker = Breaker("destination", reset=60)
    for _ in range(4):
        fail(breaker, 1)
        fail(breaker, 1, GivenUp("no answer yet"))
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open


def test_calls_run_concurrently_while_it_is_closed() -> None:
    breaker = Breaker("destination")
    together = threading.Barrier(4, timeout=10)
    with ThreadPoolExecutor(4) as pool:
        arrived = list(pool.map(lambda _: breaker.call(together.wait), range(4)))
    assert sorted(arrived) == [0, 1, 2, 3]


def test_a_port_without_a_listener_is_unreachable() -> None:
    remote = Remote("destination", "http://127.0.0.1:9", {}, 1.0)
    with pytest.raises(Unreachable, match="destination"):
        remote.post("/", b"{}", {})


def test_a_header_that_http_does_not_allow_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="Authorization") as caught:
        Remote("destination", "http://127.0.0.1:9", {"Authorization": "Bearer tdm_secret\n"}, 1.0)
    assert "tdm_secret" not in str(caught.value)
