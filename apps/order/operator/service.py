"""Building an order's journey from the order database and the payment service."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.postgres.database import Row, Session
from order.operator import formatting, model, store
from order.operator.model import Step
from order.operator.payments import PaymentRecords, Payments

PARTY_NAMES = ("merchant", "order", "payment", "provider", "webhook")
"""The names of `model.Party`, in its order."""

MAX_EVENTS = 200
"""How many of an order's events are read."""


@dataclass(frozen=True, slots=True)
class Journey:
    """An order's steps across both services, its refunds, payment's records, and the step it waits for."""

    steps: list[Step]
    refunds: list[Row]
    records: PaymentRecords
    waiting_for: Step | None

    def offset(self, step: Step) -> float:
        """Return the seconds from the first step to `step`."""
        return (step.started_at - self.steps[0].started_at).total_seconds()


def journey(session: Session, payments: Payments, order: Row) -> Journey:
    """Return the journey of an order. What payment does not return in time is left out; see `records.missing`."""
    merchant, order_id = order["merchant"], str(order["id"])
    events = store.events(session, merchant, order_id, MAX_EVENTS)
    windows = store.time_windows([event["at"] for event in events])
    records = payments.records(merchant, order_id)
    steps = model.journey(
        (model.event_step(event, formatting.event_data(event["data"], order["currency"])) for event in events),
        [
            *map(model.command_step, store.commands(session, merchant, order_id, windows)),
            *map(model.delivery_step, store.deliveries(session, merchant, order_id, windows)),
            *map(model.operation_step, records.operations),
            *model.ledger_steps(records.entries, formatting.amount),
        ],
    )
    return Journey(steps, store.refunds(session, merchant, order_id), records, model.waits_for(steps))
