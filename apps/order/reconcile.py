"""Compare what the order database, the payment database and the provider record of the same money.

Four sets of records are read: the orders that changed in the period, the payments without an order, the payments whose
money moved in the period by payment's ledger, and those that were created in it and may capture money. The last two
sets find payments whose order never heard of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chassis.cli.reconcile import Difference, Total
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import Session
from order import model
from order.gateway import PaymentGateway
from order.store import comparison, orphans

ATTEMPTS = 3
"""How often an order that changes while it is compared is compared again."""

_ORDERED = timedelta(minutes=5)
"""Ledger entries are listed by ids from several processes, so their times are in order only to this precision."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """A payment as payment shows it, and what the provider has recorded for it."""

    payment: Record
    provider: dict[str, int]

    @property
    def held(self) -> int:
        """The customer's money that is captured and not refunded, by payment's records, in minor units."""
        return int(self.payment["captured_amount"]) - int(self.payment["refunded_amount"])

    @property
    def may_hold_money(self) -> bool:
        """Whether the payment holds money, or may hold some soon."""
        return self.payment["status"] in ("processing", "authorized") or self.held > 0


def differences(session: Session, gateway: PaymentGateway, since: str, until: str) -> Iterator[Difference | Total]:
    """Yield the differences of a period, then sums per currency. `since` and `until` are RFC 3339 times.

    The cells of a difference: order id, what differs, order's, payment's and the provider's value. Raises Refused
    before the first one if payment refuses every request, for example because of its key.
    """
    yield from _Comparison(session, gateway, datetime.fromisoformat(since), datetime.fromisoformat(until)).run()


def compare(order: Record, accounts: list[Account]) -> Iterator[Difference]:
    """Yield the differences between an order, its payments and the provider's records of them."""
    order_id, own = str(order["id"]), order["payment"] or {}
    known = own.get("id")
    is_there = known in [account.payment["id"] for account in accounts]
    # A payment that failed moved no money. A restore may have made payment forget it, and it is not created again.
    if known is not None and not is_there and own["status"] != "failed":
        yield Difference((order_id, "payment", known, "unknown", ""))
    for account in accounts:
        payment_id = account.payment["id"]
        if payment_id == known:
            yield from _compare_amounts(order, account)
        else:
            yield from _compare_provider(order_id, account)
            if account.may_hold_money:
                # The order has another payment, or none: a payment of it that holds money is one too many.
                yield Difference((order_id, "payment", str(known), payment_id, f"holds {account.held}"))
        yield from _outcomes(order, account)


def _compare_amounts(order: Record, account: Account) -> Iterator[Difference]:
    """Compare an order with its own payment."""
    order_id, payment = str(order["id"]), account.payment
    if order["payment"]["status"] != payment["status"]:
        yield Difference((order_id, "payment status", order["payment"]["status"], payment["status"], ""))
    fits = (payment["amount"], payment["currency"]) == (order["total_amount"], order["currency"])
    if fits and order["status"] not in model.FINAL:
        for what, ours in (("captured", order["paid_amount"]), ("refunded", order["refunded_amount"])):
            theirs, at_provider = payment[f"{what}_amount"], account.provider[f"{what}_amount"]
            if not ours == theirs == at_provider:
                yield Difference((order_id, what, str(ours), str(theirs), str(at_provider)))
        return
    # Money that does not fit an order, or that came after its end, is returned and is not part of its amounts.
    yield from _compare_provider(order_id, account)
    held = order["paid_amount"] - order["refunded_amount"]
    if held != account.held:
        yield Difference((order_id, "held", str(held), str(account.held), ""))


def _compare_provider(order_id: str, account: Account) -> Iterator[Difference]:
    for what in ("captured", "refunded"):
        theirs, at_provider = account.payment[f"{what}_amount"], account.provider[f"{what}_amount"]
        if theirs != at_provider:
            yield Difference((order_id, what, "", str(theirs), str(at_provider)))


def _outcomes(order: Record, account: Account) -> Iterator[Difference]:
    order_id, status = str(order["id"]), account.payment["status"]
    untold, missing = account.provider["untold"], account.provider["missing"]
    if missing:
        yield Difference((order_id, "provider has no record", order["status"], status, f"{missing} operations"))
    if untold:
        cells = (order_id, "provider does not answer", order["status"], status, f"{untold} operations")
        yield Difference(cells, compared=False)


class _Comparison:
    """One run: what was compared so far."""

    def __init__(self, session: Session, gateway: PaymentGateway, since: datetime, until: datetime) -> None:
        self._session, self._gateway = session, gateway
        self._since, self._until = since, until
        self._payments: set[tuple[str, str]] = set()
        self._sums: dict[str, Counter[tuple[str, int]]] = {}

    def run(self) -> Iterator[Difference | Total]:
        merchants = set(comparison.merchants(self._session))
        try:
            # Payment is asked even if nothing is to be compared, and also for merchants that order has lost.
            merchants.update(self._gateway.merchants())
        except Unreachable as error:
            yield _no_answer("payment", "", error)
        for order in comparison.changed(self._session, self._since, self._until):
            yield from self._compare(order)
        for orphan in orphans.each(self._session):
            if orphan["first_seen_at"] < self._until:
                yield from self._orphan(orphan["merchant"], str(orphan["order_id"]), str(orphan["payment_id"]))
        for merchant in sorted(merchants):
            yield from self._of_merchant(merchant)
        for currency, sums in sorted(self._sums.items()):
            for what in ("captured", "refunded"):
                yield Total(what, currency, tuple(sums[what, system] for system in range(3)))

    def _compare(self, order: Record) -> Iterator[Difference]:
        merchant, order_id = order["merchant"], str(order["id"])
        for _ in range(ATTEMPTS):
            try:
                payments = self._gateway.payments(merchant, order_id)
                accounts = [self._account(merchant, payment) for payment in payments]
            except (Unreachable, Refused) as error:
                yield _no_answer(order_id, order["status"], error)
                return
            found = list(compare(order, accounts))
            now = comparison.get(self._session, merchant, order_id) if found else None
            if now is None or now["version"] == order["version"]:
                break
            order = now  # the order has changed meanwhile
        self._add(order["currency"], 0, order["paid_amount"], order["refunded_amount"])
        for account in accounts:
            self._count(merchant, account)
        yield from found

    def _orphan(self, merchant: str, order_id: str, payment_id: str) -> Iterator[Difference]:
        """Report a payment that holds money and has no order."""
        try:
            account = self._account(merchant, self._gateway.payment(merchant, payment_id))
        except (Unreachable, Refused) as error:
            yield _no_answer(order_id, "no order", error)
            return
        if account.may_hold_money:
            self._count(merchant, account)
            status = f"{account.payment['status']} {account.held}"
            at_provider = account.provider["captured_amount"] - account.provider["refunded_amount"]
            yield Difference((order_id, f"payment {payment_id}", "no order", status, str(at_provider)))

    def _of_merchant(self, merchant: str) -> Iterator[Difference]:
        """Compare a merchant's payments of the period that were not compared with a changed order."""
        try:
            for payment_id in self._moved_payments(merchant):
                yield from self._payment(merchant, self._gateway.payment(merchant, payment_id))
            for payment in self._gateway.uncaptured(merchant, self._since, self._until):
                if (merchant, payment["id"]) not in self._payments:
                    yield from self._payment(merchant, payment)
        except (Unreachable, Refused) as error:
            yield _no_answer(f"ledger of {merchant}", "", error)

    def _payment(self, merchant: str, payment: Record) -> Iterator[Difference]:
        order_id = str(payment["order_id"])
        order = comparison.get(self._session, merchant, order_id)
        if order is not None:
            yield from self._compare(order)
        else:
            yield from self._orphan(merchant, order_id, str(payment["id"]))

    def _moved_payments(self, merchant: str) -> Iterator[str]:
        for entry in self._gateway.entries(merchant):
            at = datetime.fromisoformat(entry["at"])
            if at < self._since - _ORDERED:
                return
            if self._since <= at < self._until and (merchant, entry["payment_id"]) not in self._payments:
                self._payments.add((merchant, entry["payment_id"]))
                yield entry["payment_id"]

    def _account(self, merchant: str, payment: Record) -> Account:
        return Account(payment, self._gateway.at_provider(merchant, payment["id"]))

    def _count(self, merchant: str, account: Account) -> None:
        self._payments.add((merchant, account.payment["id"]))
        for system, record in ((1, account.payment), (2, account.provider)):
            self._add(account.payment["currency"], system, record["captured_amount"], record["refunded_amount"])

    def _add(self, currency: str, system: int, captured: int, refunded: int) -> None:
        sums = self._sums.setdefault(currency, Counter())
        sums["captured", system] += captured
        sums["refunded", system] += refunded


def _no_answer(order_id: str, status: str, error: Exception) -> Difference:
    return Difference((order_id, "payment does not answer", status, str(error)[:60], ""), compared=False)
