"""What the page reads of payment's answers; payment may learn to say more without breaking it."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields


class _Seen(Schema):
    """All that is read has to be there."""

    class Meta:
        """What the page does not show is passed over."""

        unknown = EXCLUDE


class _Time(fields.AwareDateTime):
    """A time of the API."""

    def __init__(self, *, allow_none: bool = False) -> None:
        """It has to be there, if only as null."""
        super().__init__(format="iso", required=True, allow_none=allow_none)


class Payment(_Seen):
    """A payment."""

    id = fields.String(required=True)
    status = fields.String(required=True)
    currency = fields.String(required=True)
    captured_amount = fields.Integer(required=True, strict=True)
    refunded_amount = fields.Integer(required=True, strict=True)
    failure_reason = fields.String(required=True, allow_none=True)
    provider = fields.String(required=True)
    provider_reference = fields.String(required=True, allow_none=True)


class Operation(_Seen):
    """What payment asked of the provider."""

    kind = fields.String(required=True)
    status = fields.String(required=True)
    attempts = fields.Integer(required=True, strict=True)
    reason = fields.String(required=True, allow_none=True)
    created_at = _Time()
    settled_at = _Time(allow_none=True)


class Entry(_Seen):
    """One side of a double entry."""

    operation_id = fields.String(required=True)
    account = fields.String(required=True)
    direction = fields.String(required=True)
    amount = fields.Integer(required=True, strict=True)
    currency = fields.String(required=True)
    at = _Time()


class Balance(_Seen):
    """The sums of one account."""

    account = fields.String(required=True)
    currency = fields.String(required=True)
    debits = fields.Integer(required=True, strict=True)
    credits = fields.Integer(required=True, strict=True)
    balance = fields.Integer(required=True, strict=True)


class Faults(_Seen):
    """The simulator's switches."""

    decline = fields.Boolean(required=True)
    delay_ms = fields.Integer(required=True, strict=True)
    lost_requests_percent = fields.Integer(required=True, strict=True)
    lost_answers_percent = fields.Integer(required=True, strict=True)
    changed_at = _Time(allow_none=True)


class Readiness(_Seen):
    """What /readyz says."""

    status = fields.String(required=True)
