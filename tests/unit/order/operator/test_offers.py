"""Which actions an operator is offered for an order, what they say, and which amounts and reasons are accepted."""

from __future__ import annotations

import pytest

from order.model import Asked, Command, Order, Status
from order.operator import offers, views


def order(status: Status, **facts: int) -> Order:
    return Order("o", status, 900, "EUR", "pm_ok", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "facts", "names"),
    [
        (Status.PENDING_PAYMENT, {}, ["cancel"]),
        (Status.AUTHORIZED, {}, ["capture", "capture_part", "cancel"]),
        (Status.AUTHORIZED, {"paid_amount": 300}, ["capture", "capture_part", "release", "cancel"]),
        (Status.PAID, {"paid_amount": 900}, ["refund", "cancel"]),
        (Status.PAID, {"paid_amount": 900, "refunded_amount": 900}, ["cancel"]),
        (Status.PAYMENT_FAILED, {}, ["cancel"]),
        (Status.CANCELING, {"paid_amount": 900}, []),
        (Status.CANCELED, {}, []),
        (Status.REFUNDED, {"paid_amount": 900, "refunded_amount": 900}, []),
        (Status.EXPIRED, {}, []),
    ],
)
def test_only_what_the_order_allows_is_offered(status: Status, facts: dict[str, int], names: list[str]) -> None:
    assert offers.allowed(order(status, **facts)) == names


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (Status.PENDING_PAYMENT, "The payment of 9.00 EUR is stopped if it has not begun"),
        (Status.AUTHORIZED, "The authorization of 9.00 EUR is released. No money moves."),
        (Status.PAYMENT_FAILED, "No money moves: nothing was paid."),
    ],
)
def test_a_cancellation_says_what_happens_to_the_money(status: Status, sentence: str) -> None:
    assert sentence in " ".join(offers.consequences("cancel", order(status), None))


def test_refunds_in_progress_are_not_returned_again() -> None:
    asked = (Asked("r", Command.REFUND, 400),)
    paid = Order("o", Status.PAID, 900, "EUR", "pm_ok", paid_amount=900, asked=asked)
    assert "5.00 EUR is returned" in " ".join(offers.consequences("cancel", paid, None))
    assert offers.largest_amount("refund", paid) == 500


def test_a_capture_in_progress_is_mentioned() -> None:
    asked = (Asked("c", Command.CAPTURE),)
    authorized = Order("o", Status.AUTHORIZED, 900, "EUR", "pm_ok", "manual", asked=asked)
    assert "What it takes is returned." in " ".join(offers.consequences("cancel", authorized, None))


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("4.50", "EUR", 450), (" 4.5 ", "EUR", 450), ("4", "EUR", 400), ("450", "JPY", 450), ("1.234", "KWD", 1234)],
)
def test_an_amount_is_read_in_the_currencys_major_units(text: str, currency: str, minor: int) -> None:
    assert offers.parse_amount(text, currency) == minor


@pytest.mark.parametrize("text", ["4.5", "0", "", "1 000", "1,000", "+1", "0x1", "NaN", "Infinity", "1e2", "９"])
def test_an_amount_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has|is) "):
        offers.parse_amount(text, "JPY")


@pytest.mark.parametrize("text", ["", "   ", "x" * 201, "a\nb", "a\x7fb", "a\ud800b", "5555 5555 5555 4444"])
def test_a_reason_that_is_not_valid_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|must) ") as error:
        offers.parse_reason(text)
    assert not text.strip() or text not in str(error.value)


def test_a_reason_may_have_any_language_and_ids() -> None:
    text = "Rückgabe, 返品, order 01a224ba-135d-7395-9062-e270fad59a19"
    assert offers.parse_reason(f" {text} ") == text


def test_each_action_ends_with_a_message() -> None:
    assert set(offers.LABELS) == {*offers.MONEY, *offers.RETRIES}
    assert set(offers.LABELS) <= set(views.MESSAGES)
