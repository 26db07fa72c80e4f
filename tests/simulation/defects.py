"""Defects that the services once had. Each context manager puts one back, so that a test can see it found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest import mock

from msgspec.structs import replace

import payment.model as payments
from order import model, refusals, transition
from order.history import History
from order.model import Command, Decision, LastError, Order, Payment, Status
from order.refusals import Refusal
from order.transition import Answer
from payment import ids
from payment.ids import What
from payment.model import Operation, Outcome
from tests.simulation.payment_side import Backup, PaymentSide


@contextmanager
def a_202_forgets_what_was_asked() -> Iterator[None]:
    """A void or capture that payment answers with 202 counts as done, and is asked for again under a new id."""
    original = transition._answer

    def answer(history: History, answer: Answer) -> None:
        if answer.answers is not None and answer.outcome is None:
            asked = (asked for asked in history.order.asked if asked.command is not Command.REFUND)
            history.forget({asked.id for asked in asked} & {answer.answers})
        original(history, answer)

    with mock.patch.object(transition, "_answer", answer):
        yield


@contextmanager
def a_decline_leaves_no_trace() -> Iterator[None]:
    """An order shows nothing of a capture, void or refund that the provider declined."""
    original = History.fail

    def fail(history: History, error: LastError | None) -> None:
        original(history, None)

    with mock.patch.object(History, "fail", fail):
        yield


@contextmanager
def a_partial_capture_leaves_the_order_authorized() -> Iterator[None]:
    """An order stays authorized once only a part of its amount is captured."""
    original = model.decide

    def decide(order: Order, declined: LastError | None = None) -> Decision:
        payment = order.payment
        is_open = order.status in (Status.PENDING_PAYMENT, Status.AUTHORIZED)
        if is_open and payment is not None and model.fits(order, payment) and _is_part(payment):
            return replace(model.stay(order), paid_amount=payment.captured_amount, status=Status.AUTHORIZED)
        return original(order, declined)

    with mock.patch.object(model, "decide", decide):
        yield


def _is_part(payment: Payment) -> bool:
    return payment.status == "captured" and payment.captured_amount < payment.amount


@contextmanager
def ids_are_random() -> Iterator[None]:
    """The id of an operation at the provider does not follow from the key of the request, so a restore loses it."""
    numbers = itertools.count(1)

    def derive(merchant: str, key: str, what: What) -> str:
        return f"ffffffff-0000-8000-8000-{next(numbers):012x}"

    with mock.patch.object(ids, "derive", derive):
        yield


@contextmanager
def a_lost_payment_is_awaited() -> Iterator[None]:
    """An order waits for a payment that payment lost in a restore before the provider was asked."""
    with mock.patch.object(transition, "_lose", return_value=None):
        yield


@contextmanager
def a_lost_refund_is_awaited() -> Iterator[None]:
    """An order waits for a third party's refund that payment lost in a restore before the provider was asked."""
    with mock.patch.object(transition, "_lose_refunds", return_value=None):
        yield


@contextmanager
def versions_fall_behind() -> Iterator[None]:
    """After a restore, a payment that is not told again continues below the version that order knows."""
    original = PaymentSide.restore

    def restore(side: PaymentSide, backup: Backup) -> None:
        original(side, backup)
        for row in side.rows.values():
            row.floor = 0

    with mock.patch.object(PaymentSide, "restore", restore):
        yield


@contextmanager
def two_parts_are_taken_for_one() -> Iterator[None]:
    """A capture of a part counts as another one of the same amount that is under way."""
    original = refusals.refusal

    def refusal(order: Order, command: Command, amount: int | None = None, *, final: bool = True) -> Refusal | None:
        asked = [each for each in order.asked if each.command is Command.CAPTURE]
        if command is Command.CAPTURE and asked and asked[0].amount == amount:
            return None
        return original(order, command, amount, final=final)

    with mock.patch.object(refusals, "refusal", refusal):
        yield


@contextmanager
def a_release_forgets_what_is_captured() -> Iterator[None]:
    """A payment is voided or expired although a part of it is captured."""
    original = payments._released

    def released(void: Operation) -> payments.Status:
        return original(replace(void, captured=0))

    with mock.patch.object(payments, "_released", released):
        yield


@contextmanager
def a_late_answer_has_no_event() -> Iterator[None]:
    """An outcome that comes after the lease of its request has no event, although order may have been answered."""
    original = PaymentSide.settle

    def settle(side: PaymentSide, operation_id: str, claim: int, outcome: Outcome, answered: bool) -> None:
        tried = side.operations.get(operation_id)
        if tried is not None and tried.claim == claim:
            tried.is_leased = True
        original(side, operation_id, claim, outcome, answered)

    with mock.patch.object(PaymentSide, "settle", settle):
        yield


DEFECTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    defect.__name__: defect
    for defect in (
        a_202_forgets_what_was_asked,
        a_decline_leaves_no_trace,
        a_partial_capture_leaves_the_order_authorized,
        ids_are_random,
        a_lost_payment_is_awaited,
        a_lost_refund_is_awaited,
        versions_fall_behind,
        two_parts_are_taken_for_one,
        a_release_forgets_what_is_captured,
        a_late_answer_has_no_event,
    )
}
"""By name."""
