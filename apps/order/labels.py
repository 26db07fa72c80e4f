"""The labels (`metadata`) of orders and refunds in requests and responses."""

from __future__ import annotations

from marshmallow import fields, validate

from chassis.http.fields import Labels, Text, describe

MOST_LABELS = 50
"""The most labels of an order or refund."""


def labels() -> Labels:
    """Return the field for the labels of a new order or refund."""
    return Labels(
        keys=Text(40, code=True),
        values=Text(500, 0),
        load_default=dict,
        validate=validate.Length(max=MOST_LABELS),
        metadata=describe("Labels of the merchant, which are returned unchanged.", {"cart": "9"}),
    )


def labels_view() -> fields.Dict:
    """Return the field that shows labels."""
    return fields.Dict(
        keys=fields.String(), values=fields.String(), metadata=describe("Labels of the merchant.", {"cart": "9"})
    )
