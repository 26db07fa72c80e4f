"""The order service's commands (`flask --app order migrate | relay | purge | reconcile | orphans | resync`)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import click
from flask import Flask

from chassis.cli import commands, failures
from chassis.cli import reconcile as report
from chassis.cli.commands import Old
from chassis.cli.values import Moment
from chassis.messaging.outbox import Message
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Row, Session
from order import reconcile, resync
from order.config import Settings
from order.feed import store as feed
from order.service import Orders
from order.store import orphans

KEPT = ("orders", "refunds")
"""The tables whose rows the service never deletes."""


def register(
    app: Flask, migrations: str, orders: Orders, settings: Settings, more: Callable[[], Sequence[WorkLoop]]
) -> None:
    """Add the commands to the application. `more` returns further loops that `relay` runs."""
    # Only releases before 0.3 wrote the inbox. Their rows are of no use after a day: signatures expire after minutes.
    old_rows = {
        "inbox": Old("received_at < now() - make_interval(days => LEAST(%s, 1))", ("id text",)),
        "orphan_payments": Old(orphans.OLD_ROWS, ("payment_id uuid",)),
        "webhook_deliveries": Old(
            "created_at < now() - make_interval(days => %s) AND status <> 'pending'", ("endpoint_id uuid", "id uuid")
        ),
    }

    def differences(since: str, until: str) -> Iterator[report.Difference | report.Total]:
        if not settings.payment_api_key:
            raise failures.NoResponse("PAYMENT_API_KEY is not set, so payment was not asked: nothing was compared")
        return reconcile.differences(orders.database.session(), orders.gateway, since, until)

    commands.register(app, migrations, lambda: [*loops(orders, settings), *more()], old_rows, KEPT)
    report.register(
        app,
        ("order", "what", "order says", "payment says", "provider says"),
        ("order", "payment", "provider"),
        differences,
    )

    @app.cli.command("resync")
    @click.option(
        "--since", type=Moment(past=True), required=True, help="Send commands since this moment again (RFC 3339)."
    )
    @click.option("--refund-orphans", is_flag=True, help="Void or refund the payments without an order.")
    def resync_command(since: datetime, refund_orphans: bool) -> None:
        """After a restore: send payment again what was asked since a moment, and list the payments of lost orders.

        The commands keep their ids, so nothing is charged or refunded twice. It can be repeated and interrupted. The
        relay sends the commands. New events follow all positions that consumers of the feed can know.

        The exit status is 2 if payment did not say whether it has a payment or refund that is under way. Otherwise,
        with --refund-orphans, it is 1 if a payment may still hold money, also because payment did not answer.

        Payments that were without an order before the moment are listed, too: their orders may have been placed after
        it and be lost.
        """
        session = orders.database.session()
        feed.advance(session)
        run = resync.Resync(session, orders.gateway, orders.lose, lambda line: click.echo(f"{app.name}: {line}"))
        run.run(since)
        if run.lost:
            click.echo(f"{app.name}: {run.lost} payments that payment has lost were taken from their orders")
        if run.refunds:
            click.echo(
                f"{app.name}: {run.refunds} payments have lost refunds; their orders do not wait for these any more"
            )
        click.echo(f"{app.name}: {run.again} commands are sent again, {run.rebuilt} of them were rebuilt")
        summary, failed = Summary(since), 0
        for row in orphans.each(session, ended=True):
            what = ""
            if refund_orphans and row["held"]:
                done, what = resync.return_money(session, orders.gateway, row)
                failed += not done
            summary.add(row)
            click.echo(f"{orphans.line(row)}  {what}".rstrip())
        for line in summary.lines():
            click.echo(f"{app.name}: {line}")
        if summary.holding and not refund_orphans:
            click.echo("--refund-orphans returns the money.")
        if failed:
            click.echo(f"{app.name}: {failed} of them may still hold money; run this command again")
        if run.faults:
            click.echo(f"{app.name}: payment did not answer for {run.faults} payments; run this command again")
        if failed or run.faults:
            sys.exit(2 if run.faults else 1)

    @app.cli.command("orphans")
    def orphans_command() -> None:
        """List the payments that hold or may hold money and whose order does not exist, longest known first."""
        number = 0
        for row in orphans.each(orders.database.session()):
            number += 1
            click.echo(orphans.line(row))
        click.echo(f"{app.name}: {number} payments without an order")


class Summary:
    """Counts the payments without an order, separately those that were known before a moment."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
        self._number: Counter[str] = Counter()
        self._holding: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count a row of `orphans.each`."""
        known = "since" if row["first_seen_at"] >= self._moment else "before"
        self._number[known] += 1
        self._holding[known] += bool(row["held"])

    @property
    def holding(self) -> int:
        """How many of the payments hold or may hold money."""
        return self._holding.total()

    def lines(self) -> Iterator[str]:
        """Yield what the command prints after the list."""
        for known, of_orders in (
            ("since", "Their orders were acknowledged and are lost, or were never placed"),
            ("before", "Their orders were placed after that and are lost, or were never placed"),
        ):
            number = self._number[known]
            if number or known == "since":
                moment = f"{self._moment:%Y-%m-%d %H:%M:%S} UTC"
                held = f"{self._holding[known]} of them held money"
                yield f"{number} payments known {known} {moment} have no order, {held}"
                if number:
                    yield of_orders


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
