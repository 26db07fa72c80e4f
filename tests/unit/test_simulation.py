"""A few thousand schedules of the simulation, and the defects that it has to find. `make simulate` runs more."""

from __future__ import annotations

import pytest

from payment.model import Kind
from tests.simulation.__main__ import run_batch
from tests.simulation.defects import DEFECTS
from tests.simulation.report import explain
from tests.simulation.run import RULES
from tests.simulation.schedules import Failure, Report, replay, search, shrink, try_schedule

SEED = 1
LIMIT = 3000
"""How many schedules are run. Each defect has to be found within as many."""


@pytest.fixture(scope="module")
def report() -> Report:
    return search(SEED, range(LIMIT))


def find(defect: str, message: str, step: str | None = None) -> Failure:
    """Return the first failure with this message, and with this step if one is named; made shorter."""
    with DEFECTS[defect]():
        for number in range(LIMIT):
            failure = try_schedule(SEED, number).failure
            if failure is not None and message in failure.message and _has(failure, step):
                failure = shrink(failure)
                if _has(failure, step):
                    return failure
    raise AssertionError(f"{defect} was not found in {LIMIT} schedules")


def _has(failure: Failure, step: str | None) -> bool:
    return step is None or step in [name for name, _ in failure.steps]


def test_the_invariants_hold_in_every_schedule(report: Report) -> None:
    assert report.failure is None, explain(report.failure)
    assert report.schedules == LIMIT


def test_every_step_is_taken_and_every_outcome_occurs(report: Report) -> None:
    outcomes = {f"{kind} {result}" for kind in Kind for result in ("succeeded", "declined")}
    assert not (RULES.keys() | outcomes | {"capture that keeps the rest"}) - report.counts.keys()


def test_a_schedule_that_is_run_again_is_the_same() -> None:
    assert [try_schedule(SEED, 7) for _ in range(2)] == [try_schedule(SEED, 7)] * 2
    assert try_schedule(SEED, 7) != try_schedule(SEED, 8)


@pytest.mark.parametrize(
    ("defect", "message", "step"),
    [
        ("a_202_forgets_what_was_asked", "payment.void was sent under", "provider_is_away"),
        ("a_decline_leaves_no_trace", "a declined payment.void left no trace", None),
        ("a_decline_leaves_no_trace", "a declined payment.capture left no trace", "capture"),
        ("a_partial_capture_leaves_the_order_authorized", "an authorized order has live payments", "capture"),
        ("a_partial_capture_leaves_the_order_authorized", "an authorized order has live payments", "act_at_payment"),
        ("two_parts_are_taken_for_one", "a capture of a part was taken for another one", "capture"),
        ("a_release_forgets_what_is_captured", "payment.refund was sent under", None),
        ("ids_are_random", "the provider executed two operations for the request", "payment_is_restored"),
    ],
)
def test_a_defect_that_is_put_back_is_found(defect: str, message: str, step: str | None) -> None:
    failure = find(defect, message, step)
    with DEFECTS[defect]():
        assert replay(failure.steps) == failure.message
    assert replay(failure.steps) is None, "without the defect, the same steps break nothing"


PAID = (
    ("place", 0),
    ("relay_sends", 0),
    ("request_arrives", 0),
    ("thread_advances", 0),
    ("thread_advances", 0),
    ("response_or_event_arrives", 0),
)
"""An order is placed, and its payment is captured."""


@pytest.mark.parametrize(
    ("defect", "message", "steps"),
    [
        (
            "a_lost_payment_is_awaited",
            "nothing comes to rest: an order is pending_payment, asked for []",
            (
                ("place", 0),
                ("payment_is_backed_up", 0),
                ("create_at_payment", 0),
                ("relay_sends", 0),
                ("request_arrives", 0),
                ("response_or_event_arrives", 0),
                ("payment_is_restored", 0),
            ),
        ),
        (
            "a_lost_refund_is_awaited",
            "nothing comes to rest: an order is canceling, asked for []",
            (
                *PAID[:-1],
                ("payment_is_backed_up", 0),
                ("act_at_payment", 16),
                ("provider_is_away", 0),
                ("payment_is_restored", 0),
                ("cancel", 0),
            ),
        ),
        (
            "versions_fall_behind",
            "order knows ('captured', 900, 0) of its payment",
            (
                *PAID,
                ("payment_is_backed_up", 0),
                ("order_is_backed_up", 0),
                ("order_is_restored", 0),
                ("event_is_sent", 0),
                ("response_or_event_arrives", 0),
                ("payment_is_restored", 0),
                ("refund", 0),
            ),
        ),
        (
            "a_late_answer_has_no_event",
            "nothing comes to rest: an order is paid, asked for [<Command.VOID",
            (
                ("place", 7),
                ("create_at_payment", 32),
                ("thread_advances", 0),
                ("thread_advances", 0),
                ("event_is_sent", 0),
                ("response_or_event_arrives", 0),
                ("relay_sends", 0),
                ("request_arrives", 3),
                ("thread_advances", 0),
                ("lease_runs_out", 0),
                ("request_arrives", 0),
                ("response_or_event_arrives", 0),
            ),
        ),
    ],
)
def test_a_defect_that_needs_a_rare_schedule_is_found(
    defect: str, message: str, steps: tuple[tuple[str, int], ...]
) -> None:
    with DEFECTS[defect]():
        assert (replay(steps) or "").startswith(message)
    assert replay(steps) is None


def test_a_failure_says_how_to_repeat_it_and_what_each_step_did() -> None:
    defect = "a_decline_leaves_no_trace"
    failure = run_batch(SEED, defect, range(LIMIT)).failure
    assert failure is not None
    with DEFECTS[defect]():
        text = explain(failure)
    assert text.startswith(f"seed {SEED}, schedule {failure.number}: {failure.message}\n")
    assert all(f"{number:3}. {name} {choice}: " in text for number, (name, choice) in enumerate(failure.steps, 1))
    assert text.endswith(f"Broken: {failure.message}")
