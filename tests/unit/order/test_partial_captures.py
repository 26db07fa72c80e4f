"""Several captures of an order while its payment is authorized, and what becomes of the rest."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order.history import Step
from order.model import Asked, Command, LastError, Order, Outcome, Payment, Status
from order.refusals import Refusal, cancel_refusal, refusal, refusal_of, release_refusal
from order.transition import Answer, Cancel, Capture, Change, Release, apply

HELD = Payment("p1", 2, "authorized", 900, "EUR")
PART = replace(HELD, version=4, captured_amount=300)
ORDER = Order("o1", Status.AUTHORIZED, 900, "EUR", "pm_ok", "manual", payment=HELD, version=2)
PARTLY = replace(ORDER, paid_amount=300, payment=PART, version=4)


def taken(order: Order, change: Change) -> list[Step]:
    ids = itertools.count(order.version)
    steps = apply(order, change, lambda: f"m{next(ids)}")
    assert len(steps) < 10
    return steps


def after(order: Order, *changes: Change) -> Order:
    for change in changes:
        steps = taken(order, change)
        order = steps[-1].after if steps else order
    return order


def done(order: Order, payment: Payment) -> Answer:
    """Return the answer that the newest command has succeeded."""
    message = order.asked[-1].id
    return Answer(payment, Outcome(message, True), message)


def declined(order: Order, payment: Payment) -> Answer:
    message = order.asked[-1].id
    return Answer(payment, Outcome(message, False, True, "no_funds"), message)


def test_a_capture_that_is_not_final_keeps_the_order_authorized() -> None:
    (asked,) = taken(ORDER, Capture(300, final=False))
    assert asked.type == "payment.capture_requested"
    assert asked.message is not None
    assert asked.message.payload == {"payment_id": "p1", "amount": 300, "final": False}
    assert (asked.data["capture_amount"], asked.data["capture_final"]) == (300, False)
    assert asked.after.asked[0].final is False
    (captured,) = taken(asked.after, done(asked.after, PART))
    assert (captured.type, captured.data["capture_amount"]) == ("order.partially_captured", 300)
    assert (captured.after.status, captured.after.paid_amount, captured.after.asked) == (Status.AUTHORIZED, 300, ())


def test_the_last_capture_pays_the_order_with_all_that_was_captured() -> None:
    asked = after(PARTLY, Capture(200))
    assert asked.asked[0].final
    paid = replace(PART, version=6, status="captured", captured_amount=500)
    (step,) = taken(asked, done(asked, paid))
    assert (step.type, step.after.status, step.after.paid_amount) == ("order.paid", Status.PAID, 500)


@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=1, max_size=6))
def test_captures_in_parts_add_up_and_never_exceed_the_total(wanted: list[tuple[int, bool]]) -> None:
    order, version, sums = ORDER, 2, 0
    for amount, final in wanted:
        refused = refusal(order, Command.CAPTURE, amount, final=final)
        if refused is not None:
            assert order.status is Status.PAID or amount > 900 - sums
            continue
        version, sums = version + 2, sums + amount
        ends = final or sums == 900
        payment = replace(HELD, version=version, status="captured" if ends else "authorized", captured_amount=sums)
        asked = after(order, Capture(amount, final))
        order = after(asked, done(asked, payment))
        assert (order.paid_amount, order.status) == (sums, Status.PAID if ends else Status.AUTHORIZED)
    assert order.paid_amount <= order.total_amount


def test_a_capture_is_at_most_what_is_left() -> None:
    refused = refusal(PARTLY, Command.CAPTURE, 601)
    assert refused == Refusal("amount-exceeds-authorized", "Of 900 authorized, 600 is left to capture.")
    assert refusal(PARTLY, Command.CAPTURE, 600) is None


def test_one_capture_is_carried_out_at_a_time_and_only_final_ones_are_joined() -> None:
    part = replace(PARTLY, asked=(Asked("m1", Command.CAPTURE, 200, final=False),))
    whole = replace(PARTLY, asked=(Asked("m1", Command.CAPTURE, 200),))
    for order, amount, final in (
        (part, 200, False),
        (part, 200, True),
        (part, None, True),
        (whole, 200, False),
        (whole, 100, True),
    ):
        refused = refusal(order, Command.CAPTURE, amount, final=final)
        assert refused == Refusal("order-state", "One capture is carried out at a time: a capture of 200 is under way.")
    assert refusal(whole, Command.CAPTURE, 200) is None
    rest = replace(PARTLY, asked=(Asked("m1", Command.CAPTURE),))
    assert refusal(rest, Command.CAPTURE) is refusal(rest, Command.CAPTURE, 600) is None


def test_the_rest_is_released_and_the_order_is_paid_with_the_part() -> None:
    assert refusal_of(PARTLY, Release()) is None
    (asked,) = taken(PARTLY, Release())
    assert (asked.type, asked.after.status) == ("payment.void_requested", Status.AUTHORIZED)
    assert taken(asked.after, Release()) == []
    assert refusal(asked.after, Command.CAPTURE) == Refusal(
        "order-state", "The rest of the authorized amount is being released."
    )
    released = replace(PART, version=6, status="captured")
    (step,) = taken(asked.after, done(asked.after, released))
    assert (step.type, step.after.status, step.after.paid_amount) == ("order.paid", Status.PAID, 300)


def test_a_declined_release_is_shown_and_can_be_requested_again() -> None:
    asked = after(PARTLY, Release())
    (step,) = taken(asked, declined(asked, replace(PART, version=6)))
    assert (step.type, step.data["failure_reason"]) == ("payment.void_declined", "no_funds")
    assert (step.after.status, step.after.paid_amount) == (Status.AUTHORIZED, 300)
    assert step.after.last_error == LastError(Command.VOID, "no_funds", step.before.asked[0].id)
    assert release_refusal(step.after) is None


def test_the_rest_cannot_be_released_before_a_part_is_captured_or_during_a_capture() -> None:
    assert release_refusal(ORDER) == Refusal(
        "order-state", "Nothing is captured: cancel the order to release all of it."
    )
    asked = (Asked("m1", Command.CAPTURE, 100, final=False),)
    for under_way in (replace(PARTLY, asked=asked), replace(ORDER, asked=asked)):
        assert release_refusal(under_way) == Refusal(
            "order-state", "A capture is under way: release the rest after it."
        )
    paid = replace(PARTLY, status=Status.PAID)
    assert release_refusal(paid) == Refusal(
        "order-state", "Only an authorized order can be captured: this one is paid."
    )


def test_an_expired_authorization_leaves_the_order_paid_with_the_part() -> None:
    steps = taken(PARTLY, Answer(replace(PART, version=6, status="captured")))
    assert [(step.type, step.after.paid_amount) for step in steps] == [("order.paid", 300)]


def test_a_part_is_not_refunded_while_the_rest_is_authorized() -> None:
    refused = refusal(PARTLY, Command.REFUND, 100)
    assert refused == Refusal(
        "order-state",
        "Only a paid order can be refunded: this one is authorized. A part of it is captured: capture or release the "
        "rest first.",
    )


def test_a_cancel_releases_the_rest_and_then_refunds_the_part() -> None:
    assert cancel_refusal(PARTLY) is None
    steps = taken(PARTLY, Cancel())
    assert [step.type for step in steps] == ["order.canceling", "payment.void_requested"]
    canceling = steps[-1].after
    released = replace(PART, version=6, status="captured")
    (refunding,) = taken(canceling, done(canceling, released))
    assert (refunding.type, refunding.after.asked[0].amount) == ("payment.refund_requested", 300)
    returned = replace(released, version=8, refunded_amount=300)
    canceled = after(refunding.after, done(refunding.after, returned))
    assert (canceled.status, canceled.paid_amount, canceled.refunded_amount) == (Status.CANCELED, 300, 300)


def test_a_cancel_during_a_capture_returns_what_that_takes() -> None:
    canceling = after(PARTLY, Capture(200, final=False), Cancel())
    assert [asked.command for asked in canceling.asked] == [Command.CAPTURE]
    more = replace(PART, version=6, captured_amount=500)
    steps = taken(canceling, done(canceling, more))
    assert [(step.type, step.after.paid_amount) for step in steps] == [
        ("order.partially_captured", 500),
        ("payment.void_requested", 500),
    ]
    voiding = steps[-1].after
    released = replace(more, version=8, status="captured")
    assert after(voiding, done(voiding, released)).asked[0].amount == 500


def test_a_cancel_during_a_release_waits_for_it_and_refunds_the_part() -> None:
    canceling = after(PARTLY, Release(), Cancel())
    assert [asked.command for asked in canceling.asked] == [Command.VOID]
    refunding = after(canceling, done(canceling, replace(PART, version=6, status="captured")))
    assert [(asked.command, asked.amount) for asked in refunding.asked] == [(Command.REFUND, 300)]


def test_a_cancel_whose_void_is_declined_leaves_the_order_authorized_with_the_part() -> None:
    canceling = after(PARTLY, Cancel())
    back = after(canceling, declined(canceling, replace(PART, version=6)))
    assert (back.status, back.paid_amount) == (Status.AUTHORIZED, 300)
    assert back.last_error is not None


def test_a_declined_capture_leaves_the_part_and_is_forgotten_when_more_is_captured() -> None:
    asked = after(PARTLY, Capture(200, final=False))
    order = after(asked, declined(asked, replace(PART, version=6)))
    assert (order.status, order.paid_amount) == (Status.AUTHORIZED, 300)
    assert order.last_error is not None
    assert after(order, Answer(replace(PART, version=8, captured_amount=400))).last_error is None


def test_an_order_that_missed_the_snapshots_passes_through_each_state() -> None:
    pending = replace(ORDER, status=Status.PENDING_PAYMENT, payment=None, version=1)
    assert [(step.type, step.after.paid_amount) for step in taken(pending, Answer(PART))] == [
        ("order.authorized", 0),
        ("order.partially_captured", 300),
    ]


def test_what_is_paid_does_not_go_back_when_payment_reports_its_captures_again() -> None:
    order = replace(PARTLY, paid_amount=500, payment=replace(PART, captured_amount=500))
    for captured in (0, 300, 500):
        order = after(order, Answer(replace(PART, version=100 + captured, captured_amount=captured)))
        assert (order.status, order.paid_amount) == (Status.AUTHORIZED, 500)


@pytest.mark.parametrize("status", [Status.CANCELED, Status.EXPIRED, Status.REFUNDED])
def test_an_order_that_is_over_releases_the_rest_before_it_refunds_the_part(status: Status) -> None:
    order = replace(ORDER, status=status, payment=None)
    order = after(order, Answer(PART))
    assert [asked.command for asked in order.asked] == [Command.VOID]
    refused = after(order, declined(order, replace(PART, version=6)))
    assert refused.asked == ()
    assert refused.last_error is not None
    released = after(order, done(order, replace(PART, version=6, status="captured")))
    assert [(asked.command, asked.amount) for asked in released.asked] == [(Command.REFUND, 300)]
