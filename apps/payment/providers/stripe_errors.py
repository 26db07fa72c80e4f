"""What Stripe's errors mean: a list of rules, of which the first that matches an error decides.

An error in doubt means that the outcome is unknown. A decline ends an operation for good, so a rule may only say so if
Stripe has said that it did not act: the card or the request was refused. An error that no rule lists is never a
decline. Source: docs.stripe.com/error-handling, docs.stripe.com/error-codes and docs.stripe.com/error-low-level.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import stripe


class Verdict(StrEnum):
    """What an error means for the operation."""

    DECLINED = "declined"
    """Stripe refused the operation with a reason and did not act."""

    REFUSED = "refused"
    """As DECLINED, but the reason has no code: an operator should read the message in the log."""

    STATE = "state"
    """The PaymentIntent's state does not allow the operation, perhaps because this operation caused it: look it up."""

    LATER = "later"
    """It is not known whether Stripe acted; a retry may help."""

    OPERATOR = "operator"
    """It is not known whether Stripe acted; a retry does not help until an operator has corrected something."""


ANY = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches errors of a class, with a code and a parameter; ANY matches all, None matches an error without one."""

    error: type[stripe.StripeError]
    code: str | None
    param: str | None
    verdict: Verdict


def _invalid(verdict: Verdict, *codes: str) -> tuple[Rule, ...]:
    return tuple(Rule(stripe.InvalidRequestError, code, ANY, verdict) for code in codes)


RULES: tuple[Rule, ...] = (
    # 402: the bank declined the card.
    Rule(stripe.CardError, ANY, ANY, Verdict.DECLINED),
    # 429: too many requests, or the object is locked by another one (lock_timeout).
    Rule(stripe.RateLimitError, ANY, ANY, Verdict.LATER),
    # No answer: connection refused or broken, timeout, TLS failure.
    Rule(stripe.APIConnectionError, ANY, ANY, Verdict.LATER),
    # 401 and 403: the API key is wrong or expired, or lacks a permission.
    Rule(stripe.AuthenticationError, ANY, ANY, Verdict.OPERATOR),
    Rule(stripe.PermissionError, ANY, ANY, Verdict.OPERATOR),
    # 400: the idempotency key was used with other parameters; a new release must have changed the request.
    Rule(stripe.IdempotencyError, ANY, ANY, Verdict.OPERATOR),
    # 5xx; 409, if the first request with this key is still running; an answer that is not JSON.
    Rule(stripe.APIError, ANY, ANY, Verdict.LATER),
    # 400 and 404: Stripe checked the request and did not act on it.
    *_invalid(
        Verdict.STATE,
        "payment_intent_unexpected_state",
        "charge_already_captured",
        "charge_already_refunded",
    ),
    *_invalid(
        Verdict.DECLINED,
        # The authorization or the charge is no longer there.
        "capture_charge_authorization_expired",
        "charge_expired_for_capture",
        "charge_disputed",
        "charge_not_refundable",
        "refund_disputed_payment",
        # The merchant's balance at Stripe does not cover a refund.
        "balance_insufficient",
        "insufficient_funds",
        # The amount.
        "amount_too_large",
        "amount_too_small",
        "charge_exceeds_source_limit",
        "charge_exceeds_transaction_limit",
        "invalid_charge_amount",
        # The payment method.
        "expired_payment_method",
        "payment_intent_incompatible_payment_method",
        "payment_method_currency_mismatch",
        "payment_method_invalid_parameter",
        "payment_method_not_available",
        "payment_method_restricted",
        "payment_method_unactivated",
        "payment_method_unexpected_state",
        "payment_method_unsupported_type",
        "token_already_used",
    ),
    # Other errors in the client's parameters: an unknown payment method, a currency or amount that Stripe rejects.
    Rule(stripe.InvalidRequestError, ANY, "payment_method", Verdict.DECLINED),
    Rule(stripe.InvalidRequestError, ANY, "currency", Verdict.DECLINED),
    Rule(stripe.InvalidRequestError, ANY, "amount", Verdict.DECLINED),
    Rule(stripe.InvalidRequestError, ANY, "amount_to_capture", Verdict.DECLINED),
    # An object of another account or mode: the API key was changed, or the database is another environment's.
    Rule(stripe.InvalidRequestError, "resource_missing", ANY, Verdict.OPERATOR),
    # Stripe gives neither code nor parameter for a PaymentMethod that was used before and belongs to no customer.
    Rule(stripe.InvalidRequestError, None, None, Verdict.REFUSED),
    Rule(stripe.InvalidRequestError, ANY, ANY, Verdict.OPERATOR),
    # Errors of future versions of the library, and signature errors, which requests do not cause.
    Rule(stripe.StripeError, ANY, ANY, Verdict.OPERATOR),
)


REFUSALS = ("card_error", "invalid_request_error")
"""The types of errors with which Stripe refuses a request. Each of its errors has a type."""


def classify(error: stripe.StripeError) -> Verdict:
    """Return what an error means, by the first of RULES that matches."""
    code, param = code_of(error), _param(error)
    for rule in RULES:
        if isinstance(error, rule.error) and rule.code in (ANY, code) and rule.param in (ANY, param):
            if rule.verdict is Verdict.REFUSED and error.http_status != 400:
                return Verdict.OPERATOR  # 404 without a code: not Stripe's API, or a version it no longer supports
            if rule.verdict in (Verdict.DECLINED, Verdict.REFUSED) and _type(error) not in REFUSALS:
                return Verdict.OPERATOR  # not Stripe but a proxy answered, or Stripe reports another kind of error
            return rule.verdict
    return Verdict.OPERATOR


def code_of(error: stripe.StripeError) -> str | None:
    """Stripe's code of an error, from either attribute in which the library keeps it."""
    return error.code or (getattr(error.error, "code", None) if error.error is not None else None)


def reason(error: stripe.StripeError) -> str:
    """Return the reason of a decline: the bank's decline code if there is one, else Stripe's code."""
    decline = getattr(error.error, "decline_code", None) if error.error is not None else None
    param = _param(error)
    return decline or code_of(error) or (f"invalid_{param}" if param else "invalid_request")


def reference(error: stripe.StripeError) -> str | None:
    """Return the id of the PaymentIntent whose card was declined, or None."""
    intent = getattr(error.error, "payment_intent", None) if isinstance(error, stripe.CardError) else None
    return getattr(intent, "id", None)


def describe(error: stripe.StripeError) -> str:
    """Return an error in one line, without the body: class, status, code, parameter and request id."""
    parts = [type(error).__name__, error.http_status, code_of(error), _param(error), error.request_id]
    return "stripe: " + " ".join(str(part) for part in parts if part)


def _type(error: stripe.StripeError) -> object:
    return getattr(error.error, "type", None) if error.error is not None else None


def _param(error: stripe.StripeError) -> str | None:
    param = getattr(error, "param", None)
    return str(param) if param else None
