"""The wire format of an order's lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from chassis.http.fields import Amount, Choice, Integer, List, Schema, Text, describe
from order import lines

MAX_QUANTITY = 1_000_000
MAX_UNIT_AMOUNT = 10**12
MAX_LINE = MAX_QUANTITY * MAX_UNIT_AMOUNT

_KIND = (
    "What the line stands for: `item`, the default, `shipping`, `tax` or `discount`, which is negative. "
    "Lines of all kinds are added up to the total."
)
_SKU = "The merchant's identifier of the product, or of the shipping, tax or discount."
_NAME = "The name of the product, shipping, tax or discount for people."
_TAX = (
    "How much of the line's amount (quantity times unit_amount) is tax. It is between 0 and that amount, and is not "
    "added to the total."
)


class Item(Schema):
    """A line of an order to be placed."""

    RULES: ClassVar[Mapping[str, Any]] = {
        "if": {"properties": {"kind": {"const": str(lines.Kind.DISCOUNT)}}, "required": ["kind"]},
        "then": {"properties": {"unit_amount": {"maximum": 0}}},
        "else": {"properties": {"unit_amount": {"minimum": 0}}},
    }

    kind = Choice(lines.Kind, _KIND, load_default=str(lines.Kind.ITEM))
    sku = Text(100, code=True, required=True, metadata=describe(_SKU, "tea-100"))
    name = Text(200, metadata=describe(_NAME, "Green tea"))
    quantity = Integer(
        required=True, validate=validate.Range(1, MAX_QUANTITY), metadata=describe("The number of units.", 2)
    )
    unit_amount = Integer(
        required=True,
        validate=validate.Range(-MAX_UNIT_AMOUNT, MAX_UNIT_AMOUNT),
        metadata=describe("The price of one unit, in minor units. At least 0, and in a discount at most 0.", 450),
    )
    tax_amount = Integer(validate=validate.Range(-MAX_LINE, MAX_LINE), metadata=describe(f"{_TAX} In minor units."))


class ItemView(Schema):
    """A line of an order. An order that was placed through the sketch's API has only names in its lines."""

    kind = Choice(lines.Kind, "What the line stands for.")
    sku = fields.String(allow_none=True, metadata=describe(_SKU, "tea-100"))
    name = fields.String(allow_none=True, metadata=describe(_NAME, "Green tea"))
    quantity = Integer(metadata=describe("The number of units.", 2))
    unit_amount = Amount(
        "The price of one unit, negative in a discount.", -MAX_UNIT_AMOUNT, example=450, allow_none=True
    )
    amount = Amount("Quantity times unit amount.", -MAX_LINE, allow_none=True)
    tax_amount = Amount("How much of the line's amount is tax; null if unknown.", -MAX_LINE, 144, allow_none=True)


def _check_line(line: dict[str, Any]) -> None:
    found = dict(lines.faults(line))
    if found:
        raise ValidationError({name: [detail] for name, detail in found.items()})


def _check_total(items: list[dict[str, Any]]) -> None:
    try:
        lines.total(items)
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


def items() -> List:
    """Return the field for the lines of a new order."""
    return List(
        fields.Nested(Item, validate=_check_line),
        required=True,
        validate=[validate.Length(1, 100), _check_total],
        metadata=describe("The lines of the order."),
    )
