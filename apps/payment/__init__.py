"""The payment service: asks a provider for an order's money, once, and knows at all times what it does not know."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

import chassis.service
from chassis.messaging import outbox
from chassis.messaging.remote import Remote
from chassis.openapi import document as openapi
from chassis.postgres.database import Database
from payment import api, commands, compat, config, metrics, providers, schemas, simulator_api
from payment.service import Payments

MIGRATIONS = str(Path(__file__).parent / "migrations")


def create_app(settings: config.Settings | None = None) -> Flask:
    """The Flask application. It connects to nothing until it has to.

    Raises config.ConfigError or environs.EnvError when a setting is missing or wrong.
    """
    settings = settings or config.load()
    database = Database(settings.database_url, "payment")
    # A lease or a mark that a crash of the server forgets has an event told again, which order takes once.
    events = Database(settings.database_url, "payment-events", synchronous_commit=False)
    order = Remote("order", settings.order_url, {}, settings.order_timeout)
    provider = providers.load(settings)
    payments = Payments(database, events, provider, order, settings)
    app = chassis.service.create_app(
        "payment",
        "Tandem payments",
        settings,
        database,
        [api.blueprint, compat.blueprint, simulator_api.blueprint],
        about="Asks a payment provider for an order's money, once, and knows at all times what it does not know.",
        webhooks=[openapi.Webhook("payment.updated", schemas.PaymentUpdated, "Tell the order service of a payment")],
        migrations=MIGRATIONS,
        use_cases={"payments": payments},
    )
    outbox.add_gauges(app.extensions["tandem"].gauges, "payment.updated")
    metrics.add_gauges(app.extensions["tandem"].gauges)
    commands.register(app, MIGRATIONS, payments, settings)
    return app
