"""What Stripe has recorded: PaymentIntents and refunds, as records of operations.

A PaymentIntent stands for a sale or an authorization, and for the capture or void of the authorization. Stripe does not
say when it was captured. Its metadata names the operations, except a void: a cancellation takes no metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from payment.model import Kind, Outcome, Record, Result
from payment.providers import ProviderFault, is_name, stripe_errors
from payment.providers.stripe_money import from_stripe
from payment.providers.stripe_objects import (
    CAPTURE,
    MERCHANT,
    OPERATION,
    ORDER,
    PAYMENT,
    as_id,
    decline_of,
    paged,
    refund_outcome,
    text,
    was_authorized,
)

PAGE = 100
"""Objects in one response of Stripe, at most. Each page is one call, with the client's timeout."""

AUTHORIZATION = timedelta(days=31)
"""How long an authorization can be captured at Stripe, at most."""


def between(client: stripe.StripeClient, since: datetime, until: datetime) -> Iterator[Record]:
    """Yield sales, authorizations and refunds that were created in a period, and captures and voids until its end.

    Captures and voids are those of all authorizations that could still be captured in the period. Raises ProviderFault.
    """
    first, last = int(since.timestamp()), int(until.timestamp())
    early = int((since - AUTHORIZATION).timestamp())
    with _faults():
        intents = client.v1.payment_intents.list({"created": {"gte": early, "lte": last}, "limit": PAGE})
        for intent in paged(intents):
            yield from (record for record in of_intent(intent) if record.order[0] or intent.created >= first)
        refunds = client.v1.refunds.list({"created": {"gte": first, "lte": last}, "limit": PAGE})
        for refund in paged(refunds):
            yield of_refund(refund)


def of_payment(client: stripe.StripeClient, merchant: str, payment_id: str) -> list[Record]:
    """Return all records of a payment. Stripe's search may not find one that is younger than a minute.

    Raises ProviderFault.
    """
    found: list[Record] = []
    with _faults():
        query = f"metadata['{PAYMENT}']:'{payment_id}'"
        for stale in paged(client.v1.payment_intents.search({"query": query, "limit": PAGE})):
            intent = client.v1.payment_intents.retrieve(stale.id)  # the index may be out of date
            if text(intent.metadata, MERCHANT) == merchant:
                found += _with_refunds(client, intent)
    return found


def of_charge(client: stripe.StripeClient, merchant: str, payment_id: str, reference: str) -> list[Record]:
    """Return the records of one PaymentIntent of a payment, without a search. Raises ProviderFault.

    There are none if Stripe does not know the PaymentIntent.
    """
    with _faults():
        try:
            intent = client.v1.payment_intents.retrieve(reference)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return []
            raise
        if (text(intent.metadata, MERCHANT), text(intent.metadata, PAYMENT)) != (merchant, payment_id):
            return []
        return _with_refunds(client, intent)


def _with_refunds(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> list[Record]:
    refunds = client.v1.refunds.list({"payment_intent": intent.id, "limit": PAGE})
    return [*of_intent(intent), *(of_refund(refund, intent.metadata) for refund in paged(refunds))]


def of_intent(intent: stripe.PaymentIntent) -> Iterator[Record]:
    """Yield the records that a PaymentIntent stands for, in their order."""
    metadata, status = intent.metadata, intent.status
    opening = Kind.AUTHORIZE if intent.capture_method == "manual" else Kind.SALE
    yield _record(intent, metadata, text(metadata, OPERATION), opening, intent.amount, _opened(intent))
    if opening is Kind.AUTHORIZE and status == "succeeded":
        outcome = Outcome(Result.SUCCEEDED, intent.id)
        yield _record(intent, metadata, text(metadata, CAPTURE), Kind.CAPTURE, intent.amount_received, outcome)
    if opening is Kind.AUTHORIZE and status == "canceled" and was_authorized(intent):
        yield _record(intent, metadata, None, Kind.VOID, intent.amount, Outcome(Result.SUCCEEDED, intent.id))


def of_refund(refund: stripe.Refund, of_payment: Any = None) -> Record:
    """Return the record of a refund. `of_payment` is the metadata of its PaymentIntent, if that is known.

    A refund made by hand has no metadata of its own.
    """
    intent = refund.payment_intent
    charge = intent if isinstance(intent, str) or intent is None else intent.id
    return _record(
        refund,
        refund.metadata if text(refund.metadata, PAYMENT) else of_payment,
        text(refund.metadata, OPERATION),
        Kind.REFUND,
        refund.amount,
        refund_outcome(refund),
        charge,
    )


def _opened(intent: stripe.PaymentIntent) -> Outcome:
    """Return the outcome of a sale or authorization, whatever happened to it afterwards."""
    why = decline_of(intent)
    if intent.status in ("succeeded", "requires_capture"):
        return Outcome(Result.SUCCEEDED, intent.id)
    if intent.status == "canceled":
        known = intent.capture_method == "manual" and was_authorized(intent)
        declined = Outcome(Result.DECLINED, intent.id, why or intent.cancellation_reason or "canceled")
        return Outcome(Result.SUCCEEDED, intent.id) if known else declined
    if intent.status == "requires_action":
        why = "authentication_required"
    if intent.status in ("requires_payment_method", "requires_action") and why:
        return Outcome(Result.DECLINED, intent.id, why)
    return Outcome(Result.UNKNOWN, intent.id, f"stripe: the PaymentIntent is {intent.status}")


def _record(
    source: stripe.PaymentIntent | stripe.Refund,
    metadata: Any,
    operation_id: str | None,
    kind: Kind,
    amount: int,
    outcome: Outcome,
    charge: str | None = None,
) -> Record:
    currency = source.currency.upper()
    method = getattr(source, "payment_method", None) or _declined_method(source)
    return Record(
        text(metadata, MERCHANT),
        as_id(text(metadata, PAYMENT)),
        as_id(text(metadata, ORDER)),
        as_id(operation_id),
        kind,
        from_stripe(amount, currency),
        currency,
        outcome,
        charge or source.id,
        datetime.fromtimestamp(source.created, UTC),
        method if is_name(method) else None,
    )


def _declined_method(source: stripe.PaymentIntent | stripe.Refund) -> str | None:
    """Return the payment method that was declined, if any: Stripe takes it out of the PaymentIntent."""
    failure = getattr(source, "last_payment_error", None)
    return getattr(getattr(failure, "payment_method", None), "id", None)


@contextmanager
def _faults() -> Iterator[None]:
    """Raise ProviderFault for every error of Stripe's library, and for an answer that cannot be read."""
    try:
        yield
    except stripe.StripeError as error:
        raise ProviderFault(stripe_errors.describe(error)) from error
    except Exception as error:
        raise ProviderFault("stripe: an answer that cannot be read") from error
