from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.auth import rate_limits
from chassis.auth.rate_limits import Decision, Limit


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" ; ", []),
        ("600/minute", [("minute", 600, 60)]),
        ("600/minute;50/second", [("minute", 600, 60), ("second", 50, 1)]),
        (" 5 / hour ; 7/2days ", [("hour", 5, 3600), ("2-days", 7, 172800)]),
        ("1000/15 minutes", [("15-minutes", 1000, 900)]),
    ],
)
def test_limits_are_parsed(text: str, wanted: list[tuple[str, int, int]]) -> None:
    assert list(rate_limits.parse(text)) == [Limit(*each) for each in wanted]


@pytest.mark.parametrize(
    "text",
    ["600", "600/", "/minute", "0/minute", "-1/minute", "1.5/second", "many/minute", "5/week", "5/0minutes",
     "5/minute 6/hour", "5/minute;6/60seconds", "5/minute;5/minute", "100001/second", "9999999999/day", "٥/minute"],
)  # fmt: skip
def test_malformed_limits_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        rate_limits.parse(text)


LIMITS = st.builds(Limit, st.just("any"), st.integers(1, 50), st.integers(1, 100))


@given(LIMITS)
def test_a_burst_may_use_the_whole_quota_and_no_more(limit: Limit) -> None:
    decision = Decision(True, (0.0,))
    for _ in range(limit.quota):
        decision = rate_limits.count([limit], decision.ahead)
        assert decision.passed
    refused = rate_limits.count([limit], decision.ahead)
    assert not refused.passed
    assert refused.ahead == decision.ahead, "a request that is refused uses up nothing"
    assert 0 < refused.wait([limit]) <= limit.gap + 1e-6


@given(LIMITS, st.lists(st.floats(0, 20), max_size=200))
def test_a_window_admits_at_most_a_burst_and_what_is_available_again(limit: Limit, pauses: list[float]) -> None:
    now, passed = 0.0, list[float]()
    held = Decision(True, (0.0,))
    for pause in pauses:
        now += pause
        held = rate_limits.count([limit], held.later(pause).ahead)
        if held.passed:
            passed.append(now)
    for begin in passed:
        within = [time for time in passed if begin <= time < begin + limit.window]
        assert len(within) <= 2 * limit.quota + 1


def test_a_request_rejected_by_one_limit_uses_no_quota_of_another() -> None:
    both = rate_limits.parse("2/second;100/minute")
    held = Decision(True, (0.0, 0.0))
    for passes in (True, True, False, False):
        held = rate_limits.count(both, held.ahead)
        assert held.passed is passes
    assert list(held.ahead) == pytest.approx([1.0, 1.2])
    assert held.wait(both) == pytest.approx(0.5)
    assert rate_limits.count(both, held.later(0.5).ahead).passed
