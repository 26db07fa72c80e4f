"""The payment service: charges each order at most once, and keeps asking the provider for unknown outcomes."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

import chassis.service
from chassis.cli import failures
from chassis.messaging import outbox
from chassis.openapi.document import Webhook
from chassis.postgres.database import Database
from payment import api, batch_api, commands, compat, config, metrics, problems, providers, schemas, simulator_api
from payment.batches import Batches
from payment.gateway import OrderGateway
from payment.service import Payments

MIGRATIONS = str(Path(__file__).parent / "migrations")


@failures.with_valid_settings
def create_app(settings: config.Settings | None = None) -> Flask:
    """Return the Flask application. It opens connections when the first request or loop needs them.

    `settings` are by default those in the environment. Raises config.ConfigError or environs.EnvError if one of these
    is missing or invalid.
    """
    settings = settings or config.load()
    database = Database(settings.database_url, "payment")
    # If a crash of the server loses a lease or a mark, the event is sent again, and order ignores the duplicate.
    events = Database(settings.database_url, "payment-events", synchronous_commit=False)
    gateway = OrderGateway(settings.order_url, settings.events_secrets, settings.order_timeout)
    payments = Payments(database, events, providers.load(settings), gateway, settings)
    app = chassis.service.create_app(
        "payment",
        "Tandem payments",
        settings,
        database,
        [api.blueprint, batch_api.blueprint, compat.blueprint, simulator_api.blueprint],
        about="Charges each order at most once through a payment provider, and keeps asking it for unknown outcomes.",
        webhooks=[Webhook("payment.updated", schemas.PaymentUpdated, "Tell the order service the state of a payment")],
        problems=problems.CATALOGUE,
        migrations=MIGRATIONS,
        table=commands.KEPT[0],
        use_cases={"payments": payments, "batches": Batches(payments)},
    )
    outbox.add_gauges(app.extensions["tandem"].gauges, "payment.updated")
    metrics.add_gauges(app.extensions["tandem"].gauges)
    commands.register(app, MIGRATIONS, payments, settings)
    return app
