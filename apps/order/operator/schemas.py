"""The fields that the page reads from payment's responses. Other fields are ignored, so payment can add some."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields


class _Response(Schema):
    """Base of the schemas: the listed fields are required."""

    class Meta:
        """Ignores fields that are not listed."""

        unknown = EXCLUDE


class _Time(fields.AwareDateTime):
    """A required point in time (RFC 3339)."""

    def __init__(self, *, allow_none: bool = False) -> None:
        super().__init__(format="iso", required=True, allow_none=allow_none)


class Payment(_Response):
    """A payment. Amounts are in minor units."""

    id = fields.String(required=True)
    status = fields.String(required=True)
    currency = fields.String(required=True)
    captured_amount = fields.Integer(required=True, strict=True)
    refunded_amount = fields.Integer(required=True, strict=True)
    failure_reason = fields.String(required=True, allow_none=True)
    provider = fields.String(required=True)
    provider_reference = fields.String(required=True, allow_none=True)


class Operation(_Response):
    """A request of payment to the provider."""

    kind = fields.String(required=True)
    status = fields.String(required=True)
    attempts = fields.Integer(required=True, strict=True)
    reason = fields.String(required=True, allow_none=True)
    created_at = _Time()
    settled_at = _Time(allow_none=True)


class Entry(_Response):
    """One side of a double entry of the ledger."""

    operation_id = fields.String(required=True)
    account = fields.String(required=True)
    direction = fields.String(required=True)
    amount = fields.Integer(required=True, strict=True)
    currency = fields.String(required=True)
    at = _Time()


class Balance(_Response):
    """The totals of one ledger account in one currency."""

    account = fields.String(required=True)
    currency = fields.String(required=True)
    debits = fields.Integer(required=True, strict=True)
    credits = fields.Integer(required=True, strict=True)
    balance = fields.Integer(required=True, strict=True)


class Faults(_Response):
    """The simulator's current faults."""

    decline = fields.Boolean(required=True)
    delay_ms = fields.Integer(required=True, strict=True)
    lost_requests_percent = fields.Integer(required=True, strict=True)
    lost_answers_percent = fields.Integer(required=True, strict=True)
    changed_at = _Time(allow_none=True)


class Readiness(_Response):
    """The response of /readyz."""

    status = fields.String(required=True)
