"""The commands `flask --app order publisher | republish`, and the gauges of the publisher."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click
from flask import Flask

from chassis.cli import commands
from chassis.cli.values import Moment
from chassis.config import ConfigError
from chassis.postgres.database import Session
from chassis.service import Service
from chassis.telemetry.metrics import DatabaseGauges, Samples
from order.feed import store as feed
from order.publisher import store
from order.publisher.config import Settings
from order.publisher.loop import Publisher
from order.publisher.watcher import Watcher

if TYPE_CHECKING:
    from order.publisher.jetstream import JetStream
    from order.publisher.kafka import Kafka

RECENT = 120.0
"""Seconds after which the lag of a consumer is no longer shown as a metric: the broker does not say more."""


def register(app: Flask, settings: Settings, *, lease: float, poll: float) -> None:
    """Add the commands to the application. `lease` and `poll` are in seconds (see Publisher)."""
    database = app.extensions["tandem"].database

    @app.cli.command("publisher")
    @click.option("--forget", is_flag=True, help="After the publisher was turned off for good: end its alert.")
    def publisher_command(forget: bool) -> None:
        """Publish all events to the broker of EVENTS_URL until SIGTERM.

        Several may run: one of them publishes, and another one takes over when it ends.
        """
        if forget:
            store.forget(database.session())
            click.echo(f"{app.name}: the publisher is forgotten; its positions are kept")
            return
        if not settings.servers and not settings.kafka:
            raise ConfigError("EVENTS_URL is not set: it must name the broker, such as nats://nats:4222")
        service: Service = app.extensions["tandem"]
        commands.take_role(service, "publisher")
        # A round may take four times the timeout, and the lease must not expire meanwhile.
        held = max(lease, 6 * settings.timeout)
        loop = Publisher(database, connect(settings), source=settings.source, lease=held, poll=poll)
        commands.run_loops(service, [loop, Watcher(database, connect(settings))])

    @app.cli.command("republish")
    @click.option(
        "--since", type=Moment(past=True), required=True, help="Publish the events since this moment again (RFC 3339)."
    )
    def republish_command(since: datetime) -> None:
        """Move the positions of all merchants to a moment, back or forward. The publisher may be running.

        Events keep their ids. The broker discards those that it has received within its window for duplicates.
        """
        session = database.session()
        store.rewind(session, feed.place_at(session, since))
        click.echo(f"{app.name}: the events since {since.isoformat()} are published again")


def connect(settings: Settings) -> JetStream | Kafka:
    """Return the broker that the settings name. Nothing is sent before it publishes."""
    # Imported here: the other processes of the service need none of the libraries, and the publisher only one.
    if settings.kafka:
        from order.publisher.kafka import Kafka

        return Kafka(settings)
    from order.publisher.jetstream import JetStream

    return JetStream(settings)


def add_gauges(gauges: DatabaseGauges) -> None:
    """Measure in every process what a publisher has stored: the age of the oldest event, and the consumers' lag."""

    def read(session: Session) -> Samples:
        age = store.oldest_seconds(session)
        return [] if age is None else [((), (age,))]

    def read_consumers(session: Session) -> Samples:
        return [((row["name"],), (row["pending"],)) for row in store.consumers(session) if row["age"] < RECENT]

    gauges.add(
        {"events_consumer_pending": "Events that a consumer of the broker has not acknowledged."},
        ("consumer",),
        read_consumers,
    )
    gauges.add(
        {"events_unpublished_oldest_seconds": "Age of the oldest event that the broker has not acknowledged."}, (), read
    )
