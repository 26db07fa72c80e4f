"""Compare what the order database, the payment database and the provider record of the same money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chassis.cli.reconcile import Difference
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import Session
from order.gateway import PaymentGateway
from order.store import waiting


def differences(session: Session, gateway: PaymentGateway, since: str, until: str) -> Iterator[Difference]:
    """Yield the differences for orders placed in a period: (order id, field, order's, payment's, provider's value).

    `since` and `until` are RFC 3339 times.
    """
    for order in waiting.between(session, since, until):
        yield from _compare(order, gateway)


def _compare(order: dict[str, Any], gateway: PaymentGateway) -> Iterator[Difference]:
    order_id, merchant = str(order["id"]), order["merchant"]
    try:
        payments = gateway.payments(merchant, order_id)
        provider = [gateway.at_provider(merchant, payment["id"]) for payment in payments]
    except (Unreachable, Refused) as error:
        yield Difference((order_id, "payment does not answer", order["status"], str(error)[:60], ""), compared=False)
        return
    for what, ours in (("captured", order["paid_amount"]), ("refunded", order["refunded_amount"])):
        name = f"{what}_amount"
        theirs = sum(payment[name] for payment in payments)
        at_provider = sum(account[name] for account in provider)
        if not ours == theirs == at_provider:
            yield Difference((order_id, what, str(ours), str(theirs), str(at_provider)))
    live = [payment for payment in payments if payment["status"] in ("processing", "authorized", "captured")]
    known = (order["payment"] or {}).get("id")
    if live and live[0]["id"] != known:
        yield Difference((order_id, "payment", str(known), live[0]["id"], ""))
    untold = sum(account["untold"] for account in provider)
    if untold:
        yield Difference((order_id, "outcome", order["status"], payments[0]["status"], f"{untold} not reported"))
