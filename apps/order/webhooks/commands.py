"""The commands `flask --app order webhooks dead | redeliver`, and the gauges of webhooks."""

from __future__ import annotations

import click
from flask import Flask

from chassis.cli.keys import merchant_name
from chassis.postgres.database import Session
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges, Samples
from order.webhooks import store
from order.webhooks.service import Webhooks


def register(app: Flask, webhooks: Webhooks) -> None:
    """Add the commands to the application."""

    @app.cli.group("webhooks")
    def group() -> None:
        """List and redeliver webhooks that were given up."""

    @group.command("dead")
    @click.option("--merchant", default=None, callback=merchant_name, help="Only this merchant's.")
    def dead_command(merchant: str | None) -> None:
        """List the dead deliveries, oldest first."""
        rows = webhooks.dead(merchant)
        for row in rows:
            subject = f"order {row['order_id']}" if row["order_id"] else "no order"
            click.echo(
                f"{row['id']}  {row['created_at']}  {row['merchant']}  endpoint {row['endpoint_id']} ({row['status']})"
                f"  {row['type']}  {subject}  {row['last_error']}"
            )
        click.echo(f"{app.name}: {len(rows)} dead")

    @group.command("redeliver")
    @click.argument("delivery", required=False, type=click.UUID)
    @click.option("--all", "everything", is_flag=True, help="All dead deliveries.")
    @click.option("--merchant", default=None, callback=merchant_name, help="Only this merchant's.")
    def redeliver_command(delivery: object, everything: bool, merchant: str | None) -> None:
        """Deliver a dead delivery again, or all of them; only those of enabled endpoints."""
        if (delivery is None) != everything:
            raise click.UsageError("name a delivery, or give --all")
        count = webhooks.redeliver_dead(merchant, str(delivery) if delivery else None)
        if not count and not everything:
            raise click.ClickException("no enabled endpoint has a dead delivery of this id")
        click.echo(f"{app.name}: {count} to be delivered again")


def add_gauges(gauges: DatabaseGauges) -> None:
    """Measure the pending and the dead deliveries, and how long the oldest pending one has been tried."""

    def count(session: Session) -> Samples:
        return [((status,), (number,)) for status, number in store.backlog(session).items()]

    def oldest(session: Session) -> Samples:
        return [((), (store.oldest_seconds(session),))]

    gauges.add({"webhook_deliveries": f"Deliveries by status, {COUNT_LIMIT:,} of each at most."}, ("status",), count)
    gauges.add({"webhook_oldest_seconds": "Age of the oldest pending one."}, (), oldest)
