"""What has to be true once all work has come to rest."""

from __future__ import annotations

import payment.model as payments
from order.model import Status
from tests.simulation.order_side import OrderRow
from tests.simulation.payment_side import PaymentRow
from tests.simulation.provider import check
from tests.simulation.run import Run


def at_rest(run: Run) -> None:
    """Check the amounts of orders, payments and the provider against each other. Raises Broken."""
    for row in run.payment.rows.values():
        _payment_equals_provider(run, row)
    for name in run.provider.accounts:
        check(name in run.payment.rows, "the provider has a payment that payment does not have")
    for operation_id, record in run.provider.books.items():
        tried = run.payment.operations.get(operation_id)
        check(tried is not None, "the provider has executed an operation that payment does not have")
        assert tried is not None
        check(tried.status is record.outcome.result, "an operation has another outcome than at the provider")
        check(tried.operation.amount == record.operation.amount, "an operation has another amount at the provider")
    for tried in run.payment.operations.values():
        check(tried.operation.id in run.provider.books, "payment settled an operation that the provider does not know")
    net = sum(account.net for account in run.provider.accounts.values())
    check(run.payment.clearing == net, f"the ledger has {run.payment.clearing}, the provider {net}")
    for order in run.order.rows.values():
        _order_equals_payment(run, order)
    for order_id in run.order.lost:
        _lost_order_holds_no_money(run, order_id)


def _payment_equals_provider(run: Run, row: PaymentRow) -> None:
    facts, account = row.facts, run.provider.accounts.get(row.id)
    at_provider = (account.authorized, account.captured, account.refunded) if account else (0, 0, 0)
    here = (facts.authorized, facts.captured, facts.refunded)
    check(here == at_provider, f"amounts at payment {here}, at the provider {at_provider}")
    check((facts.refunding, facts.busy) == (0, None), "a reservation is left")


def _order_equals_payment(run: Run, order: OrderRow) -> None:
    facts, payment = order.facts, order.facts.payment
    accounts = run.provider.of_order(facts.id)
    net = sum(account.net for account in accounts)
    check(facts.refunding_amount == 0, "a refund is left without an outcome")
    if payment is not None:
        row = run.payment.rows.get(payment.id)
        check(row is not None, "an order has a payment that payment does not have")
        assert row is not None
        known = (payment.status, payment.captured_amount, payment.refunded_amount)
        there = (row.facts.status, row.facts.captured, row.facts.refunded)
        check(known == there, f"order knows {known} of its payment, payment has {there}")
    live = [row for row in run.payment.rows.values() if row.order_id == facts.id and row.facts.status in payments.LIVE]
    check(len(live) <= 1, "an order has two live payments")
    match facts.status:
        case Status.PAID | Status.REFUNDED if facts.total_amount:
            check(net == facts.paid_amount - facts.refunded_amount, "a paid order differs from the provider")
            check((net == 0) == (facts.status is Status.REFUNDED), f"{facts.status}, but {net} is held")
        case Status.AUTHORIZED:
            held = [row.facts.status for row in live]
            check(held == [payments.Status.AUTHORIZED], f"an authorized order has live payments {held}")
            amounts = (facts.paid_amount, facts.refunded_amount)
            check(amounts == (net, 0), f"an authorized order has paid and refunded {amounts}, and {net} is captured")
        case Status.PAID if not facts.total_amount:
            _holds_nothing(run, order)
        case Status.CANCELED | Status.EXPIRED | Status.PAYMENT_FAILED:
            _holds_nothing(run, order)


def _holds_nothing(run: Run, order: OrderRow) -> None:
    """Check that an order keeps no money, unless the provider has declined to return it; then the order shows that."""
    if any(account.holds_money for account in run.provider.of_order(order.facts.id)):
        error = order.facts.last_error
        check(error is not None, f"an order is {order.facts.status}, but holds money")


def _lost_order_holds_no_money(run: Run, order_id: str) -> None:
    for account in run.provider.of_order(order_id):
        if account.holds_money:
            declined = [
                record
                for record in run.provider.books.values()
                if record.order_id == order_id and record.outcome.reason and record.key.startswith("orphan")
            ]
            check(bool(declined), "a payment of an order that was lost holds money")
