"""Which operations a payment allows, and what follows from an outcome: pure functions without input or output."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Status(StrEnum):
    """The status of a payment. Refunds do not change it; they show in `refunded_amount`."""

    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    FAILED = "failed"
    VOIDED = "voided"
    EXPIRED = "expired"


LIVE = (Status.PROCESSING, Status.AUTHORIZED, Status.CAPTURED)
"""The statuses of a live payment; an order has at most one live payment."""


class Kind(StrEnum):
    """What an operation requests from the provider."""

    SALE = "sale"
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class Result(StrEnum):
    """The result of an operation. UNKNOWN is not a failure: the provider may have acted."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    UNKNOWN = "unknown"


EXPIRED_NOTE = "expired"
"""The note of a void that releases an expired authorization."""


class Operation(Struct, frozen=True):
    """A request to the provider. Its id is the idempotency key at the provider and never changes.

    `owner` holds its lease. `reference` is the provider's id of the payment that a capture, void or refund is about.
    `headers` are those of the latest request about the payment, under which a loop or a batch traces its work; None in
    the thread of that request itself. `provider` is the name of the provider that the payment was begun with.
    `expires` is when the lease ends, on the monotonic clock of the process that holds it. `age` is for how many seconds
    the operation has been stored. A capture that is not `final` keeps the rest authorized. `captured` is what was
    captured of the payment before a capture or void; nothing else is captured while one of these is under way.
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
    provider: str | None = None
    expires: float = math.inf
    order_id: str | None = None
    age: float = 0.0
    final: bool = True
    captured: int = 0


class Outcome(Struct, frozen=True):
    """The outcome of an operation: the result, the provider's reference for it, and the reason if it was declined."""

    result: Result
    reference: str | None = None
    reason: str | None = None


class Record(Struct, frozen=True):
    """What a provider has recorded of one operation.

    `merchant`, `payment_id`, `order_id` and `operation_id` are None where the provider does not know them, as for what
    was done by hand. `charge` is the provider's reference of the payment, `reference` that of this operation. `at` is
    the provider's time. An operation that the provider carried out twice has two records. A capture that is not `final`
    kept the rest authorized.
    """

    merchant: str | None
    payment_id: str | None
    order_id: str | None
    operation_id: str | None
    kind: Kind
    amount: int
    currency: str
    outcome: Outcome
    charge: str | None
    at: datetime
    payment_method: str | None = None
    final: bool = True

    @property
    def order(self) -> tuple[int, datetime]:
        """The sort key for the records of one payment: opening, then captures and voids, then refunds, each by time."""
        return _STAGES[self.kind], self.at


_STAGES = {Kind.SALE: 0, Kind.AUTHORIZE: 0, Kind.CAPTURE: 1, Kind.VOID: 1, Kind.REFUND: 2}


class Payment(Struct, frozen=True):
    """The facts that determine which operations a payment allows. `busy` is its pending capture or void, if any."""

    status: Status
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    refunding: int = 0
    busy: str | None = None

    @property
    def capturable(self) -> int:
        """What is authorized and not captured, in minor units."""
        return self.authorized - self.captured


class Entry(Struct, frozen=True):
    """One side of a double entry; the amount is positive, in minor units."""

    account: str
    direction: str
    amount: int


class Settlement(Struct, frozen=True):
    """What an outcome changes: the payment's status (None: unchanged), what to add to its amounts, ledger entries."""

    status: Status | None
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    refunding: int = 0
    failure_reason: str | None = None
    entries: tuple[Entry, ...] = ()


class Refusal(Struct, frozen=True):
    """Why a payment does not allow an operation: the name of the problem and its detail."""

    problem: str
    detail: str


def opening(capture: str) -> Kind:
    """Return the kind of a payment's first operation: a sale if `capture` is "automatic", else an authorization."""
    return Kind.SALE if capture == "automatic" else Kind.AUTHORIZE


def refusal(payment: Payment, kind: Kind, amount: int | None) -> Refusal | None:
    """Return why a payment does not allow a capture, void or refund of `amount` (None: all); None if it allows it.

    The database's guarded UPDATE decides. This function explains the decision.
    """
    if kind is Kind.REFUND:
        left = payment.captured - payment.refunded - payment.refunding
        if payment.status is not Status.CAPTURED:
            detail = f"Nothing is captured: the payment is {payment.status}."
            if payment.captured:
                detail = f"The payment is {payment.status}: capture or release the rest of it before a refund."
            return Refusal("payment-state", detail)
        if left < (amount or 1):
            return Refusal("amount-exceeds-captured", f"Of {payment.captured} captured, {left} is left to refund.")
        return None
    if payment.status is not Status.AUTHORIZED:
        return Refusal("payment-state", f"Only an authorized payment allows a {kind}; this one is {payment.status}.")
    if payment.busy is not None:
        return Refusal("payment-state", f"A {payment.busy} of this payment is under way.")
    if amount is not None and amount > payment.capturable:
        if payment.captured == 0:
            return Refusal("amount-exceeds-authorized", f"Only {payment.authorized} is authorized.")
        detail = f"Of {payment.authorized} authorized, {payment.capturable} is left to capture."
        return Refusal("amount-exceeds-authorized", detail)
    return None


def is_final(payment: Payment, amount: int, *, wanted: bool) -> bool:
    """Return whether a capture ends the authorization: it is `wanted` to, or captures all that is left."""
    return wanted or amount >= payment.capturable


def settle(operation: Operation, outcome: Outcome) -> Settlement:
    """Return what follows from the outcome of an operation. Raises ValueError for an unknown outcome.

    A payment of which a part is captured is `captured` when the rest is released: by its last capture, by a void, or
    because the authorization has expired.
    """
    kind, amount = operation.kind, operation.amount
    if outcome.result is Result.UNKNOWN:
        raise ValueError("an unknown outcome settles nothing")
    if outcome.result is Result.DECLINED:
        return _declined(operation, outcome)
    match kind:
        case Kind.SALE:
            return Settlement(Status.CAPTURED, authorized=amount, captured=amount, entries=_taken(amount))
        case Kind.AUTHORIZE:
            return Settlement(Status.AUTHORIZED, authorized=amount)
        case Kind.CAPTURE:
            status = Status.CAPTURED if operation.final else None
            return Settlement(status, captured=amount, entries=_taken(amount))
        case Kind.VOID:
            return Settlement(_released(operation))
        case Kind.REFUND:
            return Settlement(None, refunded=amount, refunding=-amount, entries=_returned(amount))


def _declined(operation: Operation, outcome: Outcome) -> Settlement:
    match operation.kind:
        case Kind.SALE | Kind.AUTHORIZE:
            return Settlement(Status.FAILED, failure_reason=outcome.reason or "declined")
        case Kind.REFUND:
            return Settlement(None, refunding=-operation.amount)
        case Kind.VOID if operation.note == EXPIRED_NOTE:
            return Settlement(_released(operation))  # the provider has released it already
        case _:
            return Settlement(None)


def _released(void: Operation) -> Status:
    if void.captured:
        return Status.CAPTURED
    return Status.EXPIRED if void.note == EXPIRED_NOTE else Status.VOIDED


def _taken(amount: int) -> tuple[Entry, ...]:
    return (Entry("provider_clearing", "debit", amount), Entry("merchant_payable", "credit", amount))


def _returned(amount: int) -> tuple[Entry, ...]:
    return (Entry("merchant_payable", "debit", amount), Entry("provider_clearing", "credit", amount))
