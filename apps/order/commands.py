"""The order service's commands: `flask --app order migrate | relay | purge`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask

from chassis import commands
from chassis.leases import LeaseLoop
from order.config import Settings
from order.service import Orders


def register(app: Flask, migrations: str, orders: Orders, settings: Settings) -> None:
    """Add the commands to the application."""
    commands.register(app, migrations, lambda: loops(orders, settings))


def loops(orders: Orders, settings: Settings) -> Sequence[LeaseLoop]:
    """What `relay` runs: the relay, which carries commands to payment."""
    return [
        orders.relay.loop(
            lease=settings.lease_seconds, concurrency=settings.relay_concurrency, poll=settings.poll_seconds
        )
    ]
