"""Putting an order's journey together, from what order has and what payment tells."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.postgres.database import Row, Session
from order.operator import model, store, words
from order.operator.model import Step
from order.operator.payments import Account, Payments

PARTIES = ("merchant", "order", "payment", "provider", "webhook")
"""The names of model.Party's, in their order."""

MOST_STEPS = 200
"""How many steps of one kind are looked for."""


@dataclass(frozen=True, slots=True)
class Journey:
    """An order's steps across both services, what they are made of, and what it waits for."""

    steps: list[Step]
    refunds: list[Row]
    account: Account
    waits: Step | None

    def offset(self, step: Step) -> float:
        """Seconds from the first step to this one."""
        return (step.at - self.steps[0].at).total_seconds()


def journey(session: Session, payments: Payments, order: Row) -> Journey:
    """The journey of an order; without payment's part where payment does not answer."""
    merchant, order_id = order["merchant"], str(order["id"])
    events = store.events(session, merchant, order_id, MOST_STEPS)
    around = store.windows([event["at"] for event in events])
    account = payments.account(merchant, order_id)
    steps = model.journey(
        (model.event(event, words.fields(event["data"], order["currency"])) for event in events),
        [
            *map(model.command, store.commands(session, merchant, order_id, around)),
            *map(model.delivery, store.deliveries(session, merchant, order_id, around)),
            *map(model.operation, account.operations),
            *model.booking(account.entries, words.amount),
        ],
    )
    return Journey(steps, store.refunds(session, merchant, order_id), account, model.waits_for(steps))
