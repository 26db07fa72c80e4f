"""Taking an order forward: within one transaction, from what is known now to all that follows from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import uuid_utils

from chassis.messaging.outbox import Message
from chassis.postgres.database import Row, Session, to_json
from chassis.telemetry import metrics
from order import model, store
from order.gateway import Answer, RefundOutcome
from order.model import Command, Status
from order.webhooks import model as webhooks


class Overtaken(Exception):
    """An order that was only looked at has been written since, or its message is somebody else's now."""


@dataclass(slots=True)
class Locked:
    """An order whose row is locked to the end of the transaction, and what has been done with it so far.

    `headers` go with the commands that follow; `lease` seconds, if not 0, make the last of them ours to deliver.
    `told` says whether webhooks are to be delivered.
    """

    session: Session
    merchant: str
    id: str
    row: Row
    order: model.Order
    payment: model.Payment | None
    headers: dict[str, str]
    actor: str
    lease: float = 0
    message: Message | None = None
    steps: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    told: bool = False

    def as_is(self, **change: Any) -> model.Decision:
        """A decision that changes nothing but what is given."""
        order = self.order
        return dataclasses.replace(model.Decision(order.status, order.paid_amount, order.refunded_amount), **change)

    def step(
        self,
        kind: str,
        decision: model.Decision,
        *,
        message_id: str | None = None,
        reason: str | None = None,
        refunding: int = 0,
    ) -> None:
        """Write the order's next version, the event `kind` that tells it, and the decision's command.

        A refund that is asked for has the id of the command's message; `refunding` is added to what is being
        refunded besides.
        """
        before = self.order.status
        message = self._message(decision, message_id, reason)
        refund = decision.refund_amount if decision.command is Command.REFUND else None
        self.told |= self._write(
            {
                "merchant": self.merchant,
                "id": self.id,
                "seen": self.row["version"],
                "before": before,
                "status": decision.status,
                "type": kind,
                "event_id": str(uuid_utils.uuid7()) if webhooks.is_event(kind) else None,
                "actor": self.actor,
                "paid_amount": decision.paid_amount,
                "refunded_amount": decision.refunded_amount,
                "failure_reason": decision.failure_reason,
                "refunding": refunding + (refund or 0),
                "payment": to_json(dataclasses.asdict(self.payment)) if self.payment else None,
                "past": [UUID(past) for past in self.order.past],
                "payment_method": self.row["payment_method"],
                "data": to_json(self._data(decision)),
                "refund_amount": refund,
                "reason": reason,
                "to_cancel": before is Status.CANCELING,
                "headers": to_json(self.headers),
                **(outbox_row(message, self.lease) if message else {}),
            }
        )
        self.row["version"] += 1
        self.order = model.follow(self.order, decision)
        self.steps.append((before, decision.status))
        self.message = message or self.message

    def _write(self, change: dict[str, Any]) -> bool:
        """Write a step; whether webhooks are to be told of it."""
        return store.change(self.session, change)

    def _data(self, decision: model.Decision) -> dict[str, Any]:
        """What an event says besides its type."""
        data = {
            "payment_id": self.payment.id if self.payment else None,
            "payment_status": self.payment.status if self.payment else None,
            "payment_method": self.row["payment_method"] if decision.command is Command.CREATE else None,
            "failure_reason": decision.failure_reason,
            "refund_amount": decision.refund_amount or None,
        }
        return {name: value for name, value in data.items() if value is not None}

    def go_on(self, declined: str | None = None) -> None:
        """Take every step that follows, until nothing does."""
        while True:
            decision = model.decide(self.order, self.payment, declined)
            now = model.follow(self.order, decision)
            if now == self.order:
                return
            declined = None
            if decision.status != self.order.status:
                kind = f"order.{decision.status}"
            else:
                kind = f"{decision.command}_requested" if decision.command else "payment.updated"
            to_cancel = self.order.status is Status.CANCELING and decision.command is Command.REFUND
            self.step(kind, decision, reason="order canceled" if to_cancel else None)

    def learn(self, answer: Answer) -> None:
        """Take in what payment says, and take every step that follows; old news changes nothing."""
        payment, refund = answer.payment, answer.refund
        ended = self._end_refund(refund) if refund else None
        news = model.is_news(self.order.past, self.payment, payment)
        if news:
            if self.payment is not None and self.payment.id != payment.id:
                self.leave_payment()
            self.payment = payment
        version = self.row["version"]
        declined = answer.void_declined
        if ended is not None and refund is not None:
            # An order that is over would ask again and again, with nobody to tell that it has been declined.
            for_ever = refund.declined and self.order.status in model.FINAL
            if not ended["others"] and not for_ever:
                self.order = dataclasses.replace(self.order, asked=self.order.asked - {Command.REFUND})
            told = self.as_is(failure_reason=refund.reason)
            self.step(f"refund.{refund.status}", told, refunding=-ended["amount"])
            if refund.declined and ended["to_cancel"]:
                declined = refund.reason or "declined"
        self.go_on(declined)
        if news and self.row["version"] == version:
            # Nothing follows, but it is remembered: the next snapshot is compared with this one.
            self.step("payment.updated", self.as_is())
        if ended is not None and refund is not None:
            # Only now, that what is told of the order has the refund in its amounts.
            self.told |= store.tell_refund(
                self.session, self.merchant, refund.id, str(uuid_utils.uuid7()), self.headers
            )

    def leave_payment(self) -> None:
        """What is known of the payment so far counts no more: another one is to come."""
        if self.payment is not None:
            self.order = dataclasses.replace(self.order, past=self.order.past | {self.payment.id})
            self.payment = None

    def _end_refund(self, refund: RefundOutcome) -> Row | None:
        return store.settle_refund(
            self.session, self.merchant, refund.id, refund.status, refund.reason, refund.declined
        )

    def _message(self, decision: model.Decision, message_id: str | None, reason: str | None) -> Message | None:
        if decision.command is None:
            return None
        if decision.command is Command.CREATE:
            payload = payment_request(self.id, self.row)
        else:
            assert self.payment is not None
            payload = {"payment_id": self.payment.id}
            if decision.command is Command.REFUND:
                payload |= {"amount": decision.refund_amount, **({"reason": reason} if reason else {})}
        return new_message(self.merchant, self.id, decision.command, payload, self.headers, self.lease, message_id)

    def count(self) -> None:
        """Measure the steps; to be called after the commit."""
        for before, after in self.steps:
            if before != after:
                metrics.count_transition("order", before, after)


@dataclass(slots=True)
class Seen(Locked):
    """An order that was looked at and not locked, when a message of it had been answered: it may take one step.

    The step is a transaction of its own, which marks the message delivered, too, or raises Overtaken and does nothing.
    `view` is the order's view after it.
    """

    answers: Message = dataclasses.field(kw_only=True)
    view: Row | None = None

    def is_one_step(self, answer: Answer) -> bool:
        """Whether all that follows from what payment says is one step, and about the payment alone.

        Not while something else is asked for, too: that may be answered in between, and leave the order's row alone.
        """
        payment = answer.payment
        if answer.refund is not None or answer.void_declined is not None or self.order.asked:
            return False
        if (self.payment is not None and self.payment.id != payment.id) or not model.is_news(
            self.order.past, self.payment, payment
        ):
            return False
        after = model.follow(self.order, model.decide(self.order, payment))
        return after != self.order and model.follow(after, model.decide(after, payment)) == after

    def _write(self, change: dict[str, Any]) -> bool:
        self.view = store.change_and_deliver(self.session, change, self.answers, self.row["seen_as"])
        if self.view is None:
            raise Overtaken
        return bool(self.view["told"])


def lock(session: Session, merchant: str, order_id: str, headers: dict[str, str], actor: str) -> Locked | None:
    """An order with its row locked; None if there is no such order."""
    row = store.lock(session, merchant, order_id)
    if row is None:
        return None
    return Locked(session, merchant, order_id, row, _order(row), _payment(row), headers, actor)


def look(session: Session, message: Message) -> Seen | None:
    """The order of a message that was answered; None if there is no such order."""
    row = store.look(session, message.merchant, message.aggregate_id, message.id)
    return None if row is None else _seen(session, message, row)


def placed(session: Session, order: dict[str, Any], row: Row, message: Message) -> Seen:
    """The order that `store.place` has just made of `order`, as `look` would find it."""
    rest = dict.fromkeys(("paid_amount", "refunded_amount", "refunding_amount"), 0)
    return _seen(session, message, {**order, **row, **rest, "payment": None, "past_payments": [], "asked": []})


def _seen(session: Session, message: Message, row: Row) -> Seen:
    known = _order(row), _payment(row), message.headers, "payment"
    return Seen(session, message.merchant, message.aggregate_id, row, *known, answers=message)


def has_news(session: Session, merchant: str, order_id: str, told: Answer) -> bool:
    """Whether an answer may say what is not known yet, as seen without a lock: what is known never becomes less."""
    if told.refund is not None or told.void_declined is not None:
        return True
    row = store.known_payment(session, merchant, order_id)
    return row is None or model.is_news(_past(row), _payment(row), told.payment)


def _order(row: Row) -> model.Order:
    return model.Order(
        Status(row["status"]),
        row["total_amount"],
        row["currency"],
        row["paid_amount"],
        row["refunded_amount"],
        _past(row),
        frozenset(Command(topic) for topic in row["asked"]),
    )


def _past(row: Row) -> frozenset[str]:
    return frozenset(str(past) for past in row["past_payments"])


def _payment(row: Row) -> model.Payment | None:
    return model.Payment(**row["payment"]) if row["payment"] else None


def payment_request(order_id: str, order: Row | dict[str, Any]) -> dict[str, Any]:
    """What payment.create asks for."""
    return {
        "order_id": order_id,
        "amount": order["total_amount"],
        "currency": order["currency"],
        "payment_method": order["payment_method"],
        "capture": order["capture"],
    }


def new_message(
    merchant: str,
    order_id: str,
    topic: Command,
    payload: dict[str, Any],
    headers: dict[str, str],
    lease: float,
    message_id: str | None = None,
) -> Message:
    """A message for the outbox; with a lease it is this request's own to deliver."""
    message_id = message_id or str(uuid_utils.uuid7())
    owner = f"request {message_id}" if lease > 0 else ""
    return Message(0, message_id, merchant, order_id, topic, payload, headers, 1, owner)


def outbox_row(message: Message, lease: float) -> dict[str, Any]:
    """The parameters of `store.place` and `store.change` that make a message's row, leased for so many seconds."""
    return {
        "command_id": message.id,
        "topic": message.topic,
        "command_payload": to_json(message.payload),
        "owner": message.owner or None,
        "lease": lease or None,
    }
