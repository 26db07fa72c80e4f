"""The order service's commands (`flask --app order migrate | relay | purge | reconcile | orphans`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from flask import Flask

from chassis.cli import commands
from chassis.cli import reconcile as report
from chassis.messaging.outbox import Message
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Session
from order import reconcile
from order.config import Settings
from order.service import Orders
from order.store import orphans


def register(
    app: Flask, migrations: str, orders: Orders, settings: Settings, more: Callable[[], Sequence[WorkLoop]]
) -> None:
    """Add the commands to the application. `more` returns further loops that `relay` runs."""
    # Only releases before 0.3 wrote the inbox. Their rows are of no use after a day: signatures expire after minutes.
    old_rows = {
        "inbox": "received_at < now() - make_interval(days => LEAST(%s, 1))",
        "orphan_payments": orphans.OLD_ROWS,
        "webhook_deliveries": "created_at < now() - make_interval(days => %s) AND status <> 'pending'",
    }
    commands.register(app, migrations, lambda: [*loops(orders, settings), *more()], old_rows)
    report.register(
        app,
        ("order", "what", "order says", "payment says", "provider says"),
        ("order", "payment", "provider"),
        lambda since, until: reconcile.differences(orders.database.session(), orders.gateway, since, until),
    )

    @app.cli.command("orphans")
    def orphans_command() -> None:
        """List the payments that hold or may hold money and whose order does not exist, longest known first."""
        number = 0
        for row in orphans.each(orders.database.session()):
            number += 1
            click.echo(orphans.line(row))
        click.echo(f"{app.name}: {number} payments without an order")


def loops(orders: Orders, settings: Settings) -> Sequence[WorkLoop]:
    """Return what `relay` runs: the relay that carries commands to payment, and the sweep."""

    def sweep(session: Session, _: int) -> list[Message]:
        orders.sweep(session, settings.sweep_seconds, settings.sweep_authorized_seconds)
        return []

    relay = orders.relay.loop(
        lease=settings.lease_seconds, concurrency=settings.relay_concurrency, poll=settings.poll_seconds
    )
    sweeper = WorkLoop(
        "sweep",
        orders.database,
        sweep,
        orders.relay.deliver,
        concurrency=1,
        poll=settings.sweep_seconds / 4,
    )
    return [relay, sweeper]
