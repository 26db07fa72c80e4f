"""What an order makes of what it is told, whatever the order and the number of times it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from order.model import (
    FINAL,
    Command,
    Decision,
    Order,
    Payment,
    Status,
    decide,
    follow,
    is_news,
    total,
    why_not_cancel,
)

MAX = 2**63 - 1
TOTALS = st.integers(1, MAX)
SALE = ("processing", "captured")
DECLINED = ("processing", "failed")
MANUAL = ("processing", "authorized", "captured")
VOIDED = ("processing", "authorized", "voided")
EXPIRED = ("processing", "authorized", "expired")
JOURNEYS = st.sampled_from([SALE, DECLINED, MANUAL, VOIDED, EXPIRED, ("processing", "authorized"), ("processing",)])
ENDS = {
    "processing": Status.PENDING_PAYMENT,
    "authorized": Status.AUTHORIZED,
    "captured": Status.PAID,
    "failed": Status.PAYMENT_FAILED,
    "voided": Status.CANCELED,
    "expired": Status.EXPIRED,
}
LEGAL = {
    Status.PENDING_PAYMENT: {Status.PAID, Status.AUTHORIZED, Status.PAYMENT_FAILED, Status.CANCELING},
    Status.PAYMENT_FAILED: {Status.PENDING_PAYMENT, Status.CANCELED},
    Status.AUTHORIZED: {Status.PAID, Status.CANCELING, Status.EXPIRED},
    Status.PAID: {Status.REFUNDED, Status.CANCELING},
    Status.CANCELING: {Status.CANCELED, Status.PAID, Status.AUTHORIZED},
}


def pending(amount: int) -> Order:
    return Order(Status.PENDING_PAYMENT, amount, "EUR")


def paid(amount: int, **facts: object) -> Order:
    return replace(Order(Status.PAID, amount, "EUR", paid_amount=amount), **facts)  # type: ignore[arg-type]


def snapshots(journey: tuple[str, ...], amount: int, payment_id: str = "p1") -> list[Payment]:
    """What payment would say at each of its versions."""
    return [
        Payment(
            payment_id,
            version,
            status,
            amount,
            "EUR",
            captured_amount=amount if status == "captured" else 0,
            failure_reason="card_declined" if status == "failed" else None,
        )
        for version, status in enumerate(journey, 1)
    ]


def steps(order: Order, payment: Payment | None, declined: str | None = None) -> list[Decision]:
    """Everything that follows, one step after the other."""
    taken: list[Decision] = []
    while True:
        decision = decide(order, payment, declined)
        after = follow(order, decision)
        if after == order:
            return taken
        assert after.status is order.status or after.status in LEGAL.get(order.status, set())
        order, declined = after, None
        taken.append(decision)
        assert len(taken) < 10, "it never ends"


def end(order: Order, payment: Payment | None, declined: str | None = None) -> Order:
    """The order when nothing follows any more."""
    for decision in steps(order, payment, declined):
        order = follow(order, decision)
    return order


def tell(order: Order, known: Payment | None, payment: Payment) -> tuple[Order, Payment | None]:
    if not is_news(order.past, known, payment):
        return order, known
    if known is not None and known.id != payment.id:
        order = replace(order, past=order.past | {known.id})
    return end(order, payment), payment


@given(TOTALS, JOURNEYS, st.data())
def test_duplicated_and_reordered_snapshots_end_where_the_newest_one_leads(
    amount: int, journey: tuple[str, ...], data: st.DataObject
) -> None:
    history = snapshots(journey, amount)
    noise = data.draw(st.lists(st.sampled_from(history), max_size=8))
    told = data.draw(st.permutations([*noise, history[-1]]))
    order, known = pending(amount), None
    for payment in told:
        order, known = tell(order, known, payment)
    assert order.status is ENDS[journey[-1]]
    assert order.paid_amount == (amount if journey[-1] == "captured" else 0)
    assert known == history[-1]


@given(TOTALS, JOURNEYS)
def test_what_was_told_already_is_no_news(amount: int, journey: tuple[str, ...]) -> None:
    order, known = pending(amount), None
    history = snapshots(journey, amount)
    for payment in history:
        assert is_news(order.past, known, payment)
        order, known = tell(order, known, payment)
        assert not any(is_news(order.past, known, old) for old in history[: payment.version])


@given(TOTALS, JOURNEYS, st.sampled_from(["processing", "authorized", "captured"]))
def test_another_payment_is_no_news_while_the_orders_own_is_live(
    amount: int, journey: tuple[str, ...], status: str
) -> None:
    known = replace(snapshots((status,), amount)[0], version=1)
    for stranger in snapshots(journey, amount, "p2"):
        assert not is_news(pending(amount).past, known, replace(stranger, version=stranger.version + 100))


@given(TOTALS, JOURNEYS, st.sampled_from([DECLINED, VOIDED, EXPIRED]))
def test_another_payment_is_news_when_the_orders_own_came_to_nothing_and_the_old_one_never_again(
    amount: int, journey: tuple[str, ...], over: tuple[str, ...]
) -> None:
    order, known = tell(pending(amount), None, snapshots(over, amount)[-1])
    another = snapshots(journey, amount, "p2")[-1]
    assert is_news(order.past, known, another)
    order, known = tell(order, known, another)
    assert known == another
    assert order.past == frozenset({"p1"})
    for old in snapshots(over, amount):
        assert not is_news(order.past, known, replace(old, version=old.version + 100))


@given(TOTALS, st.integers(0, MAX), st.sampled_from(["processing", "authorized", "captured", "failed", "voided"]))
def test_paid_means_that_exactly_the_total_was_captured(amount: int, captured: int, status: str) -> None:
    payment = Payment("p1", 2, status, amount, "EUR", min(captured, amount) if status == "captured" else 0)
    order = end(pending(amount), payment)
    assert (order.status is Status.PAID) == (status == "captured" and captured >= amount)
    assert order.paid_amount == payment.captured_amount


@given(TOTALS, TOTALS, st.sampled_from(["EUR", "USD"]), JOURNEYS)
def test_another_amount_or_currency_is_not_the_orders_money(
    amount: int, other: int, currency: str, journey: tuple[str, ...]
) -> None:
    payment = replace(snapshots(journey, other)[-1], currency=currency)
    decision = decide(pending(amount), payment)
    if (other, currency) != (amount, "EUR"):
        assert (decision.status, decision.failure_reason) == (Status.PAYMENT_FAILED, "amount_mismatch")
        assert decision.paid_amount == 0
        assert end(pending(amount), payment).status is Status.PAYMENT_FAILED


@given(st.integers(0, MAX))
def test_a_new_order_asks_for_its_money_unless_it_is_free(amount: int) -> None:
    decision = decide(pending(amount), None)
    if amount == 0:
        assert (decision.status, decision.paid_amount, decision.command) == (Status.PAID, 0, None)
    else:
        assert (decision.status, decision.command) == (Status.PENDING_PAYMENT, Command.CREATE)


@given(TOTALS, st.sampled_from(Status))
def test_nothing_is_asked_for_twice(amount: int, status: Status) -> None:
    order = replace(pending(amount), status=status, asked=frozenset(Command))
    for payment in (None, *snapshots(SALE, amount), *snapshots(MANUAL, amount)):
        assert all(decision.command is None for decision in steps(order, payment))


@given(JOURNEYS, st.integers(1, MAX))
def test_a_free_order_stays_paid_whatever_it_is_told(journey: tuple[str, ...], amount: int) -> None:
    order, known = Order(Status.PAID, 0, "EUR"), None
    for payment in snapshots(journey, amount):
        order, known = tell(order, known, payment)
        assert (order.status, order.paid_amount) == (Status.PAID, 0)


def test_a_failure_always_has_a_reason() -> None:
    assert decide(pending(1), Payment("p1", 2, "failed", 1, "EUR")).failure_reason == "unknown"
    declined = Payment("p1", 2, "failed", 1, "EUR", failure_reason="card_declined")
    assert decide(pending(1), declined).failure_reason == "card_declined"


@pytest.mark.parametrize("status", ["processing", "authorized", "captured"])
def test_an_order_whose_payment_failed_follows_a_new_live_payment_of_the_right_amount(status: str) -> None:
    failed = replace(pending(900), status=Status.PAYMENT_FAILED, past=frozenset({"p0"}))
    (payment,) = snapshots((status,), 900)
    assert [decision.status for decision in steps(failed, payment)][0] is Status.PENDING_PAYMENT
    assert end(failed, payment).status is ENDS[status]
    for wrong in (replace(payment, amount=899), replace(payment, amount=901), replace(payment, currency="USD")):
        assert steps(failed, wrong) == []


@pytest.mark.parametrize("status", ["failed", "voided", "expired"])
def test_an_order_whose_payment_failed_does_not_follow_one_that_is_over(status: str) -> None:
    failed = replace(pending(900), status=Status.PAYMENT_FAILED)
    assert steps(failed, snapshots((status,), 900)[0]) == []


@given(st.integers(2, MAX), st.data())
def test_refunds_show_and_the_last_one_makes_the_order_refunded(amount: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, amount))
    payment = replace(snapshots(SALE, amount)[-1], refunded_amount=refunded)
    for order in (paid(amount), pending(amount)):
        after = end(order, payment)
        assert (after.paid_amount, after.refunded_amount) == (amount, refunded)
        assert after.status is (Status.REFUNDED if refunded == amount else Status.PAID)


def canceling(amount: int, **facts: object) -> Order:
    return replace(pending(amount), status=Status.CANCELING, **facts)  # type: ignore[arg-type]


def test_a_cancel_waits_for_a_payment_that_has_been_asked_for() -> None:
    asked = canceling(900, asked=frozenset({Command.CREATE}))
    assert steps(asked, None) == []
    assert steps(asked, snapshots(("failed",), 900)[0]) == [], "it is of an earlier attempt"
    assert end(canceling(900), None).status is Status.CANCELED


def test_a_cancel_waits_for_a_payment_that_is_under_way() -> None:
    assert steps(canceling(900), snapshots(("processing",), 900)[0]) == []


def test_a_cancel_gives_back_what_is_held_and_then_is_over() -> None:
    (held,) = snapshots(("authorized",), 900)
    assert [decision.command for decision in steps(canceling(900), held)] == [Command.VOID]
    for status in ("voided", "failed", "expired"):
        assert end(canceling(900), snapshots((status,), 900)[0]).status is Status.CANCELED


@given(st.integers(0, 900), st.integers(0, 900))
def test_a_cancel_asks_for_what_is_left_and_not_being_given_back_already(refunded: int, refunding: int) -> None:
    refunding = min(refunding, 900 - refunded)
    payment = replace(snapshots(SALE, 900)[-1], refunded_amount=refunded, refunding_amount=refunding)
    taken = steps(canceling(900), payment)
    after = end(canceling(900), payment)
    left = 900 - refunded - refunding
    assert [decision.refund_amount for decision in taken if decision.command is Command.REFUND] == [left] * (left > 0)
    assert (after.paid_amount, after.refunded_amount) == (900, refunded)
    assert after.status is (Status.CANCELED if refunded == 900 else Status.CANCELING)


@given(st.integers(0, 899))
def test_a_cancel_whose_refund_is_declined_returns_to_paid_and_says_why(refunded: int) -> None:
    payment = replace(snapshots(SALE, 900)[-1], refunded_amount=refunded)
    first = decide(canceling(900), payment, declined="refund_declined")
    assert (first.status, first.failure_reason, first.command) == (Status.PAID, "refund_declined", None)
    after = end(canceling(900), payment, declined="refund_declined")
    assert (after.status, after.paid_amount, after.refunded_amount) == (Status.PAID, 900, refunded)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_an_order_that_is_over_keeps_no_money_that_comes_afterwards(status: Status) -> None:
    over = replace(pending(900), status=status)
    (authorized,) = snapshots(("authorized",), 500, "p2")
    captured = snapshots(SALE, 500, "p2")[-1]
    assert [(d.status, d.command) for d in steps(over, authorized)] == [(status, Command.VOID)]
    assert [(d.status, d.command, d.refund_amount) for d in steps(over, captured)] == [(status, Command.REFUND, 500)]
    assert steps(over, replace(captured, refunded_amount=500)) == []
    assert steps(over, replace(captured, refunding_amount=500)) == []
    for journey in (DECLINED, ("processing",)):
        assert steps(over, snapshots(journey, 500, "p2")[-1]) == []


@given(st.integers(1, MAX), st.data())
def test_a_cancel_of_somebody_elses_money_never_shows_it_as_the_orders(amount: int, data: st.DataObject) -> None:
    other = data.draw(st.integers(1, MAX).filter(lambda other: other != amount))
    for order in (canceling(amount), canceling(0)):
        after = end(order, snapshots(SALE, other, "p2")[-1])
        assert 0 <= after.refunded_amount <= after.paid_amount <= order.total_amount


def test_what_can_be_canceled() -> None:
    refused = {status for status in Status if why_not_cancel(replace(pending(1), status=status)) is not None}
    assert refused == {Status.REFUNDED, Status.EXPIRED}


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
        self.known: Payment | None = None
        self.said = snapshots(("processing",), 900)

    @rule(to=st.sampled_from(["authorized", "captured", "failed", "voided", "expired"]))
    def the_payment_moves_on(self, to: str) -> None:
        before = self.said[-1]
        propagated_headers = {
            "processing": {"authorized", "captured", "failed"},
            "authorized": {"captured", "voided", "expired"},
        }
        if to in propagated_headers.get(before.status, set()):
            captured = 900 if to == "captured" else 0
            self.said.append(replace(before, version=before.version + 1, status=to, captured_amount=captured))

    @rule(amount=st.integers(1, 900))
    def money_is_given_back(self, amount: int) -> None:
        before = self.said[-1]
        if amount <= before.held:
            refunded = before.refunded_amount + amount
            self.said.append(replace(before, version=before.version + 1, refunded_amount=refunded))

    @rule(data=st.data())
    def something_said_is_delivered(self, data: st.DataObject) -> None:
        self._deliver(data.draw(st.sampled_from(self.said)))

    @rule(version=st.integers(1, 9), status=st.sampled_from(["captured", "failed"]))
    def a_stranger_speaks(self, version: int, status: str) -> None:
        if self.known is not None and self.known.status in ("processing", "authorized", "captured"):
            before = self.order
            self._deliver(Payment("stranger", version, status, 900, "EUR", 900))
            assert self.order == before

    def _deliver(self, payment: Payment) -> None:
        version = self.known.version if self.known else 0
        self.order, self.known = tell(self.order, self.known, payment)
        assert self.known is None or self.known.version >= version

    @invariant()
    def paid_is_the_whole_total(self) -> None:
        held = self.order.status in (Status.PAID, Status.REFUNDED)
        assert held == (self.order.paid_amount == self.order.total_amount)
        assert (self.order.status is Status.REFUNDED) == (self.order.refunded_amount == self.order.total_amount)

    def teardown(self) -> None:
        newest = self.said[-1]
        self._deliver(newest)
        given_back = newest.status == "captured" and newest.held == 0
        assert self.order.status is (Status.REFUNDED if given_back else ENDS[newest.status])


TestAnOrder = AnOrder.TestCase
