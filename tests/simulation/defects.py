"""Defects that the services once had. Each context manager puts one back, so that a test can see it found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest import mock

from order import model, transition
from order.model import Decision, Order, Outcome, Payment, Status
from order.transition import Answer
from tests.simulation import ids


@contextmanager
def a_202_forgets_what_was_asked() -> Iterator[None]:
    """A void or capture that payment answered with 202 counts as done, and is asked for again under a new id."""
    original = transition._answer

    def answer(path: transition._Path, answer: Answer) -> None:
        if answer.answers is not None and answer.outcome is None:
            path.forget({answer.answers})
        original(path, answer)

    with mock.patch.object(transition, "_answer", answer):
        yield


@contextmanager
def a_decline_leaves_no_trace() -> Iterator[None]:
    """An order shows nothing of a capture, void or refund that the provider declined."""
    original = transition._end

    def end(path: transition._Path, outcome: Outcome) -> str | None:
        known = path.order.last_error
        reason = original(path, outcome)
        path.order = replace(path.order, last_error=known)
        return reason

    with mock.patch.object(transition, "_end", end):
        yield


@contextmanager
def a_partial_capture_leaves_the_order_authorized() -> Iterator[None]:
    """An order is authorized for ever once only a part of its amount is captured."""
    original = model.decide

    def decide(order: Order, declined: str | None = None) -> Decision:
        payment = order.payment
        open_order = order.status in (Status.PENDING_PAYMENT, Status.AUTHORIZED)
        if open_order and payment is not None and _is_part(payment):
            return replace(model.stay(order), paid_amount=payment.captured_amount, status=Status.AUTHORIZED)
        return original(order, declined)

    with mock.patch.object(model, "decide", decide):
        yield


def _is_part(payment: Payment) -> bool:
    return payment.status == "captured" and payment.captured_amount < payment.amount


@contextmanager
def ids_are_random() -> Iterator[None]:
    """The id of an operation at the provider does not depend on the key of the request, so a restore loses it."""
    numbers = itertools.count(1)

    def derived(key: str, what: str) -> str:
        return f"ffffffff-0000-8000-8000-{next(numbers):012x}"

    with mock.patch.object(ids, "derived", derived):
        yield


DEFECTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    defect.__name__: defect
    for defect in (
        a_202_forgets_what_was_asked,
        a_decline_leaves_no_trace,
        a_partial_capture_leaves_the_order_authorized,
        ids_are_random,
    )
}
"""By name; the issue calls them defects 1, 4, 5 and 6."""
