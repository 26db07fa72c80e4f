"""`tandem events`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import get_args

import click

from tandem_client.cli.output import EVENT_WIDTH, Output, local_time, money, warn
from tandem_client.cli.session import Session, pass_session
from tandem_client.cli.settings import time
from tandem_client.cli.values import Whole
from tandem_client.client import Client
from tandem_client.errors import Unavailable
from tandem_client.model import FeedEvent
from tandem_client.values import EventType

_RECENT = timedelta(hours=1)


@click.command()
@click.option("--follow", is_flag=True, help="Wait for further events until Ctrl-C.")
@click.option(
    "--since",
    type=time,
    metavar="TIME",
    help="A time, or how long ago: 30s, 10m, 2h, 7d. Default: 1h, with --follow now.",
)
@click.option("--after", metavar="POSITION", help="Continue behind the `position` of an event.")
@click.option("--type", "kind", type=click.Choice(get_args(EventType)), help="Only events of this type.")
@click.option("--order", "order_id", help="Only events of this order.")
@click.option("--limit", type=Whole(1), help="At most so many events.")
@pass_session
def events(
    session: Session,
    follow: bool,
    since: datetime | None,
    after: str | None,
    kind: EventType | None,
    order_id: str | None,
    limit: int | None,
) -> None:
    """Show the events of all orders, oldest first.

    As JSON, each event has a `position`: --after POSITION continues there.
    """
    if since is None and after is None and order_id is None:
        since = datetime.now(timezone.utc) - (timedelta(0) if follow else _RECENT)
    found = follow_events(session.client, after, since, kind, order_id, follow)
    is_empty = True
    for event in itertools.islice(found, limit):
        is_empty = False
        write(session.output, event)
    if session.output.as_table and is_empty:
        warn("No event. --since 7d looks further back; --follow waits for the next one.")


def follow_events(
    client: Client,
    after: str | None,
    since: datetime | None,
    kind: EventType | None = None,
    order_id: str | None = None,
    follow: bool = True,
) -> Iterator[FeedEvent]:
    """Yield events. With `follow`, continue after outages, which are reported to standard error."""
    position, seen = after, set[str]()
    while True:
        try:
            for event in client.events(after=position, since=since, type=kind, order_id=order_id, follow=follow):
                # After an outage, a page can come a second time.
                if event.id not in seen:
                    yield event
                    seen = {event.id} if event.position != position else seen | {event.id}
                    position = event.position
            return
        except Unavailable as error:
            if not follow:
                raise
            warn(f"{error} Still trying; Ctrl-C stops.")


def write(output: Output, event: FeedEvent) -> None:
    """Write an event."""
    if not output.as_table:
        output.json({**event.answer.body, **({"position": event.position} if event.position else {})})
        return
    order, refund = event.order, event.refund
    amount = money(refund.amount, refund.currency) if refund else money(order.total_amount, order.currency)
    kind = f"{event.type:<{EVENT_WIDTH}}"
    output.line(local_time(event.created_at), kind, event.order_id, f"{amount:>14}", order.status)
