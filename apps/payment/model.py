"""What a payment is and what an operation's outcome makes of it: pure decisions, no input or output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a payment stands."""

    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    FAILED = "failed"


LIVE = (Status.PROCESSING, Status.AUTHORIZED, Status.CAPTURED)
"""An order has at most one payment in one of these."""


class Kind(StrEnum):
    """What can be asked of a provider."""

    SALE = "sale"
    AUTHORIZE = "authorize"


class Result(StrEnum):
    """What is known of an operation. UNKNOWN is not a failure: it may have happened."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing asked of the provider. Its id is the provider's idempotency key, for ever."""

    merchant: str
    id: str
    payment_id: str
    kind: Kind
    amount: int
    currency: str
    payment_method: str
    attempts: int
    owner: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the provider says of an operation: its own reference for it, and the reason of a decline."""

    result: Result
    reference: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a double entry; amounts are positive, in minor units."""

    account: str
    direction: str
    amount: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an outcome changes: the payment's next state, what is added to its amounts, and the ledger's entries."""

    status: Status
    authorized: int = 0
    captured: int = 0
    failure_reason: str | None = None
    entries: tuple[Entry, ...] = ()


def opening(capture: str) -> Kind:
    """The first operation of a payment: take the money at once, or only hold it."""
    return Kind.SALE if capture == "automatic" else Kind.AUTHORIZE


def settle(kind: Kind, amount: int, outcome: Outcome) -> Settlement:
    """What follows from the outcome of an operation. Raises ValueError for an unknown one: nothing follows."""
    if outcome.result is Result.UNKNOWN:
        raise ValueError("an unknown outcome settles nothing")
    if outcome.result is Result.DECLINED:
        return Settlement(Status.FAILED, failure_reason=outcome.reason or "declined")
    if kind is Kind.AUTHORIZE:
        return Settlement(Status.AUTHORIZED, authorized=amount)
    taken = (Entry("provider_clearing", "debit", amount), Entry("merchant_payable", "credit", amount))
    return Settlement(Status.CAPTURED, authorized=amount, captured=amount, entries=taken)
