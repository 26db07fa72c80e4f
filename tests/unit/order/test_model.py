"""What an order makes of what it is told, whatever the order and the number of times it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from order.model import Command, Order, Payment, Status, decide, is_news, total

MAX = 2**63 - 1
TOTALS = st.integers(1, MAX)
SALE = ("processing", "captured")
DECLINED = ("processing", "failed")
MANUAL = ("processing", "authorized", "captured")
JOURNEYS = st.sampled_from([SALE, DECLINED, MANUAL, ("processing", "authorized"), ("processing",)])
ENDS = {
    "processing": Status.PENDING_PAYMENT,
    "authorized": Status.AUTHORIZED,
    "captured": Status.PAID,
    "failed": Status.PAYMENT_FAILED,
}
LEGAL = {
    Status.PENDING_PAYMENT: {Status.PAID, Status.AUTHORIZED, Status.PAYMENT_FAILED},
    Status.AUTHORIZED: {Status.PAID},
    Status.PAID: set(),
    Status.PAYMENT_FAILED: set(),
}


def pending(amount: int) -> Order:
    return Order(Status.PENDING_PAYMENT, amount, "EUR")


def snapshots(journey: tuple[str, ...], amount: int, payment_id: str = "p1") -> list[Payment]:
    """What payment would say at each of its versions."""
    return [
        Payment(
            payment_id,
            version,
            status,
            amount,
            "EUR",
            amount if status == "captured" else 0,
            "card_declined" if status == "failed" else None,
        )
        for version, status in enumerate(journey, 1)
    ]


def tell(order: Order, payment: Payment) -> Order:
    if not is_news(order, payment):
        return order
    decision = decide(order, payment)
    return replace(
        order,
        status=decision.status,
        paid_amount=decision.paid_amount,
        payment_id=payment.id,
        payment_version=payment.version,
    )


@given(TOTALS, JOURNEYS, st.data())
def test_duplicated_and_reordered_snapshots_end_where_the_newest_one_leads(
    amount: int, journey: tuple[str, ...], data: st.DataObject
) -> None:
    history = snapshots(journey, amount)
    noise = data.draw(st.lists(st.sampled_from(history), max_size=8))
    told = data.draw(st.permutations([*noise, history[-1]]))
    order = pending(amount)
    for payment in told:
        order = tell(order, payment)
    assert order.status is ENDS[journey[-1]]
    assert order.paid_amount == (amount if journey[-1] == "captured" else 0)
    assert order.payment_version == history[-1].version


@given(TOTALS, JOURNEYS)
def test_what_was_told_already_is_no_news(amount: int, journey: tuple[str, ...]) -> None:
    order = pending(amount)
    history = snapshots(journey, amount)
    for payment in history:
        assert is_news(order, payment)
        order = tell(order, payment)
        assert not any(is_news(order, old) for old in history[: payment.version])


@given(TOTALS, JOURNEYS)
def test_a_newer_snapshot_of_another_payment_is_no_news(amount: int, journey: tuple[str, ...]) -> None:
    order = tell(pending(amount), snapshots(("processing",), amount)[0])
    for stranger in snapshots(journey, amount, "p2"):
        assert not is_news(order, replace(stranger, version=stranger.version + 100))


@given(TOTALS, st.integers(0, MAX), st.sampled_from(["processing", "authorized", "captured", "failed", "voided"]))
def test_paid_means_that_exactly_the_total_was_captured(amount: int, captured: int, status: str) -> None:
    decision = decide(pending(amount), Payment("p1", 2, status, amount, "EUR", captured))
    assert (decision.status is Status.PAID) == (status == "captured" and captured == amount)
    assert decision.paid_amount == (amount if decision.status is Status.PAID else 0)


@given(TOTALS, TOTALS, st.sampled_from(["EUR", "USD"]), JOURNEYS)
def test_another_amount_or_currency_is_not_the_orders_money(
    amount: int, other: int, currency: str, journey: tuple[str, ...]
) -> None:
    payment = replace(snapshots(journey, other)[-1], currency=currency)
    decision = decide(pending(amount), payment)
    if (other, currency) != (amount, "EUR"):
        assert (decision.status, decision.failure_reason) == (Status.PAYMENT_FAILED, "amount_mismatch")
        assert decision.paid_amount == 0


@given(st.integers(0, MAX))
def test_a_new_order_asks_for_its_money_unless_it_is_free(amount: int) -> None:
    decision = decide(pending(amount), None)
    if amount == 0:
        assert (decision.status, decision.paid_amount, decision.commands) == (Status.PAID, 0, ())
    else:
        assert (decision.status, decision.commands) == (Status.PENDING_PAYMENT, (Command.CREATE,))


@given(JOURNEYS, st.integers(1, MAX))
def test_a_free_order_stays_paid_whatever_it_is_told(journey: tuple[str, ...], amount: int) -> None:
    order = Order(Status.PAID, 0, "EUR")
    for payment in snapshots(journey, amount):
        order = tell(order, payment)
        assert (order.status, order.paid_amount) == (Status.PAID, 0)


def test_a_failure_always_has_a_reason() -> None:
    assert decide(pending(1), Payment("p1", 2, "failed", 1, "EUR")).failure_reason == "unknown"
    declined = Payment("p1", 2, "failed", 1, "EUR", failure_reason="card_declined")
    assert decide(pending(1), declined).failure_reason == "card_declined"


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**12)), max_size=100))
def test_a_total_is_the_exact_sum_or_refused(lines: list[tuple[int, int]]) -> None:
    exact = sum(quantity * unit_amount for quantity, unit_amount in lines)
    if exact <= MAX:
        assert total(lines) == exact
    else:
        with pytest.raises(ValueError, match="larger than an amount can be"):
            total(lines)


def test_a_total_may_be_the_largest_amount_and_not_one_more() -> None:
    assert total([(1, MAX)]) == MAX
    with pytest.raises(ValueError, match="larger"):
        total([(1, MAX), (1, 1)])


class AnOrder(RuleBasedStateMachine):
    """A payment moves on; what it says is delivered late, twice, out of order, and mixed with a stranger's."""

    def __init__(self) -> None:
        super().__init__()
        self.order = pending(900)
        self.said = snapshots(("processing",), 900)

    @rule(to=st.sampled_from(["authorized", "captured", "failed"]))
    def the_payment_moves_on(self, to: str) -> None:
        before = self.said[-1]
        if to in {"processing": {"authorized", "captured", "failed"}, "authorized": {"captured"}}.get(
            before.status, set()
        ):
            captured = 900 if to == "captured" else 0
            self.said.append(replace(before, version=before.version + 1, status=to, captured_amount=captured))

    @rule(data=st.data())
    def something_said_is_delivered(self, data: st.DataObject) -> None:
        self._deliver(data.draw(st.sampled_from(self.said)))

    @rule(version=st.integers(1, 9), status=st.sampled_from(["captured", "failed"]))
    def a_stranger_speaks(self, version: int, status: str) -> None:
        if self.order.payment_id is not None:
            before = self.order
            self._deliver(Payment("stranger", version, status, 900, "EUR", 900))
            assert self.order == before

    def _deliver(self, payment: Payment) -> None:
        before = self.order
        self.order = tell(before, payment)
        assert self.order.status == before.status or self.order.status in LEGAL[before.status]
        assert self.order.payment_version >= before.payment_version

    @invariant()
    def paid_is_the_whole_total(self) -> None:
        assert (self.order.status is Status.PAID) == (self.order.paid_amount == self.order.total_amount)

    def teardown(self) -> None:
        self._deliver(self.said[-1])
        assert self.order.status is ENDS[self.said[-1].status]


TestAnOrder = AnOrder.TestCase
