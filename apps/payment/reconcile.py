"""Comparing the payment database with the provider, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.postgres.database import Session
from payment import store
from payment.model import Kind, Operation, Result
from payment.providers import Provider, ProviderFault


def differences(session: Session, provider: Provider, since: str, until: str) -> Iterator[tuple[str, ...]]:
    """What the two do not agree on, for operations made in a period: (operation, kind, amount, ours, theirs)."""
    for operation, status in store.operations_between(session, since, until):
        theirs = said(provider, operation)
        # A provider need not remember what it refused to begin.
        if theirs != status and not (status == Result.DECLINED and theirs == "nothing"):
            amount = f"{operation.amount} {operation.currency}"
            yield operation.id, str(operation.kind), amount, status, theirs


def said(provider: Provider, operation: Operation) -> str:
    """What the provider says of an operation: succeeded, declined, `pending` where it does not say, or nothing."""
    try:
        outcome = provider.lookup(operation)
    except ProviderFault as error:
        return f"no answer: {error}"
    if outcome is None:
        return "nothing"
    return "pending" if outcome.result is Result.UNKNOWN else str(outcome.result)


def at_provider(session: Session, provider: Provider, merchant: str, payment_id: str) -> dict[str, int]:
    """A payment by the provider's own account: captured and refunded amounts, and how much it does not tell."""
    sums = {"captured_amount": 0, "refunded_amount": 0, "untold": 0}
    for operation, _ in store.operations_of(session, merchant, payment_id):
        answer = said(provider, operation)
        if answer == Result.SUCCEEDED and operation.kind in (Kind.SALE, Kind.CAPTURE):
            sums["captured_amount"] += operation.amount
        elif answer == Result.SUCCEEDED and operation.kind is Kind.REFUND:
            sums["refunded_amount"] += operation.amount
        elif answer not in (Result.SUCCEEDED, Result.DECLINED):
            sums["untold"] += 1
    return sums
