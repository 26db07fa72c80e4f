"""Reserving the amount of a capture, void or refund: whether a payment allows it, and why not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.if_match import ANY
from chassis.http.problems import Problem
from chassis.messaging import leases
from chassis.postgres.database import Row, Session
from payment import model, operations, store
from payment.limits import refuse_event
from payment.model import Kind, Operation, Status

MOST_REFUNDS = 1000
"""The most refunds of a payment that callers may request, those that failed included.

It does not limit the commands of the order service, which has this limit of its own and must be able to return money.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits an operation apart from its payment.

    `limited` is false for commands of the order service, which the largest numbers of refunds and of waiting events do
    not limit. `captures_again` is false if the provider captures an authorization only once.
    """

    limited: bool
    captures_again: bool


def new_operation(
    merchant: str,
    operation_id: str,
    payment_id: str,
    kind: Kind,
    lease: float,
    note: str | None = None,
    *,
    final: bool = True,
) -> Operation:
    """Return a new operation of an existing payment, to be leased to a request for `lease` seconds from now on.

    `complete` adds the payment's fields.
    """
    owner, expires = leases.new_owner("request"), time.monotonic() + lease
    return Operation(
        merchant, operation_id, payment_id, kind, 0, "", "", 1, owner, note=note, expires=expires, final=final
    )


def complete(operation: Operation, row: Row, amount: int | None) -> Operation:
    """Return the operation with the fields that come from its payment's row. `amount` None is all that is available."""
    payment = facts(row)
    left = payment.captured - payment.refunded - payment.refunding
    amount = amount or (left if operation.kind is Kind.REFUND else payment.capturable)
    return structs.replace(
        operation,
        amount=amount,
        final=operation.kind is not Kind.CAPTURE or model.is_final(payment, amount, wanted=operation.final),
        captured=payment.captured,
        currency=row["currency"],
        payment_method=row["payment_method"],
        reference=row["provider_reference"],
        provider=row["provider"],
        order_id=str(row["order_id"]),
    )


def reserve(
    session: Session,
    operation: Operation,
    amount: int | None,
    claim: Claim,
    headers: dict[str, str],
    lease: float,
    limits: Limits,
) -> tuple[Operation, Row]:
    """Reserve the operation's amount. Returns the complete operation and the payment's view.

    `lease` is for how many seconds the operation is leased to its owner. Raises Problem `payment-not-found`,
    `precondition-failed`, `payment-state`, `amount-exceeds-captured`, `amount-exceeds-authorized`,
    `final-capture-required`, `refund-limit` or `unavailable`.
    """
    is_refund = operation.kind is Kind.REFUND
    look = store.get if claim.condition == ANY and not is_refund else store.lock
    before = found(look(session, operation.merchant, operation.payment_id))
    claim.condition.check(before["version"])
    refusal = model.refusal(facts(before), operation.kind, amount)
    # The payment's row is locked, so no other refund is added between the count and the reservation.
    if (
        is_refund
        and limits.limited
        and refusal is None
        and operations.count_refunds(session, operation.merchant, operation.payment_id) >= MOST_REFUNDS
    ):
        raise Problem("refund-limit", f"The payment has {MOST_REFUNDS:,} refunds already.")
    if refusal is None:
        if limits.limited:
            refuse_event(session, operation.merchant, str(before["order_id"]))
        operation = complete(operation, before, amount)
        if not (operation.final or limits.captures_again):
            raise Problem("final-capture-required", "The provider of this payment captures an authorization only once.")
        row = operations.reserve(session, operation, lease, claim.key, headers)
        if row is not None:
            return operation, row
        # A concurrent request changed the payment first: report what does not allow the operation now.
        before = found(store.get(session, operation.merchant, operation.payment_id))
        refusal = model.refusal(facts(before), operation.kind, amount)
    if refusal is None:
        raise Problem("payment-state", "The payment has just been changed by another request: try again.")
    raise Problem(refusal.problem, refusal.detail)


def is_repeated(session: Session, operation: Operation, amount: int | None) -> bool:
    """Return whether `operation` is stored already, although the key of its request was purged.

    Raises Problem `idempotency-key-reused` if the stored operation is not what this request asks for. A request without
    an amount (None) asks for all that was left then, so any stored amount fits it. So does a capture that is stored as
    final although the request is not: it captured all that was left. An adopted refund fits any reason, because the
    provider does not record it.
    """
    row = operations.get(session, operation.merchant, operation.id)
    if row is None:
        return False
    stored, _ = row
    same = (stored.payment_id, stored.kind) == (operation.payment_id, operation.kind)
    if stored.note != operation.note:
        same = same and operations.is_adopted(session, operation.merchant, operation.id)
    if not same or amount not in (None, stored.amount) or (operation.final and not stored.final):
        raise idempotency.reused()
    return True


def still_live(row: Row | None) -> Row:
    """Return the view of an order's live payment.

    Raises Problem `idempotency-key-in-use` if the payment has failed meanwhile: a repeated request gets a new one.
    """
    if row is None:
        raise idempotency.in_use()
    return row


def require_same(session: Session, row: Row, wanted: Mapping[str, Any]) -> None:
    """Raise Problem `idempotency-key-reused` unless the payment `row` is what the request `wanted` asks for.

    An adopted payment fits any payment method: a provider may record none for a charge that it declined, or another
    name than the token that it was given.
    """
    different = {
        name
        for name in ("order_id", "amount", "currency", "payment_method", "capture")
        if str(row[name]) != str(wanted[name])
    }
    if different == {"payment_method"} and operations.is_adopted(session, wanted["merchant"], wanted["operation_id"]):
        return
    if different:
        raise idempotency.reused()


def found(row: Row | None) -> Row:
    """Return `row`, a payment's view. Raises Problem `payment-not-found` if it is None."""
    if row is None:
        raise Problem("payment-not-found", "This merchant has no payment with this id.")
    return row


def facts(row: Row) -> model.Payment:
    """Return the facts of a payment's view that decisions depend on."""
    return model.Payment(
        Status(row["status"]),
        row["authorized_amount"],
        row["captured_amount"],
        row["refunded_amount"],
        row["refunding_amount"],
        row["busy"],
    )
