"""`tandem orders`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import get_args

import click

from tandem_client.cli.output import local_time, warn
from tandem_client.cli.session import NOT_AS_ASKED, Session, if_match, labels, order_id, pass_session, writes
from tandem_client.cli.settings import time
from tandem_client.model import Item, Order
from tandem_client.values import Capture, OrderStatus, Sort

_IN_PROGRESS = ("pending_payment", "canceling")
_STATUS = click.Choice(get_args(OrderStatus))


@click.group()
def orders() -> None:
    """Place, show, list, capture, cancel and refund orders."""


def item(value: str) -> Item:
    """Read a line of an order, SKU:QUANTITY:UNIT_AMOUNT, optionally with :NAME. Raises BadParameter."""
    sku, *rest = value.split(":", 3)
    try:
        return Item(sku, int(rest[0]), int(rest[1]), rest[2] if len(rest) > 2 else None)
    except (IndexError, ValueError):
        raise click.BadParameter(
            f"{value!r} is not SKU:QUANTITY:UNIT_AMOUNT, such as tea-100:2:450 (amounts in minor units)"
        ) from None


@orders.command()
@click.option("--item", "items", type=item, multiple=True, required=True, metavar="SKU:QUANTITY:AMOUNT[:NAME]")
@click.option("--currency", required=True, help="ISO 4217, such as EUR.")
@click.option("--payment-method", required=True, help="A provider's payment method; with the simulator, such as pm_ok.")
@click.option("--customer")
@click.option("--capture", type=click.Choice(get_args(Capture)), help="manual: authorize now, capture later.")
@labels
@writes
@pass_session
def place(
    session: Session,
    items: Sequence[Item],
    currency: str,
    payment_method: str,
    customer: str | None,
    capture: Capture | None,
    metadata: dict[str, str] | None,
    wait: int,
    idempotency_key: str | None,
) -> int:
    """Place an order: tandem orders place --item tea-100:2:450 --currency EUR --payment-method pm_ok."""
    order = session.client.place_order(
        items=items,
        currency=currency,
        payment_method=payment_method,
        customer=customer,
        capture=capture,
        metadata=metadata,
        wait=wait,
        idempotency_key=idempotency_key,
    )
    session.output.order(order)
    if order.status == "payment_failed":
        reason = order.payment.failure_reason if order.payment else None
        warn(f"The payment was declined ({reason}).")
        return NOT_AS_ASKED
    return _settled(order)


@orders.command()
@order_id
@pass_session
def show(session: Session, order_id: str) -> None:
    """Show an order, and on a terminal its history."""
    order = session.client.get_order(order_id)
    session.output.order(order)
    if session.output.as_table:
        steps = [
            (event.version, local_time(event.at), event.type, event.after)
            for event in session.client.order_events(order_id)
        ]
        session.output.line()
        session.output.table(("VERSION", "TIME", "EVENT", "STATUS"), steps, numbers=["VERSION"])


@orders.command("list")
@click.option("--status", type=_STATUS, multiple=True, help="Can be repeated.")
@click.option("--customer")
@labels
@click.option("--created-after", type=time, metavar="TIME", help="A time, or how long ago: 30s, 10m, 2h, 7d.")
@click.option("--created-before", type=time, metavar="TIME")
@click.option("--sort", type=click.Choice(get_args(Sort)), help="-created_at, the default, is the newest first.")
@click.option("--limit", type=click.IntRange(1), default=20, help="At most so many orders.")
@pass_session
def list_orders(
    session: Session,
    status: tuple[OrderStatus, ...],
    customer: str | None,
    metadata: dict[str, str] | None,
    created_after: datetime | None,
    created_before: datetime | None,
    sort: Sort | None,
    limit: int,
) -> None:
    """List orders, the newest first."""
    found = session.client.list_orders(
        status=status or None,
        customer=customer,
        metadata=metadata,
        created_after=created_after,
        created_before=created_before,
        sort=sort,
        page_size=min(limit, 100),
    )
    session.output.orders(itertools.islice(found, limit))


@orders.command()
@order_id
@click.option(
    "--amount",
    type=click.IntRange(0),
    help="In minor units; by default all that is left. 0 releases the rest of an order of which a part is captured.",
)
@click.option("--final/--not-final", default=True, help="Whether the rest is released, or stays authorized.")
@if_match
@writes
@pass_session
def capture(
    session: Session,
    order_id: str,
    amount: int | None,
    final: bool,
    if_match: int | None,
    wait: int,
    idempotency_key: str | None,
) -> int:
    """Capture the money of an authorized order, all of it or a part."""
    order = session.client.capture(
        order_id,
        amount=amount,
        final=None if final else False,
        wait=wait,
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    return _acted(session, order)


@orders.command()
@order_id
@if_match
@writes
@pass_session
def cancel(session: Session, order_id: str, if_match: int | None, wait: int, idempotency_key: str | None) -> int:
    """Cancel an order and return its money."""
    order = session.client.cancel(order_id, wait=wait, idempotency_key=idempotency_key, if_match=if_match)
    return _acted(session, order)


@orders.command()
@order_id
@click.option("--amount", type=click.IntRange(1), help="In minor units; by default all that is left.")
@click.option("--reason", help="Shown to the merchant only.")
@labels
@if_match
@writes
@pass_session
def refund(
    session: Session,
    order_id: str,
    amount: int | None,
    reason: str | None,
    metadata: dict[str, str] | None,
    if_match: int | None,
    wait: int,
    idempotency_key: str | None,
) -> int:
    """Refund a paid order, all of it or a part."""
    refund = session.client.refund(
        order_id,
        amount=amount,
        reason=reason,
        metadata=metadata,
        wait=wait,
        idempotency_key=idempotency_key,
        if_match=if_match,
    )
    session.output.refund(refund)
    if refund.status == "failed":
        warn(f"The refund was declined ({refund.failure_reason}).")
    if refund.status == "pending":
        warn(f"The refund is not settled yet: `tandem events --order {order_id} --follow` shows when it is.")
    return 0 if refund.status == "succeeded" else NOT_AS_ASKED


@orders.command()
@order_id
@click.argument("status", type=_STATUS)
@click.option("--seconds", type=click.FloatRange(0), default=60, help="How long to wait.")
@pass_session
def wait(session: Session, order_id: str, status: OrderStatus, seconds: float) -> None:
    """Wait until an order has a status."""
    session.output.order(session.client.wait_until(order_id, status, deadline=seconds))


def _acted(session: Session, order: Order) -> int:
    """Write an order after an action, and return the exit code."""
    session.output.order(order)
    if order.last_error is not None:
        warn(f"Declined: {order.last_error.detail}")
        return NOT_AS_ASKED
    if order.answer.status == 202:
        warn(f"The order is not settled yet: `tandem events --order {order.id} --follow` shows when it is.")
        return NOT_AS_ASKED
    return 0


def _settled(order: Order) -> int:
    if order.status in _IN_PROGRESS:
        warn(f"The order is not settled yet: `tandem orders wait {order.id} paid` waits for it.")
        return NOT_AS_ASKED
    return 0
