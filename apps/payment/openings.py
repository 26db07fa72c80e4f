"""A new payment and its first operation, a sale or an authorization, before they are stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import uuid_utils

from chassis.messaging import leases
from payment import ids, model
from payment.ids import What
from payment.model import Operation, Status


@dataclass(frozen=True, slots=True)
class Openings:
    """What all new payments have in common: the provider, the lease, and how long an authorization is kept.

    Times are in seconds.
    """

    provider: str
    lease: float
    authorization: float

    def new(
        self,
        merchant: str,
        key: str,
        wanted: dict[str, Any],
        headers: dict[str, str],
        *,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Return the parameters with which store.insert stores a payment and its first operation.

        Their ids follow from `key`, except for a payment that the provider is not asked for: its amount is not
        positive, and it is stored as failed. `idempotency_key` is that of the request, if it has one.
        """
        valid = wanted["amount"] > 0
        return {
            "merchant": merchant,
            "id": ids.derive(merchant, key, What.PAYMENT) if valid else str(uuid_utils.uuid7()),
            "status": Status.PROCESSING if valid else Status.FAILED,
            "failure_reason": None if valid else "invalid_amount",
            "provider": self.provider,
            "headers": headers,
            "operation_id": ids.derive(merchant, key, What.OPERATION),
            "kind": model.opening(wanted["capture"]),
            "owner": leases.new_owner("request"),
            "lease": self.lease,
            "expires": time.monotonic() + self.lease,
            "expiry": self.authorization,
            "key": idempotency_key,
            **wanted,
        }


def first_operation(payment: dict[str, Any], headers: dict[str, str] | None = None) -> Operation:
    """Return the first operation of a payment that was just stored, leased to this request.

    `headers` are those of the payment's command if the request has several commands, each with a trace of its own.
    """
    return Operation(
        payment["merchant"],
        payment["operation_id"],
        payment["id"],
        payment["kind"],
        payment["amount"],
        payment["currency"],
        payment["payment_method"],
        1,
        payment["owner"],
        headers=headers,
        provider=payment["provider"],
        expires=payment["expires"],
        order_id=payment["order_id"],
    )
