"""How an order follows the snapshots of its payment, in any sequence and with duplicates."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from order.model import (
    FINAL,
    Asked,
    Command,
    Decision,
    LastError,
    Order,
    Outcome,
    Payment,
    Status,
    decide,
    stay,
)
from order.refusals import cancel_refusal, refusal
from order.transition import Answer, apply, is_newer

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
    return Order("o1", Status.PENDING_PAYMENT, amount, "EUR", "pm_ok")


def paid(amount: int, **facts: object) -> Order:
    return replace(pending(amount), status=Status.PAID, paid_amount=amount, **facts)


def snapshots(journey: tuple[str, ...], amount: int, payment_id: str = "p1") -> list[Payment]:
    """Return the snapshot of each version of a payment."""
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


def steps(order: Order, payment: Payment | None, declined: LastError | None = None) -> list[Decision]:
    """Return all decisions that follow, in sequence."""
    order, taken = replace(order, payment=payment), list[Decision]()
    while (decision := decide(order, declined)) != stay(order):
        assert decision.status is order.status or decision.status in LEGAL.get(order.status, set())
        order, declined = follow(order, decision), None
        taken.append(decision)
        assert len(taken) < 10, "the decisions never end"
    return taken


def follow(order: Order, decision: Decision) -> Order:
    command = decision.command
    asked = (Asked("m", command, decision.amount),) if command else ()
    return replace(
        order,
        status=decision.status,
        paid_amount=decision.paid_amount,
        refunded_amount=decision.refunded_amount,
        asked=order.asked + asked,
    )


def end(order: Order, payment: Payment | None, declined: LastError | None = None) -> Order:
    """Return the order after all decisions."""
    for decision in steps(order, payment, declined):
        order = follow(order, decision)
    return order


def deliver(order: Order, payment: Payment, outcome: Outcome | None = None) -> Order:
    """The order after an answer of payment has been applied."""
    ids = (f"m{number}" for number in itertools.count())
    taken = apply(order, Answer(payment, outcome), lambda: next(ids))
    for before, step in zip([order, *(step.after for step in taken)], taken, strict=False):
        assert step.before == before
        assert step.after.version == before.version + 1
    return taken[-1].after if taken else order


@given(TOTALS, JOURNEYS, st.data())
def test_duplicate_and_reordered_snapshots_end_in_the_state_of_the_newest(
    amount: int, journey: tuple[str, ...], data: st.DataObject
) -> None:
    history = snapshots(journey, amount)
    noise = data.draw(st.lists(st.sampled_from(history), max_size=8))
    deliveries = data.draw(st.permutations([*noise, history[-1]]))
    order = pending(amount)
    for payment in deliveries:
        order = deliver(order, payment)
    assert order.status is ENDS[journey[-1]]
    assert order.paid_amount == (amount if journey[-1] == "captured" else 0)
    assert order.payment == history[-1]


@given(TOTALS, JOURNEYS)
def test_a_snapshot_that_is_not_newer_is_no_news(amount: int, journey: tuple[str, ...]) -> None:
    order = pending(amount)
    history = snapshots(journey, amount)
    for payment in history:
        assert is_newer(order, payment)
        order = deliver(order, payment)
        assert not any(is_newer(order, old) for old in history[: payment.version])


@given(TOTALS, JOURNEYS, st.sampled_from(["processing", "authorized", "captured"]))
def test_another_payment_is_ignored_while_the_orders_payment_is_live(
    amount: int, journey: tuple[str, ...], status: str
) -> None:
    known = replace(snapshots((status,), amount)[0], version=1)
    order = replace(pending(amount), payment=known)
    for other in snapshots(journey, amount, "p2"):
        assert not is_newer(order, replace(other, version=other.version + 100))


@given(TOTALS, JOURNEYS, st.sampled_from([DECLINED, VOIDED, EXPIRED]))
def test_a_new_payment_replaces_one_that_failed_and_the_old_one_is_ignored(
    amount: int, journey: tuple[str, ...], over: tuple[str, ...]
) -> None:
    order = deliver(pending(amount), snapshots(over, amount)[-1])
    another = snapshots(journey, amount, "p2")[-1]
    assert is_newer(order, another)
    order = deliver(order, another)
    assert order.payment == another
    assert order.past == frozenset({"p1"})
    for old in snapshots(over, amount):
        assert not is_newer(order, replace(old, version=old.version + 100))


@given(TOTALS, st.integers(0, MAX), st.sampled_from(["processing", "authorized", "captured", "failed", "voided"]))
def test_an_order_is_paid_by_a_capture_of_its_total_or_a_part(amount: int, captured: int, status: str) -> None:
    payment = Payment("p1", 2, status, amount, "EUR", min(captured, amount) if status == "captured" else 0)
    order = end(pending(amount), payment)
    assert (order.status is Status.PAID) == (status == "captured" and captured > 0)
    assert order.paid_amount == payment.captured_amount


@given(TOTALS, TOTALS, st.sampled_from(["EUR", "USD"]), JOURNEYS)
def test_a_payment_of_another_amount_or_currency_does_not_pay_the_order(
    amount: int, other: int, currency: str, journey: tuple[str, ...]
) -> None:
    payment = replace(snapshots(journey, other)[-1], currency=currency)
    decision = decide(replace(pending(amount), payment=payment))
    if (other, currency) != (amount, "EUR"):
        assert (decision.status, decision.failure_reason) == (Status.PAYMENT_FAILED, "amount_mismatch")
        assert decision.paid_amount == 0
        after = end(pending(amount), payment)
        assert (after.status, after.paid_amount) == (Status.PAYMENT_FAILED, 0)
        returned = {"captured": [Command.REFUND], "authorized": [Command.VOID]}.get(payment.status, [])
        assert [asked.command for asked in after.asked] == returned


@given(st.integers(0, MAX))
def test_a_new_order_requests_a_payment_unless_it_is_free(amount: int) -> None:
    decision = decide(pending(amount))
    if amount == 0:
        assert (decision.status, decision.paid_amount, decision.command) == (Status.PAID, 0, None)
    else:
        assert (decision.status, decision.command) == (Status.PENDING_PAYMENT, Command.CREATE)


@given(TOTALS, st.sampled_from(Status))
def test_no_command_is_sent_twice(amount: int, status: Status) -> None:
    order = replace(
        pending(amount), status=status, asked=tuple(Asked(str(n), command) for n, command in enumerate(Command))
    )
    for payment in (None, *snapshots(SALE, amount), *snapshots(MANUAL, amount)):
        assert all(decision.command is None for decision in steps(order, payment))


@given(JOURNEYS, st.integers(1, MAX))
def test_a_free_order_stays_paid_whatever_snapshot_arrives(journey: tuple[str, ...], amount: int) -> None:
    order = paid(0)
    for payment in snapshots(journey, amount):
        order = deliver(order, payment)
        assert (order.status, order.paid_amount) == (Status.PAID, 0)


def test_a_failed_payment_always_has_a_reason() -> None:
    assert decide(replace(pending(1), payment=Payment("p1", 2, "failed", 1, "EUR"))).failure_reason == "unknown"
    declined = Payment("p1", 2, "failed", 1, "EUR", failure_reason="card_declined")
    assert decide(replace(pending(1), payment=declined)).failure_reason == "card_declined"


@pytest.mark.parametrize("status", ["processing", "authorized", "captured"])
def test_an_order_whose_payment_failed_follows_a_new_live_payment_of_its_amount(status: str) -> None:
    failed = replace(pending(900), status=Status.PAYMENT_FAILED, past=frozenset({"p0"}))
    (payment,) = snapshots((status,), 900)
    assert [decision.status for decision in steps(failed, payment)][0] is Status.PENDING_PAYMENT
    assert end(failed, payment).status is ENDS[status]
    for wrong in (replace(payment, amount=899), replace(payment, amount=901), replace(payment, currency="USD")):
        assert end(failed, wrong).status is Status.PAYMENT_FAILED


@pytest.mark.parametrize("status", ["failed", "voided", "expired"])
def test_an_order_whose_payment_failed_ignores_a_payment_that_has_ended(status: str) -> None:
    failed = replace(pending(900), status=Status.PAYMENT_FAILED)
    assert steps(failed, snapshots((status,), 900)[0]) == []


@given(st.integers(2, MAX), st.data())
def test_refunds_are_added_up_and_a_full_refund_makes_the_order_refunded(amount: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, amount))
    payment = replace(snapshots(SALE, amount)[-1], refunded_amount=refunded)
    for order in (paid(amount), pending(amount)):
        after = end(order, payment)
        assert (after.paid_amount, after.refunded_amount) == (amount, refunded)
        assert after.status is (Status.REFUNDED if refunded == amount else Status.PAID)


def canceling(amount: int, **facts: object) -> Order:
    return replace(pending(amount), status=Status.CANCELING, **facts)


def test_a_cancel_waits_for_a_payment_that_was_requested() -> None:
    asked = canceling(900, asked=(Asked("m1", Command.CREATE),))
    assert steps(asked, None) == []
    assert steps(asked, snapshots(("failed",), 900)[0]) == [], "this payment is of an earlier attempt"
    assert end(canceling(900), None).status is Status.CANCELED


def test_a_cancel_waits_for_a_payment_that_is_processing() -> None:
    assert steps(canceling(900), snapshots(("processing",), 900)[0]) == []


def test_a_cancel_voids_an_authorized_payment_and_then_the_order_is_canceled() -> None:
    (held,) = snapshots(("authorized",), 900)
    assert [decision.command for decision in steps(canceling(900), held)] == [Command.VOID]
    for status in ("voided", "failed", "expired"):
        assert end(canceling(900), snapshots((status,), 900)[0]).status is Status.CANCELED


@given(st.integers(0, 900), st.integers(0, 900))
def test_a_cancel_refunds_what_is_neither_refunded_nor_being_refunded(refunded: int, refunding: int) -> None:
    refunding = min(refunding, 900 - refunded)
    payment = replace(snapshots(SALE, 900)[-1], refunded_amount=refunded, refunding_amount=refunding)
    taken = steps(canceling(900), payment)
    after = end(canceling(900), payment)
    left = 900 - refunded - refunding
    assert [decision.amount for decision in taken if decision.command is Command.REFUND] == [left] * (left > 0)
    assert (after.paid_amount, after.refunded_amount) == (900, refunded)
    assert after.status is (Status.CANCELED if refunded == 900 else Status.CANCELING)


@given(st.integers(1, 900), st.data())
def test_a_cancel_whose_refund_is_declined_returns_to_paid_with_the_reason(captured: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, captured - 1))
    payment = replace(snapshots(SALE, 900)[-1], captured_amount=captured, refunded_amount=refunded)
    declined = LastError(Command.REFUND, "no_way")
    first = decide(canceling(900, payment=payment), declined)
    assert (first.status, first.failure_reason, first.command) == (Status.PAID, "no_way", None)
    after = end(canceling(900), payment, declined)
    assert (after.status, after.paid_amount, after.refunded_amount) == (Status.PAID, captured, refunded)


def test_a_cancel_whose_void_is_declined_returns_to_authorized_or_refunds_what_was_captured_meanwhile() -> None:
    declined = LastError(Command.VOID)
    (authorized,) = snapshots(("authorized",), 900)
    first = decide(canceling(900, payment=authorized), declined)
    assert (first.status, first.failure_reason) == (Status.AUTHORIZED, "void_declined")
    captured = replace(snapshots(MANUAL, 900)[-1], captured_amount=400)
    assert [(step.command, step.amount) for step in steps(canceling(900), captured, declined)] == [
        (Command.REFUND, 400)
    ]


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_order_returns_money_that_arrives_afterwards(status: Status) -> None:
    over = replace(pending(900), status=status)
    (authorized,) = snapshots(("authorized",), 500, "p2")
    captured = snapshots(SALE, 500, "p2")[-1]
    assert [(d.status, d.command) for d in steps(over, authorized)] == [(status, Command.VOID)]
    assert [(d.status, d.command, d.amount) for d in steps(over, captured)] == [(status, Command.REFUND, 500)]
    assert steps(over, replace(captured, refunded_amount=500)) == []
    assert steps(over, replace(captured, refunding_amount=500)) == []
    for journey in (DECLINED, ("processing",)):
        assert steps(over, snapshots(journey, 500, "p2")[-1]) == []


@given(st.integers(1, MAX), st.data())
def test_a_cancel_never_counts_a_payment_of_another_amount_as_the_orders(amount: int, data: st.DataObject) -> None:
    other = data.draw(st.integers(1, MAX).filter(lambda other: other != amount))
    for order in (canceling(amount), canceling(0)):
        after = end(order, snapshots(SALE, other, "p2")[-1])
        assert 0 <= after.refunded_amount <= after.paid_amount <= order.total_amount


def test_all_orders_can_be_canceled_except_refunded_and_expired_ones() -> None:
    refused = {status for status in Status if cancel_refusal(replace(pending(1), status=status)) is not None}
    assert refused == {Status.REFUNDED, Status.EXPIRED}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (Command.CREATE, Status.PAYMENT_FAILED),
        (Command.CAPTURE, Status.AUTHORIZED),
        (Command.REFUND, Status.PAID),
    ],
)
def test_each_command_is_allowed_in_one_status(command: Command, allowed: Status) -> None:
    for status in Status:
        refused = refusal(replace(paid(900), status=status), command)
        assert (refused is None) == (status is allowed)
        assert refused is None or (refused.problem == "order-state" and status in refused.detail)


def test_a_capture_is_at_most_the_total_and_joins_one_of_the_same_amount() -> None:
    (held,) = snapshots(("authorized",), 900)
    order = replace(pending(900), status=Status.AUTHORIZED, payment=held)

    def problem(order: Order, amount: int | None) -> str | None:
        refused = refusal(order, Command.CAPTURE, amount)
        return f"{refused.problem}: {refused.detail}" if refused else None

    assert [problem(order, amount) for amount in (None, 1, 900)] == [None] * 3
    assert problem(order, 901) == "amount-exceeds-authorized: Only 900 is authorized."
    under_way = "One capture is carried out at a time: a capture of 400 is under way."
    part = replace(order, asked=(Asked("m1", Command.CAPTURE, 400),))
    assert problem(part, 400) is None
    for other in (None, 399, 900):
        assert problem(part, other) == f"order-state: {under_way}"
    whole = replace(order, asked=(Asked("m1", Command.CAPTURE),))
    assert [problem(whole, amount) for amount in (None, 900)] == [None] * 2
    assert problem(whole, 400) == f"order-state: {under_way.replace('400', '900')}"
    assert problem(whole, 901) == "amount-exceeds-authorized: Only 900 is authorized."


def test_a_refund_is_at_most_what_is_left() -> None:
    order = paid(900, refunded_amount=100, asked=(Asked("r1", Command.REFUND, 300),))
    assert refusal(order, Command.REFUND, 500) is None
    refused = refusal(order, Command.REFUND, 501)
    assert refused is not None
    assert (refused.problem, refused.detail) == ("amount-exceeds-captured", "Of 900 paid, 500 is left to refund.")
    assert refusal(replace(order, refunded_amount=600), Command.REFUND) is not None


class AnOrder(RuleBasedStateMachine):
    """A payment advances. Its snapshots arrive late, twice, out of order, and mixed with those of another payment."""

    def __init__(self) -> None:
        super().__init__()
        self.order = pending(900)
        self.snapshots = snapshots(("processing",), 900)

    @rule(
        to=st.sampled_from(["authorized", "captured", "failed", "voided", "expired"]), part=st.sampled_from([900, 400])
    )
    def advance_the_payment(self, to: str, part: int) -> None:
        before = self.snapshots[-1]
        onward = {
            "processing": {"authorized", "captured", "failed"},
            "authorized": {"captured", "voided", "expired"},
        }
        if to in onward.get(before.status, set()):
            captured = part if to == "captured" else 0
            self.snapshots.append(replace(before, version=before.version + 1, status=to, captured_amount=captured))

    @rule(amount=st.integers(1, 900))
    def refund_the_payment(self, amount: int) -> None:
        before = self.snapshots[-1]
        if amount <= before.held:
            refunded = before.refunded_amount + amount
            self.snapshots.append(replace(before, version=before.version + 1, refunded_amount=refunded))

    @rule(data=st.data())
    def deliver_a_snapshot(self, data: st.DataObject) -> None:
        self._deliver(data.draw(st.sampled_from(self.snapshots)))

    @rule(version=st.integers(1, 9), status=st.sampled_from(["captured", "failed"]))
    def deliver_a_snapshot_of_another_payment(self, version: int, status: str) -> None:
        known = self.order.payment
        if known is not None and known.status in ("processing", "authorized", "captured"):
            before = self.order
            self._deliver(Payment("other", version, status, 900, "EUR", 900))
            assert self.order == before

    def _deliver(self, payment: Payment) -> None:
        version = self.order.payment.version if self.order.payment else 0
        self.order = deliver(self.order, payment)
        assert self.order.payment is None or self.order.payment.version >= version

    @invariant()
    def paid_orders_have_paid_what_was_captured(self) -> None:
        held = self.order.status in (Status.PAID, Status.REFUNDED)
        payment = self.order.payment
        assert held == (self.order.paid_amount > 0)
        assert not held or (payment is not None and self.order.paid_amount == payment.captured_amount)
        assert (self.order.status is Status.REFUNDED) == (held and self.order.refunded_amount == self.order.paid_amount)

    def teardown(self) -> None:
        newest = self.snapshots[-1]
        self._deliver(newest)
        given_back = newest.status == "captured" and newest.held == 0
        assert self.order.status is (Status.REFUNDED if given_back else ENDS[newest.status])


TestAnOrder = AnOrder.TestCase
