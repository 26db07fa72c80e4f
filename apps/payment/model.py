"""What a payment is, what may be asked of its provider, and what an outcome makes of it: pure, no input or output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a payment stands. Refunds do not show here but in `refunded_amount`."""

    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    FAILED = "failed"
    VOIDED = "voided"
    EXPIRED = "expired"


LIVE = (Status.PROCESSING, Status.AUTHORIZED, Status.CAPTURED)
"""An order has at most one payment in one of these."""


class Kind(StrEnum):
    """What can be asked of a provider."""

    SALE = "sale"
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class Result(StrEnum):
    """What is known of an operation. UNKNOWN is not a failure: it may have happened."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    UNKNOWN = "unknown"


EXPIRED_NOTE = "expired"
"""The note of the void that gives an authorization back whose time is over."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing asked of the provider. Its id is the provider's idempotency key, for ever.

    `reference` is the provider's name for the money that a capture, void or refund is about; `headers` are those of
    the request that its payment has come of, for who carries it out in its stead.
    """

    merchant: str
    id: str
    payment_id: str
    kind: Kind
    amount: int
    currency: str
    payment_method: str
    attempts: int
    owner: str
    reference: str | None = None
    note: str | None = None
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the provider says of an operation: its own reference for it, and the reason of a decline."""

    result: Result
    reference: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """The facts that decide what may be asked. `busy` is the capture or void that is under way."""

    status: Status
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    refunding: int = 0
    busy: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a double entry; amounts are positive, in minor units."""

    account: str
    direction: str
    amount: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an outcome changes: the payment's next state (None: the same), what is added to its amounts, the ledger."""

    status: Status | None
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    refunding: int = 0
    failure_reason: str | None = None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something can't be asked of a payment: the name of the problem, and the reason in words."""

    problem: str
    detail: str


def opening(capture: str) -> Kind:
    """The first operation of a payment: take the money at once, or only hold it."""
    return Kind.SALE if capture == "automatic" else Kind.AUTHORIZE


def refusal(payment: Payment, kind: Kind, amount: int | None) -> Refusal | None:
    """Why a capture, void or refund of so much (None: all there is) can't be asked now; None when it can.

    The database's guarded UPDATE decides; this explains what it decided.
    """
    if kind is Kind.REFUND:
        left = payment.captured - payment.refunded - payment.refunding
        if payment.status is not Status.CAPTURED:
            return Refusal("payment-state", f"Nothing is captured: the payment is {payment.status}.")
        if left < (amount or 1):
            return Refusal("amount-exceeds-captured", f"Of {payment.captured} captured, {left} is left to refund.")
        return None
    if payment.status is not Status.AUTHORIZED:
        return Refusal("payment-state", f"Only an authorized payment has a {kind}: this one is {payment.status}.")
    if payment.busy is not None:
        return Refusal("payment-state", f"A {payment.busy} of this payment is under way.")
    if amount is not None and amount > payment.authorized:
        return Refusal("amount-exceeds-authorized", f"Only {payment.authorized} is authorized.")
    return None


def settle(kind: Kind, amount: int, outcome: Outcome, note: str | None = None) -> Settlement:
    """What follows from the outcome of an operation. Raises ValueError for an unknown one: nothing follows."""
    if outcome.result is Result.UNKNOWN:
        raise ValueError("an unknown outcome settles nothing")
    if outcome.result is Result.DECLINED:
        return _declined(kind, amount, outcome, note)
    match kind:
        case Kind.SALE:
            return Settlement(Status.CAPTURED, authorized=amount, captured=amount, entries=_taken(amount))
        case Kind.AUTHORIZE:
            return Settlement(Status.AUTHORIZED, authorized=amount)
        case Kind.CAPTURE:
            return Settlement(Status.CAPTURED, captured=amount, entries=_taken(amount))
        case Kind.VOID:
            return Settlement(Status.EXPIRED if note == EXPIRED_NOTE else Status.VOIDED)
        case Kind.REFUND:
            return Settlement(None, refunded=amount, refunding=-amount, entries=_given_back(amount))


def _declined(kind: Kind, amount: int, outcome: Outcome, note: str | None) -> Settlement:
    match kind:
        case Kind.SALE | Kind.AUTHORIZE:
            return Settlement(Status.FAILED, failure_reason=outcome.reason or "declined")
        case Kind.REFUND:
            return Settlement(None, refunding=-amount)
        case Kind.VOID if note == EXPIRED_NOTE:
            return Settlement(Status.EXPIRED)  # the provider has let go of it by itself
        case _:
            return Settlement(None)


def _taken(amount: int) -> tuple[Entry, ...]:
    return (Entry("provider_clearing", "debit", amount), Entry("merchant_payable", "credit", amount))


def _given_back(amount: int) -> tuple[Entry, ...]:
    return (Entry("merchant_payable", "debit", amount), Entry("provider_clearing", "credit", amount))
