"""What Stripe's errors mean: one table, read from the top, and the first line that fits decides.

The table errs towards "not known". A decline ends an operation for good, so a line may only say so where
Stripe has said that it did not act: the card or the request was refused. What is not listed is never a decline.
Source: docs.stripe.com/error-handling, docs.stripe.com/error-codes and docs.stripe.com/error-low-level.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import stripe


class Verdict(StrEnum):
    """What follows from an error."""

    DECLINED = "declined"
    """Refused, with a reason; nothing was done."""

    REFUSED = "refused"
    """As DECLINED, but the reason has no code: somebody should read the message in the log."""

    STATE = "state"
    """The money is not in the state for this, perhaps because this very operation brought it there: look."""

    LATER = "later"
    """It is not known whether Stripe acted; asking again may help."""

    OPERATOR = "operator"
    """It is not known whether Stripe acted, and asking again won't help before somebody mends something."""


ANY = "*"


@dataclass(frozen=True, slots=True)
class Line:
    """An error of this class, and with this code and parameter unless they are ANY (None: Stripe gave none)."""

    error: type[stripe.StripeError]
    code: str | None
    param: str | None
    verdict: Verdict


def _invalid(verdict: Verdict, *codes: str) -> tuple[Line, ...]:
    return tuple(Line(stripe.InvalidRequestError, code, ANY, verdict) for code in codes)


TABLE: tuple[Line, ...] = (
    # 402: the bank or the card said no.
    Line(stripe.CardError, ANY, ANY, Verdict.DECLINED),
    # 429: too many requests, or the object is locked by another one (lock_timeout).
    Line(stripe.RateLimitError, ANY, ANY, Verdict.LATER),
    # No answer: refused, cut, timed out, TLS.
    Line(stripe.APIConnectionError, ANY, ANY, Verdict.LATER),
    # 401 and 403: the key is wrong, expired, or may not do this.
    Line(stripe.AuthenticationError, ANY, ANY, Verdict.OPERATOR),
    Line(stripe.PermissionError, ANY, ANY, Verdict.OPERATOR),
    # 400: the key was used with other parameters. We would have to have changed what an operation asks for.
    Line(stripe.IdempotencyError, ANY, ANY, Verdict.OPERATOR),
    # 5xx; 409, where the first request with this key is still running; an answer that is not JSON.
    Line(stripe.APIError, ANY, ANY, Verdict.LATER),
    # 400 and 404: Stripe checked the request and did not act on it.
    *_invalid(
        Verdict.STATE,
        "payment_intent_unexpected_state",
        "charge_already_captured",
        "charge_already_refunded",
    ),
    *_invalid(
        Verdict.DECLINED,
        # The authorization, or the charge, is gone.
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
    # Whatever else is wrong with what the caller chose: no such token, a currency or an amount Stripe won't take.
    Line(stripe.InvalidRequestError, ANY, "payment_method", Verdict.DECLINED),
    Line(stripe.InvalidRequestError, ANY, "currency", Verdict.DECLINED),
    Line(stripe.InvalidRequestError, ANY, "amount", Verdict.DECLINED),
    Line(stripe.InvalidRequestError, ANY, "amount_to_capture", Verdict.DECLINED),
    # Another account's, or another mode's: the key was changed, or the database is not of this environment.
    Line(stripe.InvalidRequestError, "resource_missing", ANY, Verdict.OPERATOR),
    # Stripe gives neither for a PaymentMethod that was used before and belongs to no customer.
    Line(stripe.InvalidRequestError, None, None, Verdict.REFUSED),
    Line(stripe.InvalidRequestError, ANY, ANY, Verdict.OPERATOR),
    # What the library may raise one day, and a signature error where there is no signature.
    Line(stripe.StripeError, ANY, ANY, Verdict.OPERATOR),
)


def judge(error: stripe.StripeError) -> Verdict:
    """What follows from an error, by the first line of TABLE that fits."""
    code, param = code_of(error), _param(error)
    for line in TABLE:
        if isinstance(error, line.error) and line.code in (ANY, code) and line.param in (ANY, param):
            if line.verdict is Verdict.REFUSED and error.http_status != 400:
                return Verdict.OPERATOR  # 404 without a code: not Stripe's API, or not a version that it still has
            return line.verdict
    return Verdict.OPERATOR


def code_of(error: stripe.StripeError) -> str | None:
    """Stripe's code of an error, wherever the library has put it."""
    return error.code or (getattr(error.error, "code", None) if error.error is not None else None)


def reason(error: stripe.StripeError) -> str:
    """Why it was declined: the bank's word for it where there is one, else Stripe's code."""
    decline = getattr(error.error, "decline_code", None) if error.error is not None else None
    param = _param(error)
    return decline or code_of(error) or (f"invalid_{param}" if param else "invalid_request")


def reference(error: stripe.StripeError) -> str | None:
    """The PaymentIntent that a declined card has left behind."""
    intent = getattr(error.error, "payment_intent", None) if isinstance(error, stripe.CardError) else None
    return getattr(intent, "id", None)


def describe(error: stripe.StripeError) -> str:
    """An error in one line for logs and operations, without bodies: its class, status, code and request id."""
    parts = [type(error).__name__, error.http_status, code_of(error), _param(error), error.request_id]
    return "stripe: " + " ".join(str(part) for part in parts if part)


def _param(error: stripe.StripeError) -> str | None:
    param = getattr(error, "param", None)
    return str(param) if param else None
