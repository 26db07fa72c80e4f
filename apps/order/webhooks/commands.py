"""`flask --app order webhooks dead | redeliver`."""

from __future__ import annotations

import click
from flask import Flask

from order.webhooks.service import Webhooks


def register(app: Flask, webhooks: Webhooks) -> None:
    """Add the commands to the application."""

    @app.cli.group("webhooks")
    def group() -> None:
        """What merchants' endpoints have not taken."""

    @group.command("dead")
    @click.option("--merchant", default=None, help="Only this merchant's.")
    def dead_command(merchant: str | None) -> None:
        """List the deliveries that nobody tries any more, oldest first."""
        rows = webhooks.dead(merchant)
        for row in rows:
            of = f"order {row['order_id']}" if row["order_id"] else "no order"
            click.echo(
                f"{row['id']}  {row['created_at']}  {row['merchant']}  endpoint {row['endpoint_id']} ({row['status']})"
                f"  {row['type']}  {of}  {row['last_error']}"
            )
        click.echo(f"{app.name}: {len(rows)} dead")

    @group.command("redeliver")
    @click.argument("delivery", required=False, type=click.UUID)
    @click.option("--all", "everything", is_flag=True, help="All that are dead.")
    @click.option("--merchant", default=None, help="Only this merchant's.")
    def redeliver_command(delivery: object, everything: bool, merchant: str | None) -> None:
        """Try a dead delivery again, or all of them, where their endpoints are enabled."""
        if (delivery is None) != everything:
            raise click.UsageError("name a delivery, or give --all")
        count = webhooks.redeliver_dead(merchant, str(delivery) if delivery else None)
        if not count and not everything:
            raise click.ClickException("no enabled endpoint has a dead delivery of this id")
        click.echo(f"{app.name}: {count} to be delivered again")
