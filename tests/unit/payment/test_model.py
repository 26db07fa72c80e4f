"""What an operation's outcome makes of a payment, and what may be asked of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.model import (
    EXPIRED_NOTE,
    LIVE,
    Kind,
    Outcome,
    Payment,
    Refusal,
    Result,
    Settlement,
    Status,
    opening,
    refusal,
    settle,
)

AMOUNTS = st.integers(1, 2**63 - 1)
KINDS = st.sampled_from(Kind)
NOTES = st.sampled_from([None, EXPIRED_NOTE, "one was broken"])
DONE = Outcome(Result.SUCCEEDED, "ref")


def amounts(settlement: Settlement) -> tuple[int, int, int, int]:
    return settlement.authorized, settlement.captured, settlement.refunded, settlement.refunding


@given(KINDS, AMOUNTS, st.sampled_from([Result.SUCCEEDED, Result.DECLINED]), NOTES)
def test_the_entries_of_an_operation_sum_to_zero(kind: Kind, amount: int, result: Result, note: str | None) -> None:
    entries = settle(kind, amount, Outcome(result), note).entries
    assert sum(entry.amount if entry.direction == "debit" else -entry.amount for entry in entries) == 0
    assert all(entry.amount > 0 for entry in entries)


@given(KINDS, AMOUNTS, NOTES)
def test_the_ledger_tells_just_what_was_taken_or_given_back(kind: Kind, amount: int, note: str | None) -> None:
    settlement = settle(kind, amount, DONE, note)
    clearing = [entry for entry in settlement.entries if entry.account == "provider_clearing"]
    moved = sum(entry.amount if entry.direction == "debit" else -entry.amount for entry in clearing)
    assert moved == settlement.captured - settlement.refunded
    assert {entry.account for entry in settlement.entries} <= {"provider_clearing", "merchant_payable"}


@given(AMOUNTS)
def test_a_sale_takes_the_whole_amount_and_writes_it_down(amount: int) -> None:
    settlement = settle(Kind.SALE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.CAPTURED, (amount, amount, 0, 0))
    assert [(entry.account, entry.direction, entry.amount) for entry in settlement.entries] == [
        ("provider_clearing", "debit", amount),
        ("merchant_payable", "credit", amount),
    ]


@given(AMOUNTS)
def test_an_authorization_holds_money_and_writes_nothing_to_the_ledger(amount: int) -> None:
    settlement = settle(Kind.AUTHORIZE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.AUTHORIZED, (amount, 0, 0, 0))
    assert settlement.entries == ()


@given(AMOUNTS)
def test_a_capture_takes_of_what_is_held_and_holds_no_more(amount: int) -> None:
    settlement = settle(Kind.CAPTURE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.CAPTURED, (0, amount, 0, 0))
    assert settlement.entries == settle(Kind.SALE, amount, DONE).entries


@given(AMOUNTS)
def test_a_refund_turns_what_was_set_aside_into_what_was_given_back(amount: int) -> None:
    settlement = settle(Kind.REFUND, amount, DONE, "one was broken")
    assert (settlement.status, amounts(settlement)) == (None, (0, 0, amount, -amount))
    assert [(entry.account, entry.direction, entry.amount) for entry in settlement.entries] == [
        ("merchant_payable", "debit", amount),
        ("provider_clearing", "credit", amount),
    ]


@given(AMOUNTS)
def test_a_void_lets_go_and_an_expiry_says_that_it_was_one(amount: int) -> None:
    assert settle(Kind.VOID, amount, DONE) == Settlement(Status.VOIDED)
    assert settle(Kind.VOID, amount, DONE, EXPIRED_NOTE) == Settlement(Status.EXPIRED)
    gone = Outcome(Result.DECLINED, None, "authorization_is_gone")
    assert settle(Kind.VOID, amount, gone, EXPIRED_NOTE) == Settlement(Status.EXPIRED)


@given(st.sampled_from([Kind.SALE, Kind.AUTHORIZE]), AMOUNTS, st.one_of(st.none(), st.text(min_size=1)))
def test_a_payment_that_is_declined_has_failed_and_has_a_reason(kind: Kind, amount: int, reason: str | None) -> None:
    settlement = settle(kind, amount, Outcome(Result.DECLINED, None, reason))
    assert settlement == Settlement(Status.FAILED, failure_reason=reason or "declined")


@given(AMOUNTS, st.one_of(st.none(), st.text(min_size=1)))
def test_a_capture_void_or_refund_that_is_declined_leaves_the_payment_as_it_was(
    amount: int, reason: str | None
) -> None:
    declined = Outcome(Result.DECLINED, None, reason)
    assert settle(Kind.CAPTURE, amount, declined) == Settlement(None)
    assert settle(Kind.VOID, amount, declined) == Settlement(None)
    assert settle(Kind.REFUND, amount, declined) == Settlement(None, refunding=-amount)


@given(KINDS, AMOUNTS, NOTES)
def test_an_unknown_outcome_settles_nothing(kind: Kind, amount: int, note: str | None) -> None:
    with pytest.raises(ValueError, match="unknown"):
        settle(kind, amount, Outcome(Result.UNKNOWN), note)


def test_automatic_capture_sells_and_manual_capture_authorizes() -> None:
    assert opening("automatic") is Kind.SALE
    assert opening("manual") is Kind.AUTHORIZE


def test_a_payment_that_came_to_nothing_lets_another_be_made_and_no_other_does() -> None:
    assert set(Status) - set(LIVE) == {Status.FAILED, Status.VOIDED, Status.EXPIRED}


@st.composite
def captured(draw: st.DrawFn) -> Payment:
    """A payment with some of it given back or being given back."""
    taken = draw(AMOUNTS)
    refunded = draw(st.integers(0, taken))
    return Payment(Status.CAPTURED, taken, taken, refunded, draw(st.integers(0, taken - refunded)))


@given(captured(), st.one_of(st.none(), AMOUNTS))
def test_never_more_is_refunded_than_is_left(payment: Payment, amount: int | None) -> None:
    left = payment.captured - payment.refunded - payment.refunding
    refused = refusal(payment, Kind.REFUND, amount)
    if left > 0 and (amount is None or amount <= left):
        assert refused is None
    else:
        assert refused is not None
        assert refused.problem == "amount-exceeds-captured"
        assert f"{left} is left" in refused.detail


@given(AMOUNTS, st.one_of(st.none(), AMOUNTS))
def test_never_more_is_captured_than_is_held(held: int, amount: int | None) -> None:
    refused = refusal(Payment(Status.AUTHORIZED, held), Kind.CAPTURE, amount)
    assert (refused is None) == (amount is None or amount <= held)
    assert refused is None or refused.problem == "amount-exceeds-authorized"


@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID])
def test_of_capture_and_void_one_is_under_way_at_a_time(kind: Kind) -> None:
    held = Payment(Status.AUTHORIZED, 900)
    assert refusal(held, kind, None) is None
    for busy in ("capture", "void"):
        refused = refusal(replace(held, busy=busy), kind, None)
        assert refused == Refusal("payment-state", f"A {busy} of this payment is under way.")


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID, Kind.REFUND])
def test_what_a_payment_allows_depends_on_where_it_stands(status: Status, kind: Kind) -> None:
    taken = 900 if status is Status.CAPTURED else 0
    refused = refusal(Payment(status, 900, taken), kind, 900)
    if status is (Status.CAPTURED if kind is Kind.REFUND else Status.AUTHORIZED):
        assert refused is None
    else:
        assert refused is not None
        assert refused.problem == "payment-state"
        assert str(status) in refused.detail
