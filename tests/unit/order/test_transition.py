"""`order.transition.apply`: all steps that follow from a request, a response or an event."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from order.history import Step
from order.model import Asked, Command, LastError, Order, Outcome, Payment, Status
from order.transition import Answer, Cancel, Capture, Change, PayAgain, Refund, apply, place

AUTHORIZED = Payment("p1", 2, "authorized", 900, "EUR")
CAPTURED = Payment("p1", 3, "captured", 900, "EUR", captured_amount=900)


def new_ids() -> itertools.count[int]:
    return itertools.count(1)


def taken(order: Order, change: Change) -> list[Step]:
    ids = new_ids()
    return apply(order, change, lambda: f"m{next(ids)}")


def after(order: Order, change: Change) -> Order:
    steps = taken(order, change)
    return steps[-1].after if steps else order


def new(total: int = 900, **facts: object) -> Order:
    order = Order("o1", Status.PENDING_PAYMENT, total, "EUR", "pm_ok", "manual")
    return replace(order, **facts)


def authorized(**facts: object) -> Order:
    return replace(new(status=Status.AUTHORIZED, payment=AUTHORIZED, version=2), **facts)


def paid(**facts: object) -> Order:
    order = new(status=Status.PAID, payment=CAPTURED, paid_amount=900, version=3)
    return replace(order, **facts)


def test_a_new_order_sends_the_command_to_create_its_payment() -> None:
    step = place(new(), lambda: "m1")
    assert (step.type, step.after.version, step.after.asked) == ("order.placed", 1, (Asked("m1", Command.CREATE),))
    assert step.message is not None
    assert step.message.payload == {
        "order_id": "o1",
        "amount": 900,
        "currency": "EUR",
        "payment_method": "pm_ok",
        "capture": "manual",
    }


def test_an_order_with_total_0_is_paid_at_once_without_a_command() -> None:
    step = place(new(0), lambda: "m1")
    assert (step.after.status, step.after.asked, step.message) == (Status.PAID, (), None)


@pytest.mark.parametrize(
    ("order", "change", "types", "command", "payload"),
    [
        (authorized(), Capture(), ["payment.capture_requested"], Command.CAPTURE, {"payment_id": "p1"}),
        (authorized(), Cancel(), ["order.canceling", "payment.void_requested"], Command.VOID, {"payment_id": "p1"}),
        (
            paid(),
            Cancel(),
            ["order.canceling", "payment.refund_requested"],
            Command.REFUND,
            {"payment_id": "p1", "amount": 900, "reason": "order canceled"},
        ),
        (
            paid(),
            Refund("r1", 300, "wet"),
            ["payment.refund_requested"],
            Command.REFUND,
            {"payment_id": "p1", "amount": 300, "reason": "wet"},
        ),
        (
            new(status=Status.PAYMENT_FAILED, payment=Payment("p1", 2, "failed", 900, "EUR")),
            PayAgain("pm_other"),
            ["order.payment_attempted"],
            Command.CREATE,
            {"order_id": "o1", "amount": 900, "currency": "EUR", "payment_method": "pm_other", "capture": "manual"},
        ),
    ],
)
def test_a_request_sends_one_command(
    order: Order, change: Change, types: list[str], command: Command, payload: dict[str, object]
) -> None:
    steps = taken(order, change)
    messages = [step.message for step in steps if step.message]
    assert [step.type for step in steps] == types
    assert [(message.command, message.payload) for message in messages] == [(command, payload)]
    assert [asked.id for asked in steps[-1].after.asked] == [messages[0].id]


@pytest.mark.parametrize(("command", "change"), [(Command.VOID, Cancel()), (Command.CAPTURE, Capture())])
@given(versions=st.lists(st.integers(3, 9), max_size=5))
def test_a_command_without_an_outcome_is_never_sent_again(
    command: Command, change: Change, versions: list[int]
) -> None:
    order = after(authorized(), change)
    for version in versions:  # reported while the outcome is unknown: a 202, and an event about another operation
        for answer in (
            Answer(replace(AUTHORIZED, version=version), answers="m1"),
            Answer(replace(AUTHORIZED, version=version), Outcome("another operation", True)),
        ):
            steps = taken(order, answer)
            assert [step.message for step in steps if step.message] == []
            order = steps[-1].after if steps else order
    assert order.asked == (Asked("m1", command),)
    assert taken(order, change) == []


def test_a_declined_capture_is_recorded_and_can_be_requested_again() -> None:
    asked = after(authorized(), Capture())
    steps = taken(asked, Answer(replace(AUTHORIZED, version=4), Outcome("m1", False, True, "no_funds"), "m1"))
    assert [(step.type, step.data["failure_reason"]) for step in steps] == [("payment.capture_declined", "no_funds")]
    order = steps[-1].after
    assert (order.status, order.asked, order.last_error) == (
        Status.AUTHORIZED,
        (),
        LastError(Command.CAPTURE, "no_funds", "m1"),
    )
    assert after(order, Capture()).waits_for(Command.CAPTURE)


def test_the_last_error_is_cleared_when_a_command_succeeds() -> None:
    order = authorized(last_error=LastError(Command.CAPTURE, "no_funds"), asked=(Asked("m9", Command.CAPTURE),))
    order = after(order, Answer(CAPTURED, Outcome("m9", True), "m9"))
    assert (order.status, order.asked, order.last_error) == (Status.PAID, (), None)


def test_a_partial_capture_pays_the_order_with_what_was_captured() -> None:
    steps = taken(authorized(), Capture(400))
    assert [step.message.payload for step in steps if step.message] == [{"payment_id": "p1", "amount": 400}]
    assert steps[0].data["capture_amount"] == 400
    order = after(steps[-1].after, Answer(replace(CAPTURED, captured_amount=400), Outcome("m1", True), "m1"))
    assert (order.status, order.paid_amount, order.refundable_amount, order.asked) == (Status.PAID, 400, 400, ())
    canceling = after(order, Cancel())
    assert [(asked.command, asked.amount) for asked in canceling.asked] == [(Command.REFUND, 400)]
    refunded = replace(CAPTURED, version=9, captured_amount=400, refunded_amount=400)
    assert after(canceling, Answer(refunded, Outcome("m1", True))).status is Status.CANCELED
    assert after(order, Answer(refunded)).status is Status.REFUNDED


@pytest.mark.parametrize("asked", [(), (Asked("m9", Command.CAPTURE, 300),)])
def test_a_part_that_a_third_party_captured_pays_the_order(asked: tuple[Asked, ...]) -> None:
    part = replace(CAPTURED, captured_amount=400)
    order = after(authorized(asked=asked), Answer(part))
    assert (order.status, order.paid_amount) == (Status.PAID, 400)
    order = after(order, Answer(part, Outcome("m9", False), "m9"))  # payment refuses the order's own capture
    assert (order.status, order.paid_amount, order.asked, order.last_error) == (Status.PAID, 400, (), None)


def test_an_order_that_an_earlier_release_left_authorized_with_a_captured_part_is_paid() -> None:
    stuck = authorized(payment=replace(CAPTURED, captured_amount=400), paid_amount=400)
    order = after(stuck, Answer(replace(CAPTURED, captured_amount=400), answers="m9"))
    assert (order.status, order.paid_amount) == (Status.PAID, 400)


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (Command.CAPTURE, "The payment provider declined the capture"),
        (Command.VOID, "The payment provider declined the void"),
    ],
)
def test_the_reason_of_a_decline_is_added_when_the_event_brings_it(command: Command, detail: str) -> None:
    order = after(authorized(), Capture() if command is Command.CAPTURE else Cancel())
    order = after(order, Answer(replace(AUTHORIZED, version=4), Outcome("m1", False, True), "m1"))
    assert order.last_error is not None
    assert (order.status, order.last_error.detail) == (Status.AUTHORIZED, f"{detail}.")
    event = Answer(replace(AUTHORIZED, version=4), Outcome("m1", False, True, "no_way"))
    steps = taken(order, event)
    assert [(step.type, step.data["failure_reason"]) for step in steps] == [("payment.updated", "no_way")]
    error = steps[-1].after.last_error
    assert error is not None
    assert (error.code, error.detail) == (f"{command.removeprefix('payment.')}_declined", f"{detail}: no_way.")
    assert taken(steps[-1].after, event) == []


@pytest.mark.parametrize(
    ("error", "then", "left"),
    [
        (Command.CAPTURE, replace(AUTHORIZED, version=9), True),
        (Command.CAPTURE, replace(CAPTURED, version=9), False),
        (Command.VOID, replace(CAPTURED, version=9, captured_amount=1), False),
        (Command.VOID, replace(AUTHORIZED, version=9, status="voided"), False),
        (Command.CAPTURE, replace(AUTHORIZED, version=9, status="expired"), True),
    ],
)
def test_the_last_error_is_cleared_when_a_third_party_succeeds(error: Command, then: Payment, left: bool) -> None:
    order = after(authorized(last_error=LastError(error, "no", "m9")), Answer(then))
    assert (order.last_error is not None) == left


def test_a_declined_refund_is_shown_until_a_refund_succeeds() -> None:
    order = paid(asked=(Asked("r1", Command.REFUND, 300),))
    order = after(order, Answer(replace(CAPTURED, version=5), Outcome("r1", False, True, "no_way")))
    assert order.last_error == LastError(Command.REFUND, "no_way", "r1")
    order = after(order, Answer(replace(CAPTURED, version=6, refunding_amount=100)))
    assert order.last_error is not None
    order = after(order, Answer(replace(CAPTURED, version=7, refunded_amount=100)))
    assert (order.refunded_amount, order.last_error) == (100, None)


def test_a_decline_that_is_reported_after_a_third_partys_capture_is_not_shown() -> None:
    order = after(authorized(asked=(Asked("m9", Command.CAPTURE),)), Answer(CAPTURED))
    steps = taken(order, Answer(AUTHORIZED, Outcome("m9", False, True, "no_way")))
    assert [step.type for step in steps] == ["payment.capture_declined"]
    assert (steps[-1].after.status, steps[-1].after.last_error) == (Status.PAID, None)


def test_a_cancel_whose_void_is_declined_refunds_what_a_third_party_has_captured() -> None:
    order = after(authorized(), Cancel())
    order = after(order, Answer(CAPTURED, Outcome("m1", False, True, "no_way")))
    assert (order.status, [asked.command for asked in order.asked]) == (Status.CANCELING, [Command.REFUND])


MISFIT = Payment("p9", 2, "authorized", 500, "EUR")
MISFIT_PAID = replace(MISFIT, status="captured", captured_amount=500)


@pytest.mark.parametrize(
    ("payment", "command", "ended"),
    [
        (MISFIT, Command.VOID, replace(MISFIT, version=3, status="voided")),
        (MISFIT_PAID, Command.REFUND, replace(MISFIT_PAID, version=3, refunded_amount=500)),
        (replace(MISFIT, amount=900, currency="USD"), Command.VOID, None),
        (replace(MISFIT, amount=1000), Command.VOID, None),
    ],
)
@pytest.mark.parametrize("order", [new(), new(status=Status.PAYMENT_FAILED, failure_reason="card_declined"), new(0)])
def test_money_that_does_not_fit_the_order_is_returned_once(
    order: Order, payment: Payment, command: Command, ended: Payment | None
) -> None:
    order = place(order, lambda: "m0").after if order.status is Status.PENDING_PAYMENT else order
    free = order.total_amount == 0
    steps = taken(order, Answer(payment, answers="m0"))
    assert [step.message.command for step in steps if step.message] == [command]
    order = steps[-1].after
    expected = (Status.PAID, None) if free else (Status.PAYMENT_FAILED, "amount_mismatch")
    assert (order.status, order.failure_reason, order.paid_amount) == (*expected, 0)
    for version in (3, 4):  # its outcome is not known yet
        steps = taken(order, Answer(replace(payment, version=version)))
        assert [step.message for step in steps if step.message] == []
        order = steps[-1].after
    declined = after(order, Answer(replace(payment, version=5), Outcome("m1", False, True, "no_way")))
    assert (declined.status, declined.failure_reason, declined.asked) == (*expected, ())
    assert declined.last_error == LastError(command, "no_way", "m1")
    assert [step.message for step in taken(declined, Answer(replace(payment, version=6))) if step.message] == []
    if ended is not None:
        order = after(order, Answer(replace(ended, version=5), Outcome("m1", True)))
        assert (order.status, order.failure_reason, order.asked, order.last_error) == (*expected, (), None)


def test_money_that_is_captured_later_than_the_mismatch_was_seen_is_returned() -> None:
    order = after(place(new(), lambda: "m0").after, Answer(replace(MISFIT, status="processing"), answers="m0"))
    assert (order.status, order.asked) == (Status.PAYMENT_FAILED, ())
    order = after(order, Answer(replace(MISFIT_PAID, version=3)))
    assert [(asked.command, asked.amount) for asked in order.asked] == [(Command.REFUND, 500)]


@pytest.mark.parametrize("ended", ["failed", "voided", "expired"])
@pytest.mark.parametrize("amount", [500, 900])
def test_an_order_whose_own_payment_is_requested_is_not_ended_by_another_payment_that_has_ended(
    amount: int, ended: str
) -> None:
    order = place(new(), lambda: "m0").after
    order = after(order, Answer(Payment("p0", 3, ended, amount, "EUR")))
    assert (order.status, [asked.id for asked in order.asked]) == (Status.PENDING_PAYMENT, ["m0"])
    order = after(order, Answer(replace(AUTHORIZED, version=1), answers="m0"))
    assert (order.status, order.asked) == (Status.AUTHORIZED, ())


@pytest.mark.parametrize(
    ("ended", "status"),
    [("failed", Status.PAYMENT_FAILED), ("voided", Status.CANCELED), ("expired", Status.EXPIRED)],
)
def test_an_order_ends_with_its_own_payment_when_its_command_is_answered(ended: str, status: Status) -> None:
    own = Payment("p1", 3, ended, 900, "EUR")
    order = after(place(new(), lambda: "m0").after, Answer(own))
    order = after(order, Answer(own, answers="m0"))
    assert (order.status, order.asked) == (status, ())


def test_a_cancel_waits_for_the_outcome_of_a_capture_and_then_refunds_or_voids() -> None:
    canceling = after(after(authorized(), Capture()), Cancel())
    assert (canceling.status, [asked.command for asked in canceling.asked]) == (Status.CANCELING, [Command.CAPTURE])
    steps = taken(canceling, Answer(CAPTURED, Outcome("m1", True)))
    assert [step.message.command for step in steps if step.message] == [Command.REFUND]
    voided = after(canceling, Answer(replace(AUTHORIZED, version=4), Outcome("m1", False, True, "no_funds")))
    assert [asked.command for asked in voided.asked] == [Command.VOID]


@pytest.mark.parametrize(
    ("payment", "command", "kept"),
    [(AUTHORIZED, Command.VOID, "authorized"), (CAPTURED, Command.REFUND, "captured")],
)
def test_a_final_order_does_not_repeat_a_declined_void_or_refund(payment: Payment, command: Command, kept: str) -> None:
    order = after(new(status=Status.CANCELED), Answer(payment))
    assert [asked.command for asked in order.asked] == [command]
    order = after(order, Answer(replace(payment, version=8), Outcome("m1", False, True, "no"), "m1"))
    for version in range(9, 20):
        order = after(order, Answer(replace(payment, version=version)))
    assert order.payment is not None
    assert (order.payment.status, order.asked, order.last_error) == (kept, (), LastError(command, "no", "m1"))


def test_an_order_does_not_wait_for_withdrawn_commands() -> None:
    order = place(new(), lambda: "m1").after
    steps = taken(order, Cancel(frozenset({"m1"})))
    assert [step.type for step in steps] == ["order.canceling", "order.canceled"]
    assert steps[-1].after.asked == ()
    assert after(order, Cancel()).status is Status.CANCELING


def test_pending_refunds_are_counted_and_settled_separately() -> None:
    order = after(after(paid(), Refund("r1", 300)), Refund("r2", 200))
    assert (order.refunding_amount, order.refundable_amount) == (500, 400)
    refunded = replace(CAPTURED, version=5, refunded_amount=300, refunding_amount=200)
    steps = taken(order, Answer(refunded, Outcome("r1", True), "r1"))
    assert [step.type for step in steps] == ["refund.succeeded"], "the same step shows the refund in the amounts"
    assert [step.ended.id for step in steps if step.ended] == ["r1"]
    order = steps[-1].after
    assert (order.refunded_amount, order.refunding_amount, order.refundable_amount) == (300, 200, 400)
    assert taken(order, Answer(refunded, Outcome("r1", True), "r1")) == [], "a refund is settled once"


def test_a_response_changes_nothing_if_the_event_was_applied_before() -> None:
    order = place(new(), lambda: "m1").after
    order = after(order, Answer(AUTHORIZED, Outcome("m1", True)))
    assert (order.status, order.asked) == (Status.AUTHORIZED, ())
    assert taken(order, Answer(AUTHORIZED, answers="m1")) == []
