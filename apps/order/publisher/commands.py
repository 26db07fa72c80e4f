"""The commands `flask --app order publisher | republish`, and the gauge of the publisher."""

from __future__ import annotations

import click
from flask import Flask

from chassis.cli import commands
from chassis.cli.reconcile import parse_time
from chassis.postgres.database import Session
from chassis.telemetry import metrics, tracing
from chassis.telemetry.metrics import DatabaseGauges, Samples
from order.feed import store as feed
from order.publisher import store
from order.publisher.config import Settings
from order.publisher.loop import Broker, Publisher


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
            raise click.ClickException("EVENTS_URL is not set: it must name the broker, such as nats://nats:4222")
        metrics.set_role("publisher")
        tracing.start(app.name, "publisher")
        # A round may take four times the timeout, and the lease must not expire meanwhile.
        held = max(lease, 6 * settings.timeout)
        loop = Publisher(database, connect(settings), source=settings.source, lease=held, poll=poll)
        commands.run_loops(app.extensions["tandem"], [loop])

    @app.cli.command("republish")
    @click.option("--since", required=True, help="Publish the events since this moment again (RFC 3339).")
    def republish_command(since: str) -> None:
        """Move the positions of all merchants to a moment, back or forward. The publisher may be running.

        Events keep their ids. The broker discards those that it has received within its window for duplicates.
        """
        session = database.session()
        store.rewind(session, feed.place_at(session, parse_time(since)))
        click.echo(f"{app.name}: the events since {since} are published again")


def connect(settings: Settings) -> Broker:
    """Return the broker that the settings name. Nothing is sent before it publishes."""
    # Imported here: the other processes of the service need none of the libraries, and the publisher only one.
    if settings.kafka:
        from order.publisher.kafka import Kafka

        return Kafka(settings)
    from order.publisher.jetstream import JetStream

    return JetStream(settings)


def add_gauges(gauges: DatabaseGauges) -> None:
    """Measure the age of the oldest event that is not published, in every process, once a publisher has run."""

    def read(session: Session) -> Samples:
        age = store.oldest_seconds(session)
        return [] if age is None else [((), (age,))]

    gauges.add(
        {"events_unpublished_oldest_seconds": "Age of the oldest event that the broker has not acknowledged."}, (), read
    )
