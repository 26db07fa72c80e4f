"""What Stripe's objects say of our operations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import stripe

from chassis.telemetry import logs
from payment.model import Kind, Operation, Outcome, Result
from payment.providers import Hint, ProviderFault
from payment.providers.stripe_money import to_stripe

log = logs.get_logger()

OPERATION = "tandem_operation"
"""The metadata by which a PaymentIntent or a refund names the operation that made it."""

CAPTURE = "tandem_capture"
"""The metadata by which a PaymentIntent names the operation that captured it."""


def of_intent(operation: Operation, intent: stripe.PaymentIntent) -> Outcome | None:
    """What a PaymentIntent says of an operation; None when that has not begun. Raises ProviderFault."""
    kind, status = operation.kind, intent.status
    capture = getattr(intent.metadata, CAPTURE, None)
    if status == "succeeded" and kind in (Kind.SALE, Kind.CAPTURE):
        if kind is Kind.CAPTURE and capture not in (None, operation.id):
            return Outcome(Result.DECLINED, None, "already_captured")
        if intent.amount_received != to_stripe(operation.amount, operation.currency):
            raise fault(operation, f"stripe: {intent.id} has taken {intent.amount_received}, which is not our amount")
        return Outcome(Result.SUCCEEDED, intent.id)
    if status == "succeeded":
        if kind is Kind.AUTHORIZE and capture is not None:
            return Outcome(Result.SUCCEEDED, intent.id)  # it was authorized before we captured it
        raise fault(operation, f"stripe: {intent.id} was captured, and not by us")
    if status == "canceled":
        # An authorization that we know of was one before it ended; one that we never heard of ended unused.
        known = kind is Kind.AUTHORIZE and operation.reference is not None and intent.latest_charge is not None
        if kind is Kind.VOID or known:
            return Outcome(Result.SUCCEEDED, intent.id)
        return Outcome(Result.DECLINED, None, intent.cancellation_reason or "canceled")
    if status == "requires_capture" and kind is Kind.AUTHORIZE:
        return Outcome(Result.SUCCEEDED, intent.id)
    if status == "requires_capture" and kind in (Kind.CAPTURE, Kind.VOID):
        return None
    if status == "requires_action":  # nobody holds the secret with which to carry on
        return Outcome(Result.DECLINED, intent.id, "authentication_required")
    failure = intent.last_payment_error
    why = getattr(failure, "decline_code", None) or getattr(failure, "code", None)
    if status == "requires_payment_method" and why:
        return Outcome(Result.DECLINED, intent.id, why)
    return Outcome(Result.UNKNOWN, intent.id, f"stripe: the PaymentIntent is {status}")


def of_refund(refund: stripe.Refund) -> Outcome:
    """What a refund says of the operation that made it; banks may take days to confirm one."""
    if refund.status == "succeeded":
        return Outcome(Result.SUCCEEDED, refund.id)
    if refund.status in ("failed", "canceled"):
        return Outcome(Result.DECLINED, refund.id, getattr(refund, "failure_reason", None) or refund.status)
    return Outcome(Result.UNKNOWN, refund.id, f"stripe: the refund is {refund.status}")


def hint(event: dict[str, Any]) -> Hint:
    """What an event's object says of itself; Stripe copies a PaymentIntent's metadata to its charges."""
    about = event["data"]["object"]
    operation = (about.get("metadata") or {}).get(OPERATION)
    reference = about.get("id") if about.get("object") == "payment_intent" else about.get("payment_intent")
    try:
        operation = str(UUID(operation))
    except (TypeError, ValueError, AttributeError):
        operation = None  # not of our making
    return Hint(operation, reference if isinstance(reference, str) else None)


def fault(operation: Operation, what: str, error: Exception | None = None) -> ProviderFault:
    """A fault that somebody has to look into: it does not go away by asking again."""
    log.error("provider_needs_attention", operation_id=operation.id, kind=operation.kind, what=what, exc_info=error)
    return ProviderFault(what)
