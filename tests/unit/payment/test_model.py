"""What an operation's outcome makes of a payment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.model import LIVE, Kind, Outcome, Result, Status, opening, settle

AMOUNTS = st.integers(1, 2**63 - 1)
KINDS = st.sampled_from(Kind)


@given(KINDS, AMOUNTS, st.sampled_from([Result.SUCCEEDED, Result.DECLINED]))
def test_the_entries_of_an_operation_sum_to_zero(kind: Kind, amount: int, result: Result) -> None:
    entries = settle(kind, amount, Outcome(result)).entries
    assert sum(entry.amount if entry.direction == "debit" else -entry.amount for entry in entries) == 0
    assert all(entry.amount > 0 for entry in entries)


@given(KINDS, AMOUNTS, st.sampled_from([Result.SUCCEEDED, Result.DECLINED]))
def test_money_is_never_taken_beyond_what_is_held_nor_held_beyond_what_was_asked(
    kind: Kind, amount: int, result: Result
) -> None:
    settlement = settle(kind, amount, Outcome(result))
    assert 0 <= settlement.captured <= settlement.authorized <= amount


@given(AMOUNTS)
def test_a_sale_takes_the_whole_amount_and_writes_it_down(amount: int) -> None:
    settlement = settle(Kind.SALE, amount, Outcome(Result.SUCCEEDED, "ref"))
    assert (settlement.status, settlement.authorized, settlement.captured) == (Status.CAPTURED, amount, amount)
    assert [(entry.account, entry.direction, entry.amount) for entry in settlement.entries] == [
        ("provider_clearing", "debit", amount),
        ("merchant_payable", "credit", amount),
    ]


@given(AMOUNTS)
def test_an_authorization_holds_money_and_writes_nothing_to_the_ledger(amount: int) -> None:
    settlement = settle(Kind.AUTHORIZE, amount, Outcome(Result.SUCCEEDED, "ref"))
    assert (settlement.status, settlement.authorized, settlement.captured) == (Status.AUTHORIZED, amount, 0)
    assert settlement.entries == ()


@given(KINDS, AMOUNTS, st.one_of(st.none(), st.text(min_size=1)))
def test_a_decline_moves_nothing_and_has_a_reason(kind: Kind, amount: int, reason: str | None) -> None:
    settlement = settle(kind, amount, Outcome(Result.DECLINED, None, reason))
    assert (settlement.status, settlement.authorized, settlement.captured) == (Status.FAILED, 0, 0)
    assert settlement.entries == ()
    assert settlement.failure_reason == (reason or "declined")


@given(KINDS, AMOUNTS)
def test_an_unknown_outcome_settles_nothing(kind: Kind, amount: int) -> None:
    with pytest.raises(ValueError, match="unknown"):
        settle(kind, amount, Outcome(Result.UNKNOWN))


def test_automatic_capture_sells_and_manual_capture_authorizes() -> None:
    assert opening("automatic") is Kind.SALE
    assert opening("manual") is Kind.AUTHORIZE


def test_a_failed_payment_lets_another_be_made_and_no_other_does() -> None:
    assert set(Status) - set(LIVE) == {Status.FAILED}
