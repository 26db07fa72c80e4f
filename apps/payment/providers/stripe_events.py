"""Stripe's events: what each is about, and whether Stripe shows a change of money that was settled before.

An event's content only says which object to ask for. Stripe sends an event for each refund and for each of its updates,
so only those that say something unusual are looked up: a refund that returns no money, or that no operation has made.
"""

from __future__ import annotations

from typing import Any

import stripe

from chassis.telemetry import logs
from payment.providers import Change, ChangeKind, Hint, ProviderFault, is_name, stripe_errors
from payment.providers.stripe_errors import Verdict
from payment.providers.stripe_objects import MERCHANT, NOT_REFUNDED, OPERATION, PAYMENT, as_id, text

log = logs.get_logger()

_DISPUTED = ("charge.dispute.created", "charge.dispute.funds_withdrawn")
"""An inquiry of the bank is created first; if it becomes a dispute, the money is withdrawn later."""


def hint(event: dict[str, Any]) -> Hint:
    """Return what an event is about, by its object. Stripe copies a PaymentIntent's metadata to its charges."""
    kind, about = event.get("type"), event["data"]["object"]
    operation = as_id((about.get("metadata") or {}).get(OPERATION))
    reference = about.get("id") if about.get("object") == "payment_intent" else about.get("payment_intent")
    refund = charge = None
    if about.get("object") == "refund":
        unusual = about.get("status") in NOT_REFUNDED if operation else kind == "refund.created"
        refund = about.get("id") if unusual else None
    elif kind in _DISPUTED:
        charge = about.get("charge")
    return Hint(operation, *(each if is_name(each) else None for each in (reference, refund, charge)))


def change(client: stripe.StripeClient, event: Hint) -> Change | None:
    """Ask Stripe for the refund or charge that an event is about; see EventSender.change. Raises ProviderFault."""
    try:
        if event.refund is not None:
            return _of_refund(client.v1.refunds.retrieve(event.refund, {"expand": ["payment_intent"]}))
        if event.charge is not None:
            return _of_charge(client.v1.charges.retrieve(event.charge))
    except stripe.StripeError as error:
        what = stripe_errors.describe(error)
        if stripe_errors.classify(error) is not Verdict.LATER:
            log.error("provider_needs_attention", kind="event", what=what, exc_info=error)
        raise ProviderFault(what) from error
    except Exception as error:
        raise ProviderFault("stripe: an answer that cannot be read") from error
    return None


def _of_refund(refund: stripe.Refund) -> Change | None:
    operation_id, failed = as_id(text(refund.metadata, OPERATION)), refund.status in NOT_REFUNDED
    if failed == (operation_id is None):  # in order, or of no operation and without effect
        return None
    # A refund made by hand has no metadata of its own.
    names = getattr(refund.payment_intent, "metadata", None) if operation_id is None else refund.metadata
    kind = ChangeKind.REFUND_BY_HAND if operation_id is None else ChangeKind.REFUND_FAILED
    what = f"stripe: {refund.id} of {refund.amount} {refund.currency} is {refund.status}"
    return _change(kind, names, operation_id, what)


def _of_charge(charge: stripe.Charge) -> Change | None:
    what = f"stripe: {charge.id} of {charge.payment_intent} is disputed"
    return _change(ChangeKind.DISPUTED, charge.metadata, None, what) if charge.disputed else None


def _change(kind: ChangeKind, names: Any, operation_id: str | None, what: str) -> Change | None:
    """Return a change of the payment that an object's metadata names; None if it names none."""
    merchant, payment_id = text(names, MERCHANT), as_id(text(names, PAYMENT))
    if merchant is None or payment_id is None:
        return None
    return Change(kind, merchant, payment_id, operation_id, what)
