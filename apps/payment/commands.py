"""The payment service's commands: `flask --app payment migrate | relay | purge | reconcile | resync`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from flask import Flask

from chassis.cli import commands, failures, reconcile
from chassis.cli.commands import Old
from chassis.cli.values import Moment
from chassis.config import ConfigError
from chassis.messaging import shares
from chassis.messaging.shares import Shares
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import UNAVAILABLE, Session
from payment import expiry, store
from payment.config import Settings
from payment.resync import Report
from payment.service import Payments

KEPT = ("payments", "operations")
"""The tables whose rows the service never deletes. The simulator's records are in a table `operations`, too."""


def register(app: Flask, migrations: str, payments: Payments, settings: Settings) -> None:
    """Add the commands to the application."""
    commands.register(
        app,
        migrations,
        lambda: loops(payments, settings),
        {"idempotency_keys": Old(store.OLD_KEYS, ("key text",))},
        KEPT,
    )
    columns = ("operation", "kind", "amount", "payment says", "provider says")
    reconcile.register(app, columns, ("payment", "provider"), payments.provider_controls.differences)

    @app.cli.command("resync")
    @click.option(
        "--since", type=Moment(past=True), required=True, help="The moment to which a database was restored (RFC 3339)."
    )
    def resync_command(since: datetime) -> None:
        """Adopt what only the provider knows, and tell order again what changed since a moment.

        Safe to stop and to repeat. The exit status is 0 if everything was adopted, 1 if some records were not, 2 if the
        provider or the database did not respond: then repeat the command.
        """
        report = Report()
        try:
            for report in payments.resync.run(since, datetime.now(UTC)):
                click.echo(f"\r{report.records} records compared, {report.told} payments told", nl=False, err=True)
        except UNAVAILABLE as error:
            report.faults.append(failures.describe(error))
        click.echo(err=True)
        _print(app.name, report)
        if report.faults or report.findings:
            sys.exit(2 if report.faults else 1)


def _print(name: str, report: Report) -> None:
    for label, count in (
        ("records of the provider compared", report.records),
        ("payments adopted", report.payments),
        ("operations adopted", report.operations),
        ("outcomes adopted", report.settled),
        ("payments told to order again", report.told),
        ("records not adopted", len(report.findings)),
    ):
        click.echo(f"{label:<34}{count:>10}")
    if report.findings:
        click.echo(f"{'payment':<36}  {'operation':<36}  {'at the provider':<40}  why")
    for each in report.findings:
        click.echo(
            f"{each.payment_id or '-':<36}  {each.operation_id or '-':<36}  {each.charge or '-':<40}  {each.text}"
        )
    for fault in report.faults:
        click.echo(f"{name}: not complete: {fault}")


def loops(payments: Payments, settings: Settings) -> Sequence[WorkLoop]:
    """Return the loops of `flask relay`.

    The relay sends events to the order service, the executor carries out operations without a known outcome, and
    expiry voids expired authorizations. Raises ConfigError if there is no secret to sign events with.
    """
    if not settings.events_secrets:
        raise ConfigError("EVENTS_SECRETS: must be set, or no event could be signed")

    def loop(name: str, claim: Callable[[Session, int], Sequence[Any]], work: Callable[[Any], object]) -> WorkLoop:
        return WorkLoop(
            name,
            payments.database,
            claim,
            work,
            concurrency=settings.relay_concurrency,
            poll=settings.poll_seconds,
        )

    relay = payments.relay.loop(
        lease=settings.lease_seconds, concurrency=settings.relay_concurrency, poll=settings.poll_seconds
    )
    executing, expiring = (Shares(shares.most(settings.relay_concurrency)) for _ in range(2))
    return [
        relay,
        loop("executor", executing.claiming(payments.executor.claim), executing.working(payments.executor.execute)),
        loop("expiry", expiring.claiming(expiry.find), expiring.working(payments.expire)),
    ]
