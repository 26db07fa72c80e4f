"""A state machine over both services: the invariants hold after each step, and once all work has come to rest.

Messages between the services are duplicated, reordered, dropped and delayed; the provider declines, loses requests and
loses responses; merchants cancel, capture, refund and pay again, at order or directly at payment.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import order.model as orders
import payment.model as payments
from order.model import Command
from payment.model import Kind, Outcome
from tests.unit.world import WAITING, Mail, OperationRow, OrderRow, PaymentRow, PaymentService, Request

T = TypeVar("T")

TOTAL = 900
ORDER_PATHS = {
    "pending_payment": {"paid", "authorized", "payment_failed", "canceling"},
    "payment_failed": {"pending_payment", "canceled"},
    "authorized": {"paid", "canceling", "expired"},
    "paid": {"refunded", "canceling"},
    "canceling": {"canceled", "paid", "authorized"},
}
PAYMENT_PATHS = {
    "processing": {"authorized", "captured", "failed"},
    "authorized": {"captured", "voided", "expired"},
}
SWEPT = (*sorted(WAITING), orders.Status.AUTHORIZED, orders.Status.PAID)
HOLDING = (payments.Status.PROCESSING, payments.Status.AUTHORIZED)
METHODS = st.sampled_from(["pm_ok", "pm_ok", "pm_declined", "pm_refund_declined"])
CAPTURES = st.sampled_from(["automatic", "manual"])
FAULTS = st.sampled_from(["none", "none", "request lost", "answer lost"])
PICKS = st.integers(0, 255)
PARTS = st.sampled_from([None, 300, 500, 1000])


def pick(things: Sequence[T], number: int) -> T:
    """Return the element that `number` selects."""
    return things[number % len(things)]


class Simulation(RuleBasedStateMachine):
    """The rules that hypothesis applies in any order, and the invariants that it checks after each."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.orders: dict[str, OrderRow] = {}
        self.payment = PaymentService(self.numbers)
        self.to_payment: list[Request] = []
        self.to_order: list[Mail] = []
        self.late: list[tuple[OperationRow, int, Outcome]] = []
        self.changed_at_payment: set[str] = set()
        self.newest: dict[tuple[str, str], int] = {}
        self.left: set[tuple[str, str]] = set()
        self.direct_calls = self.expiring = False
        self.steps = self.calm_since = 0

    # Merchants, at order.

    @initialize(direct_calls=st.booleans(), expiring=st.booleans(), method=METHODS, capture=CAPTURES)
    def start(self, direct_calls: bool, expiring: bool, method: str, capture: str) -> None:
        self.direct_calls, self.expiring = direct_calls, expiring
        self.an_order_is_placed(method, "manual" if expiring else capture, TOTAL)

    @precondition(lambda self: sum(order.facts.status not in orders.FINAL for order in self.orders.values()) < 2)
    @rule(method=METHODS, capture=CAPTURES, total=st.sampled_from([TOTAL, 0]))
    def an_order_is_placed(self, method: str, capture: str, total: int) -> None:
        order_id = f"order-{len(self.orders) + 1}"
        self.orders[order_id] = OrderRow(order_id, total, method, capture, self.numbers)

    @precondition(lambda self: self._orders() and self.steps % 3 == 0)
    @rule(which=PICKS)
    def an_order_is_canceled(self, which: int) -> None:
        order = pick(self._orders(), which)
        before = order.facts
        if order.cancel() is not None:
            assert order.facts == before

    @precondition(lambda self: self._orders(orders.Status.AUTHORIZED))
    @rule(which=PICKS, amount=PARTS)
    def an_order_is_captured(self, which: int, amount: int | None) -> None:
        pick(self._orders(orders.Status.AUTHORIZED), which).capture(amount)

    @precondition(lambda self: self._orders(orders.Status.PAID) and self.steps % 2)
    @rule(which=PICKS, amount=PARTS)
    def an_order_is_refunded(self, which: int, amount: int | None) -> None:
        pick(self._orders(orders.Status.PAID), which).refund(amount)

    @precondition(lambda self: self._orders(orders.Status.PAYMENT_FAILED))
    @rule(which=PICKS, method=METHODS)
    def another_payment_method_is_tried(self, which: int, method: str) -> None:
        pick(self._orders(orders.Status.PAYMENT_FAILED), which).pay_again(method)

    # Merchants that call payment directly. Order learns of it only from events.

    @precondition(lambda self: self.direct_calls and self.steps % 3 == 1)
    @rule(which=PICKS, amount=st.sampled_from([TOTAL, TOTAL, 500, 1000]), method=METHODS, capture=CAPTURES)
    def a_payment_is_created_at_payment(self, which: int, amount: int, method: str, capture: str) -> None:
        order = pick(list(self.orders.values()), which)
        self.changed_at_payment.add(order.id)
        self.payment.create(f"k{next(self.numbers)}", order.id, amount, method, capture)

    @precondition(lambda self: self.payment.rows and self.direct_calls and self.steps % 3 == 2)
    @rule(which=PICKS, kind=st.sampled_from([Kind.CAPTURE, Kind.VOID, Kind.REFUND]), amount=PARTS)
    def a_payment_is_changed_at_payment(self, which: int, kind: Kind, amount: int | None) -> None:
        row = pick(list(self.payment.rows.values()), which)
        self.changed_at_payment.add(row.order_id)
        key = f"k{next(self.numbers)}"
        first = self.payment.act(key, row.id, kind, None if kind is Kind.VOID else amount)
        if isinstance(first, OperationRow):
            assert self.payment.act(key, row.id, kind, None if kind is Kind.VOID else amount) is first

    # Requests, responses and events between order and payment.

    @precondition(lambda self: self._asking() and self.steps % 2)
    @rule(which=PICKS)
    def the_relay_sends_a_command(self, which: int) -> None:
        request = pick(self._asking(), which).claim()
        assert request is not None
        self.to_payment.append(request)

    @precondition(lambda self: self.to_payment)
    @rule(which=PICKS, again=st.booleans(), at_once=st.booleans(), fault=FAULTS)
    def a_command_arrives(self, which: int, again: bool, at_once: bool, fault: str) -> None:
        request = pick(self.to_payment, which)
        if not again:
            self.to_payment.remove(request)
        mail = self.payment.carry_out(request)
        if at_once:
            for tried in self.payment.unsettled():
                if tried.key == request.sent.id:
                    self.payment.settle(*self.payment.attempt(tried, fault))
            mail = self.payment.carry_out(request)
        if mail is not None:
            self.to_order.append(mail)

    @precondition(lambda self: self.to_order)
    @rule(which=PICKS, again=st.booleans())
    def order_receives_a_response_or_event(self, which: int, again: bool) -> None:
        mail = pick(self.to_order, which)
        if not again:
            self.to_order.remove(mail)
        self.orders[mail.order_id].receive(mail)

    @precondition(lambda self: (self.to_payment or self.to_order) and self.steps % 5 == 1)
    @rule(which=PICKS)
    def a_message_is_lost(self, which: int) -> None:
        bags: list[list[Request] | list[Mail]] = [bag for bag in (self.to_payment, self.to_order) if bag]
        bag = pick(bags, which)
        bag.pop(which % len(bag))

    @precondition(lambda self: self._orders(*SWEPT) and self.steps % 4 == 0)
    @rule(which=PICKS)
    def the_sweep_sends_again(self, which: int) -> None:
        pick(self._orders(*SWEPT), which).sweep()

    # The provider, and the executor that calls it.

    @precondition(lambda self: self.payment.unsettled())
    @rule(which=PICKS, fault=FAULTS, late=st.booleans())
    def an_operation_is_attempted(self, which: int, fault: str, late: bool) -> None:
        outcome = self.payment.attempt(pick(self.payment.unsettled(), which), fault)
        if late:
            self.late.append(outcome)
        else:
            self.payment.settle(*outcome)

    @precondition(lambda self: self.late)
    @rule(which=PICKS)
    def a_late_outcome_is_settled(self, which: int) -> None:
        self.payment.settle(*self.late.pop(which % len(self.late)))

    @precondition(lambda self: self.expiring and self._authorized())
    @rule(which=PICKS, by_itself=st.booleans())
    def an_authorization_expires(self, which: int, by_itself: bool) -> None:
        row = pick(self._authorized(), which)
        if by_itself:
            self.payment.provider.expired.add(row.id)
        else:
            self._expire(row)

    @precondition(lambda self: not (self.to_payment or self.to_order or self.payment.unsettled()))
    @rule()
    def nothing_is_under_way(self) -> None:
        """Give hypothesis a rule that applies when no other one does."""

    @precondition(lambda self: self.steps - self.calm_since > 20)
    @rule()
    def all_work_comes_to_rest(self) -> None:
        self._calm()
        self.calm_since = self.steps

    def _orders(self, *where: orders.Status) -> list[OrderRow]:
        """Return the orders with one of these statuses, or all orders."""
        return [order for order in self.orders.values() if order.facts.status in (where or orders.Status)]

    def _asking(self) -> list[OrderRow]:
        return [order for order in self.orders.values() if any(not asked.delivered for asked in order.outbox)]

    def _authorized(self) -> list[PaymentRow]:
        return [row for row in self.payment.rows.values() if row.facts.status is payments.Status.AUTHORIZED]

    def _expire(self, row: PaymentRow) -> None:
        if row.facts.status is payments.Status.AUTHORIZED:
            self.payment.act(f"k{next(self.numbers)}", row.id, Kind.VOID, None, payments.EXPIRED_NOTE)

    def _calm(self) -> None:
        """End the faults and run all loops until nothing is left to do. Fails after 40 rounds."""
        for _ in range(40):
            while self.late:
                self.payment.settle(*self.late.pop())
            for tried in self.payment.unsettled():
                self.payment.settle(*self.payment.attempt(tried, "none"))
            for row in self.payment.rows.values():
                if row.id in self.payment.provider.expired:
                    self._expire(row)
            self._collect()
            # Order learns only from events what was done directly at payment. Payment's relay sends them, in order,
            # until they are delivered. For order's own commands the sweep is enough.
            for row in self.payment.rows.values():
                if row.order_id in self.changed_at_payment:
                    self.to_order += self.payment.told(row)
            for order in self.orders.values():
                order.sweep()
                request = order.claim()
                if request is not None:
                    self.to_payment.append(request)
            while self.to_payment:
                answered = self.payment.carry_out(self.to_payment.pop(0))
                self.to_order += [answered] if answered is not None else []
            while self.to_order:
                mail = self.to_order.pop(0)
                self.orders[mail.order_id].receive(mail)
            if self._is_quiet():
                return
        raise AssertionError(f"something never comes to rest: {self._unfinished()}")

    def _is_quiet(self) -> bool:
        return not self._unfinished()

    def _unfinished(self) -> list[str]:
        waiting = [f"{order.id} is {order.facts.status}" for order in self.orders.values() if self._waits(order)]
        refunds = [
            f"{order.id} has a refund that is pending"
            for order in self.orders.values()
            if None in order.refunds.values()
        ]
        operations = [f"{tried.operation.kind} is pending" for tried in self.payment.unsettled()]
        return [*waiting, *refunds, *operations, *["an event is under way"] * len(self.payment.events)]

    def _waits(self, order: OrderRow) -> bool:
        return order.facts.status in WAITING or any(not asked.delivered for asked in order.outbox)

    def _collect(self) -> None:
        self.to_order += self.payment.events
        self.payment.events = []

    # The invariants.

    @invariant()
    def all_invariants_hold(self) -> None:
        self.steps += 1
        self._collect()
        self._the_provider_acted_at_most_once()
        self._amounts_are_within_their_limits()
        self._an_order_and_its_payment_agree_on_amounts()
        self._a_canceled_order_holds_no_money()
        self._snapshots_only_get_newer()
        self._every_operation_balances()
        self._settled_outcomes_are_those_of_the_provider()
        self._histories_contain_only_legal_transitions()
        self._one_intent_is_one_command()

    def _the_provider_acted_at_most_once(self) -> None:
        for row in self.payment.rows.values():
            provider = self.payment.provider
            assert len(provider.done(row.id, Kind.SALE, Kind.AUTHORIZE)) <= 1
            assert len(provider.done(row.id, Kind.SALE, Kind.CAPTURE)) <= 1
            assert len(provider.done(row.id, Kind.SALE, Kind.CAPTURE, Kind.VOID)) <= 1

    def _amounts_are_within_their_limits(self) -> None:
        for row in self.payment.rows.values():
            facts, done = row.facts, self.payment.provider.done
            assert 0 <= facts.refunded <= facts.refunded + facts.refunding <= facts.captured
            assert facts.captured <= facts.authorized <= row.amount
            pending = [tried.operation for tried in self.payment.unsettled() if tried.operation.payment_id == row.id]
            assert sum(operation.kind in (Kind.CAPTURE, Kind.VOID) for operation in pending) <= 1
            assert sum(o.amount for o in pending if o.kind is Kind.REFUND) == facts.refunding
            authorized, captured = done(row.id, Kind.SALE, Kind.AUTHORIZE), done(row.id, Kind.SALE, Kind.CAPTURE)
            assert sum(done(row.id, Kind.REFUND)) <= sum(captured) <= sum(authorized) <= row.amount
        for order in self.orders.values():
            assert 0 <= order.facts.refunded_amount <= order.facts.paid_amount <= order.facts.total_amount
            pending_refunds = {asked.id for asked in order.facts.asked if asked.command is Command.REFUND}
            assert pending_refunds == {name for name, outcome in order.refunds.items() if outcome is None}

    def _an_order_and_its_payment_agree_on_amounts(self) -> None:
        for order in self.orders.values():
            facts = order.facts
            if facts.status is orders.Status.PAID and facts.total_amount > 0:
                assert facts.refunded_amount < facts.paid_amount <= facts.total_amount
            if facts.status is orders.Status.REFUNDED:
                assert 0 < facts.refunded_amount == facts.paid_amount
            if facts.status in (orders.Status.PENDING_PAYMENT, orders.Status.AUTHORIZED):
                assert facts.paid_amount == 0
            if facts.paid_amount:
                assert order.payment is not None
                assert self.payment.rows[order.payment.id].facts.captured == facts.paid_amount

    def _a_canceled_order_holds_no_money(self) -> None:
        for order in self.orders.values():
            if order.facts.status is orders.Status.CANCELED and order.id not in self.changed_at_payment:
                assert self._net(order) == 0
                assert not any(row.facts.status in HOLDING for row in self._payments_of(order.id))

    def _snapshots_only_get_newer(self) -> None:
        for order in self.orders.values():
            if order.payment is not None:
                this = (order.id, order.payment.id)
                assert this not in self.left
                assert order.payment.version >= self.newest.get(this, 0)
                self.newest[this] = order.payment.version
            self.left |= {(order.id, past) for past in order.facts.past}

    def _every_operation_balances(self) -> None:
        sums: dict[str, int] = {}
        for operation_id, entry in self.payment.ledger:
            assert entry.amount > 0
            sums[operation_id] = sums.get(operation_id, 0) + _signed(entry)
        assert not any(sums.values())

    def _settled_outcomes_are_those_of_the_provider(self) -> None:
        assert set(self.payment.provider.books) <= set(self.payment.operations), (
            "the provider executed an unknown operation"
        )
        for operation_id, tried in self.payment.operations.items():
            if tried.status is not None:
                done = self.payment.provider.books.get(operation_id)
                assert done is not None, "settled, but never executed by the provider"
                assert done[1].result is tried.status
        keys = [tried.key for tried in self.payment.operations.values()]
        assert len(set(keys)) == len(keys), "two operations have the same key"

    def _histories_contain_only_legal_transitions(self) -> None:
        for order in self.orders.values():
            _legal(order.history, ORDER_PATHS)
            assert order.facts.version == len(order.history)
        for row in self.payment.rows.values():
            _legal(row.history, PAYMENT_PATHS)
            assert row.versions == list(range(1, len(row.history) + 1))
            assert row.order_id in self.orders
        for order_id in self.orders:
            live = [row for row in self._payments_of(order_id) if row.facts.status in payments.LIVE]
            assert len(live) <= 1

    def _one_intent_is_one_command(self) -> None:
        for order in self.orders.values():
            # Each payment that an order ever had may have to be voided once when the order is final.
            payments_known = len(self._payments_of(order.id))
            bounds = {
                Command.CREATE: 1 + order.requests[Command.CREATE],
                Command.CAPTURE: order.requests[Command.CAPTURE],
                Command.VOID: order.requests[Command.VOID] + payments_known,
                # A cancel refunds the rest again if a refund made at payment came in between.
                Command.REFUND: order.requests[Command.REFUND]
                + order.requests[Command.VOID]
                + payments_known
                + self._refunds_at_payment(order.id),
            }
            for command, bound in bounds.items():
                assert order.commands(command) <= bound, f"{command} was sent {order.commands(command)} times"
                waiting = [asked for asked in order.facts.asked if asked.command is command]
                assert command in (Command.CREATE, Command.REFUND) or len(waiting) <= 1

    def _refunds_at_payment(self, order_id: str) -> int:
        rows = {row.id for row in self._payments_of(order_id)}
        operations = (tried.operation for tried in self.payment.operations.values())
        return sum(operation.kind is Kind.REFUND and operation.payment_id in rows for operation in operations)

    def teardown(self) -> None:
        self._calm()
        for order in self.orders.values():
            self._agrees(order)
        clearing = sum(_signed(entry) for _, entry in self.payment.ledger if entry.account == "provider_clearing")
        assert clearing == sum(self._net(order) for order in self.orders.values())
        for operation_id, (operation, outcome) in self.payment.provider.books.items():
            assert self.payment.operations[operation_id].status is outcome.result
            assert self.payment.operations[operation_id].operation.amount == operation.amount
        for row in self.payment.rows.values():
            assert row.facts.captured - row.facts.refunded == self.payment.provider.net(row.id)
            assert (row.facts.refunding, row.facts.busy) == (0, None)

    def _agrees(self, order: OrderRow) -> None:
        """Check, once all work has come to rest, that the amounts of the order equal those of the provider."""
        status, facts = order.facts.status, order.facts
        if status in (orders.Status.PAID, orders.Status.REFUNDED) and facts.total_amount > 0:
            assert self._net(order) == facts.paid_amount - facts.refunded_amount
        if status in (orders.Status.CANCELED, orders.Status.EXPIRED, orders.Status.PAYMENT_FAILED) or self._is_free(
            order
        ):
            # Money that the order does not keep is returned, unless the provider declines that: then the order says so.
            held = self._net(order) or any(row.facts.status in HOLDING for row in self._payments_of(order.id))
            assert not held or facts.last_error is not None
        assert order.facts.refunding_amount == 0
        assert order.facts.asked == ()
        newest = [row for row in self._payments_of(order.id) if row.facts.status in payments.LIVE]
        if newest and order.payment is not None and facts.status is not orders.Status.PAYMENT_FAILED:
            assert order.payment == newest[0].snapshot()

    def _is_free(self, order: OrderRow) -> bool:
        return order.facts.total_amount == 0

    def _payments_of(self, order_id: str) -> list[PaymentRow]:
        return [row for row in self.payment.rows.values() if row.order_id == order_id]

    def _net(self, order: OrderRow) -> int:
        return sum(self.payment.provider.net(row.id) for row in self._payments_of(order.id))


def _signed(entry: payments.Entry) -> int:
    return entry.amount if entry.direction == "debit" else -entry.amount


def _legal(history: Sequence[str], paths: dict[str, set[str]]) -> None:
    for before, after in itertools.pairwise(history):
        assert before == after or after in paths.get(before, set()), f"{before} became {after}"


TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(
    max_examples=500,
    stateful_step_count=60,
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
