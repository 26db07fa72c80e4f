from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.messaging.leases import MAX_BACKOFF, backoff
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Database


@given(st.integers(0, 10**9))
def test_a_wait_is_never_longer_than_its_step_nor_than_the_cap(attempts: int) -> None:
    assert 0 <= backoff(attempts) <= min(MAX_BACKOFF, 0.5 * 2 ** min(attempts, 100))


@given(st.integers(0, 100), st.floats(0.01, 10), st.floats(0.01, 1000))
def test_base_and_cap_are_kept(attempts: int, base: float, cap: float) -> None:
    assert 0 <= backoff(attempts, base, cap) <= min(cap, base * 2**attempts)


def test_waits_spread_over_the_whole_step() -> None:
    waits = [backoff(6, base=1.0) for _ in range(500)]
    assert min(waits) < 16 < 48 < max(waits)


def test_a_loop_that_rests_for_long_is_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = WorkLoop("rest", Database("", "test"), lambda *_: [], lambda _: None, concurrency=1, poll=300.0)
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 350)
    assert loop.is_alive(patience=60.0)
    monkeypatch.setattr(time, "monotonic", lambda: began + 400)
    assert not loop.is_alive(patience=60.0)
