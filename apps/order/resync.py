"""After a restore: send payment the commands since a moment again, and return money that belongs to no order.

Only commands whose outcome the order does not know are sent again, see `store.resending`. Every command keeps its id,
which is its idempotency key at payment, so nothing is charged or refunded twice: payment answers with what it has
recorded, or carries out what it has lost. Everything here can be repeated and interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import Row, Session
from order.answers import NOT_FOUND
from order.gateway import PaymentGateway
from order.history import payload_of
from order.model import Asked, Command, Payment
from order.store import orphans, resending, steps
from order.transition import Lost, LostRefunds

MARGIN = timedelta(minutes=5)
"""How much earlier than the given moment a command may have been delivered: clocks differ, commits take time."""

STEP = 5000
"""Rows of the outbox that one statement reads."""
ORDERS = 500
"""Waiting orders, or pending refunds, that one statement reads."""

Report = Callable[[str], None]
"""Shows a line of progress."""

Lose = Callable[[str, str, Lost | LostRefunds], None]
"""Takes from an order what payment has lost: merchant, order id, and what is lost."""

Find = Callable[[Session, datetime, dict[str, Any], int], list[Row]]
"""`resending.waiting` or `resending.refunding`."""


class Resync:
    """Sends commands again. `again` counts them, `rebuilt` those of them whose row had been purged.

    `lost` counts the payments that payment has lost, `refunds` those of which it has lost refunds, and `faults` those
    that it did not answer for.
    """

    def __init__(self, session: Session, gateway: PaymentGateway, lose: Lose, report: Report) -> None:
        self._session, self._gateway, self._lose_from, self._report = session, gateway, lose, report
        self._began = resending.now(session)
        self.again = self.rebuilt = self.lost = self.refunds = self.faults = 0

    def run(self, since: datetime) -> None:
        """Make due again what has no outcome: of commands delivered since a moment, and of all that still waits.

        Before that, payments that payment has lost are taken from their orders, so that other payments can take their
        place, and so are refunds that were under way, so that what they were to return can be refunded.
        """
        self._lost(since - MARGIN)
        self._delivered(since - MARGIN)
        self._waiting("orders that wait", resending.waiting)
        self._waiting("refunds that are pending", resending.refunding)

    def _lost(self, since: datetime) -> None:
        """Find what is under way here and unknown at payment: it was lost before the provider was asked.

        Payment's resync has adopted all that the provider knows, and has told order of each change by that. So what is
        lost in this way is a payment that is `processing` here, or a refund that somebody requested at payment. In
        every other status, the provider has a record of it.
        """
        after = resending.FIRST
        while rows := resending.under_way(self._session, since, after, ORDERS):
            for row in rows:
                try:
                    self._compare(row, self._gateway.snapshot(row["merchant"], row["payment_id"]))
                except Refused as error:
                    if error.problem != NOT_FOUND:
                        self.faults += 1
                    elif row["is_processing"]:
                        self._lose(row)
                except Unreachable:
                    self.faults += 1
            after = {"merchant": rows[-1]["merchant"], "id": rows[-1]["id"]}

    def _compare(self, row: Row, payment: Payment) -> None:
        # Versions only go back by a restore. A payment that was told again since then has a newer one.
        if payment.version < row["seen"] and payment.refunding_amount < (row["refunding"] or 0):
            self._lose_from(row["merchant"], str(row["id"]), LostRefunds(payment, row["seen"]))
            self.refunds += 1

    def _lose(self, row: Row) -> None:
        merchant, order_id = row["merchant"], str(row["id"])
        command = str(row["command_id"]) if row["command_id"] else None
        self._lose_from(merchant, order_id, Lost(row["payment_id"], command))
        self.lost += 1
        if command is not None:
            self.again += resending.send_again(self._session, [(merchant, command)], self._began)
            if not resending.existing(self._session, [(merchant, command)]):
                self._rebuild(merchant, order_id, command)

    def _delivered(self, since: datetime) -> None:
        after, read = resending.FIRST, 0
        while page := resending.delivered_since(self._session, since, self._began, after, STEP):
            after, read = {"merchant": page["merchant"], "id": page["id"]}, read + page["read"]
            self.again += page["again"]
            self._report(f"{read} commands read, {self.again} are sent again")

    def _waiting(self, what: str, find: Find) -> None:
        read = 0
        after = resending.FIRST
        while rows := find(self._session, self._began, after, ORDERS):
            last, read = rows[-1], read + len(rows)
            after = {name: last[name] for name in ("merchant", "status", "at", "id")}
            newest = [(row["merchant"], str(row["command_id"])) for row in rows if row.get("command_id")]
            asked = {(row["merchant"], each["id"]): row for row in rows for each in row["asked"]}
            self.again += resending.send_again(self._session, [*newest, *asked], self._began)
            for merchant, message_id in asked.keys() - resending.existing(self._session, list(asked)):
                row = asked[merchant, message_id]
                self._rebuild(merchant, str(row.get("order_id") or row["id"]), message_id)
            self._report(f"{read} {what} read, {self.again} commands are sent again")

    def _rebuild(self, merchant: str, order_id: str, message_id: str) -> None:
        """Store a command again whose row was purged, if the order still waits for it."""
        order = steps.read(self._session, merchant, order_id)
        asked = next((asked for asked in order.asked if asked.id == message_id), None) if order else None
        if order is None or asked is None or (asked.command is not Command.CREATE and order.payment is None):
            return
        payload = payload_of(order, asked.command, asked.amount, self._reason(merchant, asked), final=asked.final)
        made = resending.insert(self._session, merchant, order_id, message_id, asked.command, payload)
        self.rebuilt, self.again = self.rebuilt + made, self.again + made

    def _reason(self, merchant: str, asked: Asked) -> str | None:
        return resending.refund_reason(self._session, merchant, asked.id) if asked.command is Command.REFUND else None


def return_money(session: Session, gateway: PaymentGateway, orphan: Row) -> tuple[bool, str]:
    """Void or refund a payment without an order. Return whether it holds no money any more, and what happened.

    `orphan` is a row of `orphans.find`. A payment that is authorized and of which a part is captured is voided first,
    and what it still holds then is refunded.

    The idempotency key derives from the payment's id, so that a repetition is the same request. It also has the number
    of declines, because a request that was declined is over, and for a refund what is refunded already: another refund
    that was under way may be declined, and what it leaves needs a new request. Payment never refunds more than it has
    captured, so an old snapshot does no harm.
    """
    merchant, payment_id = orphan["merchant"], str(orphan["payment_id"])
    if orphan["status"] == "processing":
        return False, "its outcome is not known yet"
    command = Command.VOID if orphan["status"] == "authorized" else Command.REFUND
    action = command.removeprefix("payment.")
    payload = {"payment_id": payment_id, **({"reason": "no such order"} if command is Command.REFUND else {})}
    declines, refunded = orphan["declines"], orphan["refunded_amount"]
    tried = f"{f'-{declines}' if declines else ''}{f'-refunded-{refunded}' if refunded else ''}"
    key = f"orphan-{action}-{payment_id}{tried}"
    message = Message(0, key, merchant, str(orphan["order_id"]), command, payload, {}, 1, "")
    try:
        answer = gateway.send(message)
    except (Unreachable, Refused) as error:
        return False, str(error)
    if answer.payment is None:
        orphans.delete(session, merchant, payment_id)
        return True, f"neither payment nor the provider knows it ({NOT_FOUND})"
    orphans.keep(session, merchant, str(orphan["order_id"]), answer.payment)
    if answer.outcome is None:
        return False, f"the {action} is under way"
    if answer.outcome.succeeded:
        return _returned(session, gateway, orphan, answer.payment, action)
    if answer.outcome.declined:
        orphans.count_decline(session, merchant, payment_id, declines)
    return False, f"{action} failed: {answer.outcome.reason or answer.payment.status}"


def _returned(session: Session, gateway: PaymentGateway, orphan: Row, now: Payment, action: str) -> tuple[bool, str]:
    """Return what `return_money` does after a void or refund has succeeded: refund what a void leaves."""
    if now.held == 0:
        return True, f"{action} succeeded"
    if action == "void" and now.status == "captured":
        left = {"status": now.status, "captured_amount": now.captured_amount, "refunded_amount": now.refunded_amount}
        return return_money(session, gateway, {**orphan, **left})
    return False, f"{action} succeeded, but {now.held} {now.currency} are still held"
