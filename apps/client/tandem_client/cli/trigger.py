"""`tandem trigger`: makes an event happen, with an order of its own that is paid by the simulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import click

from tandem_client.cli.events import write
from tandem_client.cli.output import warn
from tandem_client.cli.session import NOT_AS_ASKED, Session, pass_session
from tandem_client.client import Client
from tandem_client.model import FeedEvent, Item, Order
from tandem_client.values import Capture, EventType

WAIT = 10
"""Seconds to wait for each step."""


def _order(client: Client, method: str = "pm_ok", capture: Capture = "automatic") -> Order:
    return client.place_order(
        items=[Item("trigger", 2, 450, "An order of tandem trigger")],
        currency="EUR",
        payment_method=method,
        capture=capture,
        metadata={"tandem": "trigger"},
        wait=WAIT,
    )


def _paid(client: Client) -> Order:
    return _order(client)


def _authorized(client: Client) -> Order:
    return _order(client, capture="manual")


def _declined(client: Client) -> Order:
    return _order(client, "pm_declined")


def _paid_again(client: Client) -> Order:
    return client.pay_again(_declined(client).id, payment_method="pm_ok", wait=WAIT)


def _canceled(client: Client) -> Order:
    return client.cancel(_authorized(client).id, wait=WAIT)


def _updated(client: Client) -> Order:
    return client.update_order(_paid(client).id, metadata={"tandem": "updated"})


def _captured(client: Client) -> Order:
    return client.capture(_authorized(client).id, wait=WAIT)


def _partly_captured(client: Client) -> Order:
    return client.capture(_authorized(client).id, amount=450, final=False, wait=WAIT)


def _capture_declined(client: Client) -> Order:
    return client.capture(_order(client, "pm_capture_declined", "manual").id, wait=WAIT)


def _refunded(client: Client, method: str = "pm_ok", amount: int | None = None) -> Order:
    order = _order(client, method)
    if order.status == "paid":
        client.refund(order.id, amount=amount, wait=WAIT)
    return order


def _partly_refunded(client: Client) -> Order:
    return _refunded(client, amount=450)


def _refund_declined(client: Client) -> Order:
    return _refunded(client, "pm_refund_declined")


ACTIONS: dict[EventType, Callable[[Client], Order]] = {
    "order.placed": _paid,
    "order.authorized": _authorized,
    "order.partially_captured": _partly_captured,
    "order.paid": _paid,
    "order.payment_failed": _declined,
    "order.payment_attempted": _paid_again,
    "order.canceling": _canceled,
    "order.canceled": _canceled,
    "order.refunded": _refunded,
    "order.updated": _updated,
    "refund.succeeded": _partly_refunded,
    "refund.failed": _refund_declined,
    "payment.capture_requested": _captured,
    "payment.capture_declined": _capture_declined,
    "payment.void_requested": _canceled,
    "payment.refund_requested": _refunded,
}
"""What leads to each event. `order.expired` takes days, and no request leads to the other types with certainty."""


@click.command(epilog=f"Events: {', '.join(ACTIONS)}.")
@click.argument("kind", type=click.Choice(list(ACTIONS)), metavar="EVENT")
@pass_session
def trigger(session: Session, kind: EventType) -> int:
    """Make an event happen: place an order and do what leads to EVENT, such as order.refunded.

    It needs the simulator, the default payment provider. The order has the label tandem=trigger.
    """
    order = ACTIONS[kind](session.client)
    event = _find(session.client, order, kind)
    if event is None:
        now = session.client.get_order(order.id)
        warn(
            f"{kind} did not happen: order {order.id} is {now.status}. Is the payment provider the simulator? Are its "
            f"faults switched on? `tandem orders show {order.id}` shows what happened."
        )
        return NOT_AS_ASKED
    write(session.output, event)
    return 0


def _find(client: Client, order: Order, kind: EventType) -> FeedEvent | None:
    """Return the event of this order, or None if it does not happen in time."""
    since = order.created_at - timedelta(minutes=1)
    return next(iter(client.read_events(since=since, order_id=order.id, type=kind, wait=WAIT, page_size=1)), None)
