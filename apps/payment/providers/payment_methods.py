"""What the payment methods of the simulator do. Pure.

The payment method of an operation determines what happens to it:

    pm_ok                    succeeds
    pm_declined              declines, card_declined
    pm_insufficient_funds    declines, insufficient_funds
    pm_slow                  succeeds after 2 s
    pm_timeout_charged       succeeds, but the first answer is lost
    pm_timeout_lost          the first request is lost
    pm_error_then_ok         the first request fails without effect
    pm_flaky                 up to three requests, or their answers, are lost; which ones depends on the operation's id
    pm_refund_declined       declines refunds, refund_declined; succeeds otherwise
    pm_void_declined         declines voids, void_declined; succeeds otherwise
    pm_capture_declined      declines captures, capture_declined; succeeds otherwise
    anything else            declines, invalid_payment_method
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from payment.model import Kind

_CHARGE_DECLINES = {"pm_declined": "card_declined", "pm_insufficient_funds": "insufficient_funds"}
_LATER_DECLINES = {f"pm_{kind}_declined": kind for kind in (Kind.REFUND, Kind.VOID, Kind.CAPTURE)}
_UNRELIABLE = frozenset({"pm_slow", "pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"})
_ACCEPTED = frozenset({"pm_ok", *_UNRELIABLE, *_LATER_DECLINES})


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request, and whether the provider acts nevertheless."""

    acts: bool
    error: str


def fault(payment_method: str, operation_id: str, call: int) -> Fault | None:
    """Return what goes wrong with request number `call` for an operation; None if nothing does."""
    if payment_method == "pm_flaky":
        seed = UUID(operation_id).int
        failures = seed % 4
        return Fault(bool(seed >> (2 + call) & 1), "the connection broke") if call <= failures else None
    if call > 1:
        return None
    return {
        "pm_timeout_charged": Fault(True, "no answer within the timeout"),
        "pm_timeout_lost": Fault(False, "no answer within the timeout"),
        "pm_error_then_ok": Fault(False, "the provider had an error"),
    }.get(payment_method)


def delay(payment_method: str) -> float:
    """Return how many seconds an answer takes."""
    return 2.0 if payment_method == "pm_slow" else 0.0


def is_reliable(payment_method: str) -> bool:
    """Return whether each request succeeds or is declined at once: nothing takes long or is lost."""
    return payment_method not in _UNRELIABLE


def decline(payment_method: str, kind: Kind) -> str | None:
    """Return the reason for which an operation is declined, whatever its amount; None if it is not."""
    if kind not in (Kind.SALE, Kind.AUTHORIZE):
        return f"{kind}_declined" if _LATER_DECLINES.get(payment_method) == kind else None
    if payment_method in _ACCEPTED:
        return None
    return _CHARGE_DECLINES.get(payment_method, "invalid_payment_method")
