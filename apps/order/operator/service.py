"""Building an order's journey from the order database and the payment service."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.postgres.database import Row, Session
from order.operator import formatting, model, records
from order.operator.model import Step
from order.operator.payments import PaymentRecords, Payments

PARTY_NAMES = ("merchant", "order", "payment", "provider", "webhook")
"""The names of `model.Party`, in its order."""

MAX_EVENTS = 200
"""How many of an order's events are read."""


@dataclass(frozen=True, slots=True)
class Journey:
    """An order's steps across both services, its refunds, payment's records, and the step it waits for.

    `commands` and `deliveries` are the rows of the outbox and of webhooks that are part of the steps.
    """

    steps: list[Step]
    commands: list[Row]
    deliveries: list[Row]
    refunds: list[Row]
    records: PaymentRecords
    waiting_for: Step | None

    @property
    def next_command(self) -> Row | None:
        """The command that payment has not received yet; only the oldest one is ever sent."""
        return next((row for row in self.commands if row["delivered_at"] is None), None)

    @property
    def dead_deliveries(self) -> list[Row]:
        """The dead webhooks whose endpoint is enabled."""
        return [row for row in self.deliveries if row["status"] == "dead" and row["endpoint_status"] == "enabled"]

    @property
    def disabled_endpoints(self) -> list[str]:
        """The ids of the disabled endpoints that webhooks of the order were or are meant for."""
        return sorted({str(row["endpoint_id"]) for row in self.deliveries if row["endpoint_status"] == "disabled"})

    def offset(self, step: Step) -> float:
        """Return the seconds from the first step to `step`."""
        return (step.started_at - self.steps[0].started_at).total_seconds()


def journey(session: Session, payments: Payments, order: Row) -> Journey:
    """Return the journey of an order. What payment does not return in time is left out; see `records.missing`."""
    merchant, order_id = order["merchant"], str(order["id"])
    events = records.events(session, merchant, order_id, MAX_EVENTS)
    windows = records.time_windows([event["at"] for event in events])
    reported = payments.records(merchant, order_id)
    commands = records.commands(session, merchant, order_id, windows)
    deliveries = records.deliveries(session, merchant, order_id, windows)
    steps = model.journey(
        (model.event_step(event, formatting.event_data(event["data"], order["currency"])) for event in events),
        [
            *map(model.command_step, commands),
            *map(model.delivery_step, deliveries),
            *map(model.operation_step, reported.operations),
            *model.ledger_steps(reported.entries, formatting.amount),
        ],
    )
    refunds = records.refunds(session, merchant, order_id)
    return Journey(steps, commands, deliveries, refunds, reported, model.waits_for(steps))
