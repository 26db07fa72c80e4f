"""Output of `tandem`: tables and sentences on a terminal, JSON otherwise."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tandem_client.model import Order, Refund
from tandem_client.values import EventType

_STYLES = {
    **dict.fromkeys(("paid", "succeeded", "captured", "authorized"), "green"),
    **dict.fromkeys(("payment_failed", "failed", "expired"), "red"),
    **dict.fromkeys(("pending_payment", "pending", "canceling"), "yellow"),
}

# ISO 4217. All other currencies with a minor unit have two decimals.
_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
    *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
)
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_DECIMALS = {**dict.fromkeys(_NO_DECIMALS, 0), **dict.fromkeys(_THREE_DECIMALS, 3), "CLF": 4, "UYW": 4}

EVENT_WIDTH = max(map(len, get_args(EventType)))
"""The length of the longest known type of an event."""

_MOST_IN_A_CELL = 36
"""The most characters in a line of a cell: the length of an id."""


class Output:
    """Writes results to standard output: as tables if `as_table`, otherwise as JSON, one object a line."""

    def __init__(self, form: str) -> None:
        """`form` is `table`, `json`, or `auto`: tables if standard output is a terminal."""
        self.as_table = sys.stdout.isatty() if form == "auto" else form == "table"
        self._console = Console(highlight=False, soft_wrap=False)

    def json(self, body: Mapping[str, Any]) -> None:
        """Write one object as a line of JSON."""
        click.echo(json.dumps(body))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> None:
        """Write a table. The columns in `numbers` are aligned to the right.

        A table can be wider than the terminal: its lines stay whole, except for cells of more than 36 characters.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(
                name, justify="right" if name in numbers else "left", overflow="fold", max_width=_MOST_IN_A_CELL
            )
        for row in rows:
            table.add_row(*(_cell(each) for each in row))
        unlimited = self._console.options.update(max_width=len(columns) * (_MOST_IN_A_CELL + 1))
        table.width = self._console.measure(table, options=unlimited).maximum
        self._console.print(table, crop=False, soft_wrap=True)

    def line(self, *cells: object) -> None:
        """Write one line of a list that grows."""
        self._console.print(Text("  ").join(_cell(each) for each in cells), soft_wrap=True)

    def order(self, order: Order) -> None:
        """Write an order."""
        if not self.as_table:
            self.json(order.answer.body)
            return
        payment, error = order.payment, order.last_error
        self.line(Text("order", "bold"), order.id, order.status, f"version {order.version}")
        facts = {
            "total": money(order.total_amount, order.currency),
            "paid": money(order.paid_amount, order.currency),
            "refunded": money(order.refunded_amount, order.currency) if order.refunded_amount else None,
            "payment": f"{payment.status} {payment.failure_reason or ''}".strip() if payment else None,
            "last error": f"{error.code}: {error.detail}" if error else None,
            "customer": order.customer,
            "reference": order.reference,
            "labels": ", ".join(f"{name}={value}" for name, value in order.metadata.items()) or None,
            "placed": local_time(order.created_at),
        }
        for name, value in facts.items():
            if value is not None:
                self.line(f"  {name:<10}", value)
        for item in order.items:
            amount = "" if item.amount is None else money(item.amount, order.currency)
            what = f"{item.quantity} x {item.sku or item.name}"
            self.line(f"  {item.kind:<10}", what, item.name if item.sku and item.name else "", amount)

    def orders(self, orders: Iterable[Order]) -> None:
        """Write a list of orders."""
        if not self.as_table:
            for order in orders:
                self.json(order.answer.body)
            return
        rows = [
            {
                "ID": order.id,
                "STATUS": order.status,
                "TOTAL": money(order.total_amount, order.currency),
                "CUSTOMER": order.customer,
                "REFERENCE": order.reference,
                "PLACED": local_time(order.created_at),
            }
            for order in orders
        ]
        if rows:
            columns = [name for name in rows[0] if any(row[name] for row in rows)]
            self.table(columns, ([row[name] for name in columns] for row in rows), numbers=["TOTAL"])
        else:
            click.echo("No order matches. Place one with `tandem orders place`.", err=True)

    def refund(self, refund: Refund) -> None:
        """Write a refund."""
        if not self.as_table:
            self.json(refund.answer.body)
            return
        amount = money(refund.amount, refund.currency)
        self.line(Text("refund", "bold"), refund.id, refund.status, amount, refund.failure_reason or "")


def money(amount: int, currency: str) -> str:
    """Return an amount of minor units for people: 450 and EUR as `4.50 EUR`."""
    decimals = _DECIMALS.get(currency, 2)
    return f"{Decimal(amount).scaleb(-decimals):.{decimals}f} {currency}"


def local_time(time: datetime) -> str:
    """Return a time in the local time zone, to the second."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def warn(message: str) -> None:
    """Write a message for people to standard error, if that can be written."""
    try:
        click.echo(message, err=True)
    except OSError:
        discard_unwritten()


def discard_unwritten() -> None:
    """Discard output that cannot be written. Otherwise Python writes it again when it exits, and changes the code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shortened(text: str) -> str:
    """Return a message with its first 500 characters, and without control characters."""
    shown = "".join(each if each.isprintable() or each == "\n" else f"\\x{ord(each):02x}" for each in text[:500])
    return shown if len(text) <= 500 else f"{shown}..."


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    text = "" if value is None else str(value)
    return Text(text, _STYLES.get(text, ""))
