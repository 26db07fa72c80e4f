"""The lines of an order: their kinds, what their amounts must be, and their sum. Pure functions.

The total of an order is the sum of quantity times unit amount over all lines. Lines of every kind are added; a discount
is negative. `tax_amount` says how much of a line is tax, and is never added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

Line = Mapping[str, Any]


class Kind(StrEnum):
    """What a line stands for."""

    ITEM = "item"
    SHIPPING = "shipping"
    TAX = "tax"
    DISCOUNT = "discount"


def amount(line: Line) -> int:
    """Return what a line adds to the total, in minor units: negative for a discount."""
    product: int = line["quantity"] * line["unit_amount"]
    return product


def faults(line: Line) -> Iterator[tuple[str, str]]:
    """Yield the members of a line that do not fit its kind or each other, each with a sentence for people."""
    if line["kind"] == Kind.DISCOUNT and line["unit_amount"] > 0:
        yield "unit_amount", "Must be negative or 0, because the line is a discount."
        return
    if line["kind"] != Kind.DISCOUNT and line["unit_amount"] < 0:
        yield "unit_amount", "Must be at least 0. Only a line of the kind discount is negative."
        return
    tax, whole = line.get("tax_amount"), amount(line)
    least, most = min(0, whole), max(0, whole)
    if tax is not None and not least <= tax <= most:
        yield "tax_amount", f"Must be between {least} and {most}: it is a part of the amount of the line, {whole}."


def placed(line: Line) -> dict[str, Any]:
    """Return a line of a request as the order keeps it, with its members in the order in which jsonb keeps them."""
    return {
        "sku": line["sku"],
        "kind": line["kind"],
        "name": line.get("name"),
        "amount": amount(line),
        "quantity": line["quantity"],
        "tax_amount": line.get("tax_amount"),
        "unit_amount": line["unit_amount"],
    }


def total(lines: Iterable[Line]) -> int:
    """Return the sum of all lines in minor units. Raises ValueError if it is negative or exceeds 64 bits."""
    found = sum(map(amount, lines))
    if found < 0:
        raise ValueError("The total is negative: the discounts are larger than the other lines")
    if found > 2**63 - 1:
        raise ValueError("The total is larger than an amount can be")
    return found
