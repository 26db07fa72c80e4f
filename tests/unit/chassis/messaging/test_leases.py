from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chassis.messaging.leases import MAX_BACKOFF, backoff, new_owner


@given(st.integers(0, 10**9))
def test_a_delay_is_at_most_its_step_and_the_cap(attempts: int) -> None:
    assert 0 <= backoff(attempts) <= min(MAX_BACKOFF, 0.5 * 2 ** min(attempts, 100))


@given(st.integers(0, 100), st.floats(0.01, 10), st.floats(0.01, 1000))
def test_base_and_cap_can_be_given(attempts: int, base: float, cap: float) -> None:
    assert 0 <= backoff(attempts, base, cap) <= min(cap, base * 2**attempts)


def test_delays_spread_over_the_whole_step() -> None:
    delays = [backoff(6, base=1.0) for _ in range(500)]
    assert min(delays) < 16 < 48 < max(delays)


def test_each_claim_has_an_owner_name_of_its_own() -> None:
    owners = {new_owner() for _ in range(100)} | {new_owner("request") for _ in range(100)}
    assert len(owners) == 200
