"""Comparing the payment database with the provider, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.cli.reconcile import Difference
from chassis.postgres.database import Session
from payment import operations
from payment.model import Kind, Operation, Result
from payment.providers import Provider, ProviderFault, require_provider

_NO_ANSWER = "no answer"


def differences(session: Session, provider: Provider, since: str, until: str) -> Iterator[Difference]:
    """Yield the operations of a period whose status here is not the provider's. Times in RFC 3339.

    Each is (operation id, kind, amount with currency, status here, status at the provider).
    """
    for operation, status in operations.find_between(session, since, until):
        theirs = provider_status(provider, operation)
        # A provider need not have a record of an operation that it declined.
        if theirs != status and not (status == Result.DECLINED and theirs == "nothing"):
            amount = f"{operation.amount} {operation.currency}"
            cells = (operation.id, str(operation.kind), amount, status, theirs)
            yield Difference(cells, compared=not theirs.startswith(_NO_ANSWER))


def provider_status(provider: Provider, operation: Operation) -> str:
    """Return the provider's status of an operation: "succeeded", "declined", "pending" if it is unknown, or "nothing".

    If the provider does not respond, the text begins with "no answer".
    """
    try:
        require_provider(operation, provider)
        outcome = provider.lookup(operation)
    except ProviderFault as error:
        return f"{_NO_ANSWER}: {error}"
    if outcome is None:
        return "nothing"
    return "pending" if outcome.result is Result.UNKNOWN else str(outcome.result)


def provider_account(session: Session, provider: Provider, merchant: str, payment_id: str) -> dict[str, int]:
    """Return the captured and refunded amounts of a payment by the provider's records.

    `untold` is the number of operations that the provider did not report on.
    """
    sums = {"captured_amount": 0, "refunded_amount": 0, "untold": 0}
    for operation, _ in operations.find_of_payment(session, merchant, payment_id):
        status = provider_status(provider, operation)
        if status == Result.SUCCEEDED and operation.kind in (Kind.SALE, Kind.CAPTURE):
            sums["captured_amount"] += operation.amount
        elif status == Result.SUCCEEDED and operation.kind is Kind.REFUND:
            sums["refunded_amount"] += operation.amount
        elif status not in (Result.SUCCEEDED, Result.DECLINED):
            sums["untold"] += 1
    return sums
