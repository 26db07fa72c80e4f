"""`tandem orders`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import get_args

import click

from tandem_client.cli.output import local_time, warn
from tandem_client.cli.session import NOT_AS_ASKED, F, Session, if_match, labels, order_id, pass_session, writes
from tandem_client.cli.settings import time
from tandem_client.cli.values import Seconds, Whole, whole
from tandem_client.model import Item, Order
from tandem_client.values import Capture, LineKind, OrderStatus, Sort

_LINE = "SKU:QUANTITY:AMOUNT[/TAX][:NAME]"
_IN_PROGRESS = ("pending_payment", "canceling")
_STATUS = click.Choice(get_args(OrderStatus))


@click.group()
def orders() -> None:
    """Place, show, list, capture, cancel and refund orders."""


def line(kind: LineKind, example: str) -> Callable[[str], Item]:
    """Return a function that reads a line of this kind, written as `_LINE`.

    AMOUNT is that of one unit, and TAX the tax in the whole line. The function raises BadParameter, with the example.
    """

    def read(value: str) -> Item:
        sku, *rest = value.split(":", 3)
        try:
            amount, _, tax = rest[1].partition("/")
            name, tax_amount = rest[2] if len(rest) > 2 else None, whole(tax) if tax else None
            return Item(sku, whole(rest[0]), whole(amount), name, kind=kind, tax_amount=tax_amount)
        except (IndexError, click.BadParameter):
            raise click.BadParameter(f"{value!r} is not {_LINE}, such as {example} (amounts in minor units)") from None

    return read


def lines(kind: LineKind, example: str, about: str, *, required: bool = False) -> Callable[[F], F]:
    """Return an option for lines of a kind, which can be repeated."""
    return click.option(
        f"--{kind}",
        f"{kind}_lines",
        type=line(kind, example),
        multiple=True,
        required=required,
        metavar=_LINE,
        help=f"{about} Can be repeated.",
    )


@orders.command()
@lines("item", "tea-100:2:450", "A product, with the amount of one unit, in minor units.", required=True)
@lines("shipping", "dhl:1:595", "A line for shipping.")
@lines("tax", "vat-19:1:171", "A line for tax that is charged in addition.")
@lines("discount", "WELCOME:1:-500", "A line for a discount, with a negative amount.")
@click.option("--currency", required=True, help="ISO 4217, such as EUR.")
@click.option("--payment-method", required=True, help="A provider's payment method; with the simulator, such as pm_ok.")
@click.option("--customer")
@click.option("--reference", help="The shop's own order number. No other order may have it.")
@click.option("--capture", type=click.Choice(get_args(Capture)), help="manual: authorize now, capture later.")
@labels
@writes
@pass_session
def place(
    session: Session,
    item_lines: tuple[Item, ...],
    shipping_lines: tuple[Item, ...],
    tax_lines: tuple[Item, ...],
    discount_lines: tuple[Item, ...],
    currency: str,
    payment_method: str,
    customer: str | None,
    reference: str | None,
    capture: Capture | None,
    metadata: dict[str, str] | None,
    wait: int,
    idempotency_key: str | None,
) -> int:
    """Place an order: tandem orders place --item tea-100:2:450 --currency EUR --payment-method pm_ok.

    The total is the sum of all lines. A TAX says how much of its line is tax; it is not added.
    """
    order = session.client.place_order(
        items=[*item_lines, *shipping_lines, *tax_lines, *discount_lines],
        currency=currency,
        payment_method=payment_method,
        customer=customer,
        reference=reference,
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
@click.option("--reference", help="The order with this reference.")
@labels
@click.option("--created-after", type=time, metavar="TIME", help="A time, or how long ago: 30s, 10m, 2h, 7d.")
@click.option("--created-before", type=time, metavar="TIME")
@click.option("--sort", type=click.Choice(get_args(Sort)), help="-created_at, the default, is the newest first.")
@click.option("--limit", type=Whole(1), default=20, help="At most so many orders.")
@pass_session
def list_orders(
    session: Session,
    status: tuple[OrderStatus, ...],
    customer: str | None,
    reference: str | None,
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
        reference=reference,
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
    type=Whole(0),
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
@click.option("--amount", type=Whole(1), help="In minor units; by default all that is left.")
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
@click.option("--seconds", type=Seconds(0, 86400), default=60, help="How long to wait.")
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
