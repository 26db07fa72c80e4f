"""The outcomes of operations, as Stripe's objects show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar
from uuid import UUID

import stripe

from chassis.telemetry import logs
from payment.model import EXPIRED_NOTE, Kind, Operation, Outcome, Result
from payment.providers import ProviderFault, is_name
from payment.providers.stripe_errors import REFUSALS
from payment.providers.stripe_money import to_stripe

log = logs.get_logger()

_Object = TypeVar("_Object", stripe.PaymentIntent, stripe.Refund)

OPERATION = "tandem_operation"
"""The metadata key of a PaymentIntent or refund for the id of the operation that created it."""

CAPTURE = "tandem_capture"
"""The metadata key of a PaymentIntent for the id of the operation that captured it."""

NOT_REFUNDED = ("failed", "canceled")
"""The statuses of a refund that returns no money."""

PAYMENT, MERCHANT, ORDER = "tandem_payment", "tandem_merchant", "tandem_order"
"""The metadata keys for the ids of the payment, its merchant and its order."""


def names(operation: Operation) -> dict[str, str]:
    """Return the metadata that says what an operation belongs to: the same at every attempt, as Stripe requires."""
    order = {} if operation.order_id is None else {ORDER: operation.order_id}
    return {PAYMENT: operation.payment_id, MERCHANT: operation.merchant, **order}


def paged(found: stripe.ListObject[_Object] | stripe.SearchResultObject[_Object]) -> Iterator[_Object]:
    """Yield the objects of all pages. Raises ValueError if one comes twice: such pages may never end."""
    seen: set[str] = set()
    for each in found.auto_paging_iter():
        if each.id in seen:
            raise ValueError(f"a list that has {each.id} twice")
        seen.add(each.id)
        yield each


def text(metadata: Any, key: str) -> str | None:
    """Return a value of an object's metadata, or None."""
    value = getattr(metadata, key, None)
    return value if is_name(value) else None


def of_intent(operation: Operation, intent: stripe.PaymentIntent) -> Outcome | None:
    """Return the outcome of an operation from its PaymentIntent; None if it has not begun. Raises ProviderFault."""
    kind, status = operation.kind, intent.status
    if kind in (Kind.SALE, Kind.AUTHORIZE) and status in ("succeeded", "requires_capture"):
        _require_what_was_asked(operation, intent)
    if status == "succeeded":
        return _of_captured(operation, intent)
    if status == "canceled":
        # A known authorization had succeeded before it was canceled. An unknown one was canceled before it succeeded.
        known = kind is Kind.AUTHORIZE and operation.reference is not None and was_authorized(intent)
        if kind is Kind.VOID or known:
            return Outcome(Result.SUCCEEDED, intent.id)
        declined = decline_of(intent) if kind in (Kind.SALE, Kind.AUTHORIZE) else None
        return Outcome(Result.DECLINED, None, declined or intent.cancellation_reason or "canceled")
    if status == "requires_capture" and kind is Kind.AUTHORIZE:
        return Outcome(Result.SUCCEEDED, intent.id)
    if status == "requires_capture" and kind in (Kind.CAPTURE, Kind.VOID):
        return None
    if status == "requires_action":  # nobody has the client secret to continue
        return Outcome(Result.DECLINED, intent.id, "authentication_required")
    why = decline_of(intent)
    if status == "requires_payment_method" and why:
        return Outcome(Result.DECLINED, intent.id, why)
    return Outcome(Result.UNKNOWN, intent.id, f"stripe: the PaymentIntent is {status}")


def _of_captured(operation: Operation, intent: stripe.PaymentIntent) -> Outcome:
    """Return the outcome of an operation whose PaymentIntent is captured. Raises ProviderFault.

    The metadata names the operation that captured it. Without a name, somebody captured it by hand: a capture operation
    of the same amount has then succeeded. In both cases the authorization had succeeded before.
    """
    kind, by = operation.kind, getattr(intent.metadata, CAPTURE, None)
    received = intent.amount_received
    if kind is Kind.SALE or (kind is Kind.CAPTURE and by in (None, operation.id)):
        if received == to_stripe(operation.amount, operation.currency):
            return Outcome(Result.SUCCEEDED, intent.id)
        if kind is Kind.SALE or by is not None:
            raise fault(operation, f"stripe: {intent.id} received {received}, not the operation's amount")
    if kind is Kind.AUTHORIZE and intent.capture_method == "manual":
        return Outcome(Result.SUCCEEDED, intent.id)
    by_hand = f"stripe: {intent.id} was captured, but not by an operation: it received {received}"
    # The decline of an expired authorization's void counts as a release, and the customer has paid.
    if kind is Kind.AUTHORIZE or (kind is Kind.VOID and operation.note == EXPIRED_NOTE):
        raise fault(operation, by_hand)
    if by is not None:
        return Outcome(Result.DECLINED, None, "already_captured")
    report(operation, by_hand)
    return Outcome(Result.DECLINED, None, "captured_by_hand")


def _require_what_was_asked(operation: Operation, intent: stripe.PaymentIntent) -> None:
    """Raise ProviderFault if the money that a PaymentIntent holds is not what a sale or authorization asked for.

    Its key may have been used before for another request, which this database has forgotten.
    """
    held = intent.amount_capturable if intent.status == "requires_capture" else intent.amount
    if (held, intent.currency) != (to_stripe(operation.amount, operation.currency), operation.currency.lower()):
        what = f"{held} {intent.currency}, not the operation's amount and currency"
        raise fault(operation, f"stripe: {intent.id} is about {what}")


def decline_of(intent: stripe.PaymentIntent) -> str | None:
    """Return why the bank declined the card of a PaymentIntent; None if it did not. Not every error has a code."""
    failure = intent.last_payment_error
    kind = getattr(failure, "type", None)
    code = getattr(failure, "decline_code", None) or getattr(failure, "code", None)
    return code or (kind if kind in REFUSALS else None)


def was_authorized(intent: stripe.PaymentIntent) -> bool:
    """Return whether a canceled PaymentIntent with manual capture was authorized: a declined one has a charge, too."""
    return intent.latest_charge is not None and decline_of(intent) is None


def of_refund(operation: Operation, refund: stripe.Refund) -> Outcome:
    """Return the outcome of the operation that created a refund. Raises ProviderFault if the amount is another one."""
    if refund.amount != to_stripe(operation.amount, operation.currency):
        raise fault(operation, f"stripe: {refund.id} returned {refund.amount}, not the operation's amount")
    return refund_outcome(refund)


def refund_outcome(refund: stripe.Refund) -> Outcome:
    """Return the outcome that a refund shows; banks may take days to confirm a refund."""
    if refund.status == "succeeded":
        return Outcome(Result.SUCCEEDED, refund.id)
    if refund.status in NOT_REFUNDED:
        return Outcome(Result.DECLINED, refund.id, getattr(refund, "failure_reason", None) or refund.status)
    return Outcome(Result.UNKNOWN, refund.id, f"stripe: the refund is {refund.status}")


def as_id(value: object) -> str | None:
    """Return an id of Tandem's as it is written here; None if it is not one."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def fault(operation: Operation, what: str, error: Exception | None = None) -> ProviderFault:
    """Return a fault that an operator has to examine, since a retry does not resolve it. It is logged as an error."""
    report(operation, what, error)
    return ProviderFault(what)


def report(operation: Operation, what: str, error: Exception | None = None) -> None:
    """Log as an error what an operator has to examine."""
    log.error("provider_needs_attention", operation_id=operation.id, kind=operation.kind, what=what, exc_info=error)
