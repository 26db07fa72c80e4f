"""When a delivery is retried, when it is dead, and when its endpoint is paused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order import transition
from order.webhooks import model
from order.webhooks.model import Attempt, Status, Verdict

DAYS = 86400.0
FIRST = 5.0


def answered(code: int | None, retry_after: float | None = None) -> Attempt:
    return Attempt(code, None if code and code < 300 else "an error", 0.1, retry_after)


def decide(
    attempt: Attempt, tries: int = 1, failures: int = 1, remaining: float = DAYS, jitter: float = 1.0
) -> Verdict:
    return model.decide(attempt, tries, failures, remaining, FIRST, jitter)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_a_2xx_response_means_delivered_even_after_the_time_is_over(code: int) -> None:
    assert decide(answered(code), remaining=-1) == Verdict(Status.DELIVERED)


def test_410_gone_disables_the_endpoint() -> None:
    assert decide(answered(410)) == Verdict(Status.DEAD, gone=True)


@pytest.mark.parametrize("code", [None, 100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 418, 429, 500, 503, 599])
def test_any_other_result_is_retried_until_the_time_is_over(code: int | None) -> None:
    verdict = decide(answered(code))
    assert (verdict.status, verdict.delay, verdict.gone) == (Status.PENDING, FIRST, False)
    assert decide(answered(code), remaining=0).status is Status.DEAD


def test_the_longest_delay_doubles_up_to_three_hours() -> None:
    delays = [decide(answered(500), tries=tries).delay for tries in range(1, 16)]
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-3:] == [10800.0] * 3
    assert decide(answered(500), tries=10**9).delay == 10800.0


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0.001, 3 * DAYS))
def test_the_delay_is_a_random_part_of_the_longest_delay_and_ends_before_the_time_is_over(
    tries: int, jitter: float, remaining: float
) -> None:
    delay = decide(answered(500), tries=tries, remaining=remaining, jitter=jitter).delay
    assert delay == min(remaining, jitter * model.longest_delay(tries, FIRST))


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_sets_the_delay_and_the_pause_up_to_three_hours(code: int) -> None:
    assert decide(answered(code, 60), jitter=0) == Verdict(Status.PENDING, 60, 60)
    assert decide(answered(code, 1), jitter=1) == Verdict(Status.PENDING, FIRST, 1)
    assert decide(answered(code, 10**9), jitter=0) == Verdict(Status.PENDING, 10800, 10800)
    assert decide(answered(code, 60), remaining=7, jitter=0).delay == 7


@pytest.mark.parametrize("code", [None, 400, 500, 502])
def test_retry_after_is_ignored_with_other_status_codes(code: int | None) -> None:
    assert decide(answered(code, 60), jitter=0) == Verdict(Status.PENDING, 0, 0)


def test_an_endpoint_is_paused_from_its_fifth_failure_in_a_row_for_at_most_a_quarter_of_an_hour() -> None:
    assert [decide(answered(500), failures=n).pause for n in (1, 4, 5, 6, 7, 20, 10**9)] == [0, 0, 2, 4, 8, 900, 900]
    assert decide(answered(500), failures=20, remaining=0).pause == 900


def test_events_are_the_steps_of_orders_and_the_outcomes_of_refunds() -> None:
    for kind in ("payment.updated", "payment.capture_requested", "order.payment_attempted", "order.pending_payment"):
        assert kind in transition.TYPES
        assert kind not in transition.EVENTS
    assert set(transition.EVENTS) - set(model.DEFAULT_EVENTS) == {"order.placed", "order.canceling", "order.updated"}
