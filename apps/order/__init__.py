"""The order service: accepts orders, never loses one, and has them paid by the payment service."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

import chassis.service
from chassis.cli import failures
from chassis.messaging import outbox
from chassis.openapi.document import Webhook
from chassis.postgres.database import Database
from chassis.replica import Replica
from order import api, commands, compat, config, metrics, model, problems
from order.feed import api as feed_api
from order.feed import metrics as feed_metrics
from order.feed.service import Feed
from order.gateway import PaymentGateway
from order.operator import views
from order.operator.application import PATH
from order.publisher import commands as publisher_commands
from order.refunds import Refunds
from order.service import Orders
from order.transition import EVENTS
from order.webhooks import api as webhooks_api
from order.webhooks import commands as webhooks_commands
from order.webhooks.model import TEST
from order.webhooks.schemas import ABOUT, OrderEvent, RefundEvent, TestEvent
from order.webhooks.service import Webhooks

MIGRATIONS = str(Path(__file__).parent / "migrations")


@failures.with_valid_settings
def create_app(settings: config.Settings | None = None) -> Flask:
    """Return the Flask application. It opens connections when the first request or loop needs them.

    `settings` are by default those in the environment. Raises config.ConfigError or environs.EnvError if one of these
    is missing or invalid.
    """
    settings = settings or config.load()
    database = Database(settings.database_url, "order")
    gateway = PaymentGateway(settings.payment_url, settings.payment_api_key, settings.payment_timeout)
    webhooks = Webhooks(database, settings.webhooks)
    lists = Replica(database, settings.read_database_url, "order")
    orders = Orders(database, lists, gateway, webhooks.wake, waiting=max(1, settings.web_threads // 2))
    feed = Feed(database, orders.waiting_room, waiting=max(1, settings.web_threads // 4))
    app = chassis.service.create_app(
        "order",
        "Tandem orders",
        settings,
        database,
        [api.blueprint, feed_api.blueprint, compat.blueprint, webhooks_api.blueprint],
        about="Accepts orders, never loses one, and has each of them paid once.",
        webhooks=[
            Webhook(kind, RefundEvent if kind.startswith("refund.") else OrderEvent, ABOUT[kind]) for kind in EVENTS
        ]
        + [Webhook(TEST, TestEvent, "Test whether events reach a merchant's endpoint")],
        problems=problems.CATALOGUE,
        migrations=MIGRATIONS,
        table=commands.KEPT[0],
        use_cases={"orders": orders, "refunds": Refunds(database, lists), "feed": feed, "webhooks": webhooks},
        admin_pages={PATH: views.application(settings, gateway)},
    )
    outbox.add_gauges(app.extensions["tandem"].gauges, *model.Command)
    metrics.add_gauges(app.extensions["tandem"].gauges)
    feed_metrics.add_gauges(app.extensions["tandem"].gauges)
    publisher_commands.add_gauges(app.extensions["tandem"].gauges)
    webhooks_commands.add_gauges(app.extensions["tandem"].gauges)
    commands.register(
        app,
        MIGRATIONS,
        orders,
        settings,
        # Webhooks have a loop of their own: nothing else waits for slow receivers.
        lambda: [webhooks.deliverer.loop(lease=settings.lease_seconds, poll=settings.poll_seconds)],
    )
    webhooks_commands.register(app, webhooks)
    publisher_commands.register(app, settings.events, lease=settings.lease_seconds, poll=settings.poll_seconds)
    return app
