"""Reading from payment over its API, with short timeouts. While payment is down, the page shows what is missing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from marshmallow import Schema

from chassis.messaging.remote import Refused, Remote, Unreachable
from order.operator import schemas

TIMEOUT = 2.0
"""Limit for one response of payment, in seconds."""
PAGE_TIMEOUT = 4.0
"""Limit for all responses that one page needs, in seconds."""

MAX_PAYMENTS = 10
"""Operations and ledger entries are read of an order's newest payments only, up to this number."""

Record = dict[str, Any]


@dataclass(slots=True)
class PaymentRecords:
    """Payment's records of one order. `missing` says why they are incomplete; None if they are complete."""

    payments: list[Record] = field(default_factory=list)
    operations: list[Record] = field(default_factory=list)
    entries: list[Record] = field(default_factory=list)
    missing: str | None = None


class Payments(Remote):
    """Client of the payment service for the page. Its own circuit breaker keeps slow pages from opening order's."""

    def __init__(self, url: str, api_key: str) -> None:
        """`api_key` is order's own, which may act for any merchant."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, TIMEOUT, measured=False)

    def readiness(self) -> tuple[bool, str]:
        """Return whether payment is ready, and its status or the error."""
        try:
            return True, str(self.read(self.get("/readyz", {}), schemas.Readiness().load)["status"])
        except (Unreachable, Refused) as error:
            return False, str(error)

    def records(self, merchant: str, order_id: str) -> PaymentRecords:
        """Return payment's records of an order, as far as payment returns them within PAGE_TIMEOUT."""
        records, deadline = PaymentRecords(), time.monotonic() + PAGE_TIMEOUT
        try:
            payments = f"/v1/payments?order_id={quote(order_id)}&limit=100"
            records.payments = self._list(schemas.Payment(), merchant, payments, deadline)
            for payment in records.payments[:MAX_PAYMENTS]:
                payment_id = quote(payment["id"])
                operations = f"/v1/payments/{payment_id}/operations"
                entries = f"/v1/ledger/entries?payment_id={payment_id}&limit=100"
                records.operations += self._list(schemas.Operation(), merchant, operations, deadline)
                records.entries += self._list(schemas.Entry(), merchant, entries, deadline)
        except (Unreachable, Refused) as error:
            records.missing = str(error)
        if len(records.payments) > MAX_PAYMENTS:
            records.missing = f"details are shown for the newest {MAX_PAYMENTS} payments only"
        return records

    def balances(self, merchants: list[str]) -> tuple[dict[str, list[Record]], str | None]:
        """Return the trial balance of each merchant, and the reason if some are missing, otherwise None."""
        found: dict[str, list[Record]] = {}
        deadline = time.monotonic() + PAGE_TIMEOUT
        try:
            for merchant in merchants:
                found[merchant] = self._list(schemas.Balance(), merchant, "/v1/ledger/balances", deadline)
        except (Unreachable, Refused) as error:
            return found, str(error)
        return found, None

    def faults(self) -> Record | None:
        """Return the simulator's faults, or None if the provider is not the simulator.

        Raises Unreachable and Refused.
        """
        try:
            faults: Record = self.read(self.get("/v1/simulator/faults", {}), schemas.Faults().load)
            return faults
        except Refused as error:
            if error.problem == "not-found":
                return None
            raise

    def set_faults(self, faults: Record) -> None:
        """Replace the simulator's faults. Raises Unreachable and Refused."""
        self.put("/v1/simulator/faults", json.dumps(faults).encode(), {})

    def _list(self, schema: Schema, merchant: str, path: str, deadline: float) -> list[Record]:
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            raise Unreachable(f"payment did not return everything within {PAGE_TIMEOUT:g} s")
        response = self.get(path, {"Tandem-Merchant": merchant}, min(seconds_left, TIMEOUT))
        records: list[Record] = self.read(response, lambda body: schema.load(body["data"], many=True))
        return records
