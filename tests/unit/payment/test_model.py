"""What follows from the outcome of an operation, and which operations a payment allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payment.model import (
    EXPIRED_NOTE,
    LIVE,
    Kind,
    Operation,
    Outcome,
    Payment,
    Refusal,
    Result,
    Settlement,
    Status,
    is_final,
    opening,
    refusal,
)
from payment.model import settle as settled

AMOUNTS = st.integers(1, 2**63 - 1)
KINDS = st.sampled_from(Kind)
NOTES = st.sampled_from([None, EXPIRED_NOTE, "one was broken"])
DONE = Outcome(Result.SUCCEEDED, "ref")


def settle(
    kind: Kind, amount: int, outcome: Outcome, note: str | None = None, *, final: bool = True, captured: int = 0
) -> Settlement:
    """Settle an operation of a payment of which `captured` is captured before."""
    return settled(
        Operation("demo", "o", "p", kind, amount, "EUR", "pm_ok", 1, "", note=note, final=final, captured=captured),
        outcome,
    )


def amounts(settlement: Settlement) -> tuple[int, int, int, int]:
    return settlement.authorized, settlement.captured, settlement.refunded, settlement.refunding


@given(KINDS, AMOUNTS, st.sampled_from([Result.SUCCEEDED, Result.DECLINED]), NOTES)
def test_the_entries_of_an_operation_sum_to_zero(kind: Kind, amount: int, result: Result, note: str | None) -> None:
    entries = settle(kind, amount, Outcome(result), note).entries
    assert sum(entry.amount if entry.direction == "debit" else -entry.amount for entry in entries) == 0
    assert all(entry.amount > 0 for entry in entries)


@given(KINDS, AMOUNTS, NOTES)
def test_the_entries_record_exactly_what_was_captured_or_refunded(kind: Kind, amount: int, note: str | None) -> None:
    settlement = settle(kind, amount, DONE, note)
    clearing = [entry for entry in settlement.entries if entry.account == "provider_clearing"]
    moved = sum(entry.amount if entry.direction == "debit" else -entry.amount for entry in clearing)
    assert moved == settlement.captured - settlement.refunded
    assert {entry.account for entry in settlement.entries} <= {"provider_clearing", "merchant_payable"}


@given(AMOUNTS)
def test_a_sale_captures_the_whole_amount_and_enters_it_in_the_ledger(amount: int) -> None:
    settlement = settle(Kind.SALE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.CAPTURED, (amount, amount, 0, 0))
    assert [(entry.account, entry.direction, entry.amount) for entry in settlement.entries] == [
        ("provider_clearing", "debit", amount),
        ("merchant_payable", "credit", amount),
    ]


@given(AMOUNTS)
def test_an_authorization_makes_no_ledger_entries(amount: int) -> None:
    settlement = settle(Kind.AUTHORIZE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.AUTHORIZED, (amount, 0, 0, 0))
    assert settlement.entries == ()


@given(AMOUNTS)
def test_a_capture_takes_from_the_authorized_amount(amount: int) -> None:
    settlement = settle(Kind.CAPTURE, amount, DONE)
    assert (settlement.status, amounts(settlement)) == (Status.CAPTURED, (0, amount, 0, 0))
    assert settlement.entries == settle(Kind.SALE, amount, DONE).entries


@given(AMOUNTS, st.integers(0, 2**62))
def test_a_capture_that_is_not_final_keeps_the_payment_authorized(amount: int, captured: int) -> None:
    settlement = settle(Kind.CAPTURE, amount, DONE, final=False, captured=captured)
    assert (settlement.status, amounts(settlement)) == (None, (0, amount, 0, 0))
    assert settlement.entries == settle(Kind.SALE, amount, DONE).entries


@given(AMOUNTS, AMOUNTS, st.sampled_from([None, EXPIRED_NOTE]))
def test_what_is_captured_stays_captured_when_the_rest_is_released(left: int, captured: int, note: str | None) -> None:
    assert settle(Kind.VOID, left, DONE, note, captured=captured) == Settlement(Status.CAPTURED)


@given(AMOUNTS, AMOUNTS)
def test_an_expired_rest_is_released_although_the_provider_declines_the_void(left: int, captured: int) -> None:
    gone = Outcome(Result.DECLINED, None, "authorization_is_gone")
    assert settle(Kind.VOID, left, gone, EXPIRED_NOTE, captured=captured) == Settlement(Status.CAPTURED)
    assert settle(Kind.VOID, left, gone, captured=captured) == Settlement(None)


@given(st.data())
def test_captures_in_parts_never_exceed_what_is_authorized(data: st.DataObject) -> None:
    payment = Payment(Status.AUTHORIZED, data.draw(AMOUNTS))
    while payment.status is Status.AUTHORIZED:
        amount, wanted = data.draw(st.one_of(st.none(), AMOUNTS)), data.draw(st.booleans())
        refused = refusal(payment, Kind.CAPTURE, amount)
        if refused is not None:
            assert (amount or 0) > payment.capturable > 0
            assert refused.problem == "amount-exceeds-authorized"
            break
        taken = amount or payment.capturable
        final = is_final(payment, taken, wanted=wanted)
        done = settle(Kind.CAPTURE, taken, DONE, final=final, captured=payment.captured)
        payment = replace(payment, status=done.status or payment.status, captured=payment.captured + done.captured)
        assert 0 < payment.captured <= payment.authorized
        assert (payment.status is Status.CAPTURED) == (wanted or payment.captured == payment.authorized)


@given(AMOUNTS)
def test_a_refund_turns_the_reserved_amount_into_a_refunded_amount(amount: int) -> None:
    settlement = settle(Kind.REFUND, amount, DONE, "one was broken")
    assert (settlement.status, amounts(settlement)) == (None, (0, 0, amount, -amount))
    assert [(entry.account, entry.direction, entry.amount) for entry in settlement.entries] == [
        ("merchant_payable", "debit", amount),
        ("provider_clearing", "credit", amount),
    ]


@given(AMOUNTS)
def test_a_void_voids_the_payment_and_an_expiry_expires_it(amount: int) -> None:
    assert settle(Kind.VOID, amount, DONE) == Settlement(Status.VOIDED)
    assert settle(Kind.VOID, amount, DONE, EXPIRED_NOTE) == Settlement(Status.EXPIRED)
    gone = Outcome(Result.DECLINED, None, "authorization_is_gone")
    assert settle(Kind.VOID, amount, gone, EXPIRED_NOTE) == Settlement(Status.EXPIRED)


@given(st.sampled_from([Kind.SALE, Kind.AUTHORIZE]), AMOUNTS, st.one_of(st.none(), st.text(min_size=1)))
def test_a_declined_payment_has_failed_with_a_reason(kind: Kind, amount: int, reason: str | None) -> None:
    settlement = settle(kind, amount, Outcome(Result.DECLINED, None, reason))
    assert settlement == Settlement(Status.FAILED, failure_reason=reason or "declined")


@given(AMOUNTS, st.one_of(st.none(), st.text(min_size=1)))
def test_a_declined_capture_void_or_refund_does_not_change_the_payment(amount: int, reason: str | None) -> None:
    declined = Outcome(Result.DECLINED, None, reason)
    assert settle(Kind.CAPTURE, amount, declined) == Settlement(None)
    assert settle(Kind.VOID, amount, declined) == Settlement(None)
    assert settle(Kind.REFUND, amount, declined) == Settlement(None, refunding=-amount)


@given(KINDS, AMOUNTS, NOTES)
def test_an_unknown_outcome_settles_nothing(kind: Kind, amount: int, note: str | None) -> None:
    with pytest.raises(ValueError, match="unknown"):
        settle(kind, amount, Outcome(Result.UNKNOWN), note)


def test_automatic_capture_starts_with_a_sale_and_manual_capture_with_an_authorization() -> None:
    assert opening("automatic") is Kind.SALE
    assert opening("manual") is Kind.AUTHORIZE


def test_only_failed_voided_and_expired_payments_are_not_live() -> None:
    assert set(Status) - set(LIVE) == {Status.FAILED, Status.VOIDED, Status.EXPIRED}


@st.composite
def captured(draw: st.DrawFn) -> Payment:
    """A captured payment, of which a part may be refunded or being refunded."""
    amount = draw(AMOUNTS)
    refunded = draw(st.integers(0, amount))
    return Payment(Status.CAPTURED, amount, amount, refunded, draw(st.integers(0, amount - refunded)))


@given(captured(), st.one_of(st.none(), AMOUNTS))
def test_no_more_can_be_refunded_than_is_left(payment: Payment, amount: int | None) -> None:
    left = payment.captured - payment.refunded - payment.refunding
    refused = refusal(payment, Kind.REFUND, amount)
    if left > 0 and (amount is None or amount <= left):
        assert refused is None
    else:
        assert refused is not None
        assert refused.problem == "amount-exceeds-captured"
        assert f"{left} is left" in refused.detail


@given(AMOUNTS, st.one_of(st.none(), AMOUNTS))
def test_no_more_can_be_captured_than_is_authorized(authorized: int, amount: int | None) -> None:
    refused = refusal(Payment(Status.AUTHORIZED, authorized), Kind.CAPTURE, amount)
    assert (refused is None) == (amount is None or amount <= authorized)
    assert refused is None or refused.problem == "amount-exceeds-authorized"


def test_a_refusal_says_what_is_left_to_capture() -> None:
    refused = refusal(Payment(Status.AUTHORIZED, 900, 300), Kind.CAPTURE, 601)
    assert refused == Refusal("amount-exceeds-authorized", "Of 900 authorized, 600 is left to capture.")
    assert refusal(Payment(Status.AUTHORIZED, 900, 300), Kind.CAPTURE, 600) is None


def test_what_is_captured_is_not_refunded_while_the_rest_is_authorized() -> None:
    refused = refusal(Payment(Status.AUTHORIZED, 900, 300), Kind.REFUND, 300)
    assert refused == Refusal(
        "payment-state", "The payment is authorized: capture or release the rest of it before a refund."
    )


@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID])
def test_one_capture_or_void_is_under_way_at_a_time(kind: Kind) -> None:
    authorized = Payment(Status.AUTHORIZED, 900)
    assert refusal(authorized, kind, None) is None
    for busy in ("capture", "void"):
        refused = refusal(replace(authorized, busy=busy), kind, None)
        assert refused == Refusal("payment-state", f"A {busy} of this payment is under way.")


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID, Kind.REFUND])
def test_the_status_of_a_payment_determines_what_it_allows(status: Status, kind: Kind) -> None:
    amount = 900 if status is Status.CAPTURED else 0
    refused = refusal(Payment(status, 900, amount), kind, 900)
    if status is (Status.CAPTURED if kind is Kind.REFUND else Status.AUTHORIZED):
        assert refused is None
    else:
        assert refused is not None
        assert refused.problem == "payment-state"
        assert str(status) in refused.detail
