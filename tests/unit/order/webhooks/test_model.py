"""When a delivery is tried again, when it is dead, and when its endpoint rests."""

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
    return Attempt(code, None if code and code < 300 else "said", 0.1, retry_after)


def judge(attempt: Attempt, tries: int = 1, failures: int = 1, left: float = DAYS, chance: float = 1.0) -> Verdict:
    return model.judge(attempt, tries, failures, left, FIRST, chance)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered_however_late(code: int) -> None:
    assert judge(answered(code), left=-1) == Verdict(Status.DELIVERED)


def test_gone_is_the_end_of_the_endpoint() -> None:
    assert judge(answered(410)) == Verdict(Status.DEAD, gone=True)


@pytest.mark.parametrize("code", [None, 100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 418, 429, 500, 503, 599])
def test_anything_else_is_tried_again_until_the_time_is_over(code: int | None) -> None:
    again = judge(answered(code))
    assert (again.status, again.delay, again.gone) == (Status.PENDING, FIRST, False)
    assert judge(answered(code), left=0).status is Status.DEAD


def test_the_longest_wait_doubles_up_to_three_hours() -> None:
    waits = [judge(answered(500), tries=tries).delay for tries in range(1, 16)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-3:] == [10800.0] * 3
    assert judge(answered(500), tries=10**9).delay == 10800.0


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0.001, 3 * DAYS))
def test_the_wait_is_drawn_from_all_of_it_and_never_goes_beyond_the_end(tries: int, chance: float, left: float) -> None:
    delay = judge(answered(500), tries=tries, left=left, chance=chance).delay
    assert delay == min(left, chance * model.longest_delay(tries, FIRST))


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured_and_capped_and_the_endpoint_rests_as_long(code: int) -> None:
    assert judge(answered(code, 60), chance=0) == Verdict(Status.PENDING, 60, 60)
    assert judge(answered(code, 1), chance=1) == Verdict(Status.PENDING, FIRST, 1)
    assert judge(answered(code, 10**9), chance=0) == Verdict(Status.PENDING, 10800, 10800)
    assert judge(answered(code, 60), left=7, chance=0).delay == 7


@pytest.mark.parametrize("code", [None, 400, 500, 502])
def test_retry_after_means_nothing_elsewhere(code: int | None) -> None:
    assert judge(answered(code, 60), chance=0) == Verdict(Status.PENDING, 0, 0)


def test_an_endpoint_rests_after_its_fifth_failure_in_a_row_for_a_quarter_of_an_hour_at_most() -> None:
    assert [judge(answered(500), failures=n).pause for n in (1, 4, 5, 6, 7, 20, 10**9)] == [0, 0, 2, 4, 8, 900, 900]
    assert judge(answered(500), failures=20, left=0).pause == 900


def test_events_are_named_steps_and_what_refunds_come_to() -> None:
    assert [kind for kind in transition.EVENTS if not transition.is_event(kind)] == [
        "refund.succeeded",
        "refund.failed",
    ]
    for kind in ("payment.updated", "payment.capture_requested", "order.payment_attempted", "order.pending_payment"):
        assert not transition.is_event(kind)
    assert set(transition.EVENTS) - set(model.UNLESS_ASKED_OTHERWISE) == {"order.placed", "order.canceling"}
