"""What the page reads of payment, over its API, with little patience: payment may be down, and the page says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from marshmallow import Schema, ValidationError

from chassis.messaging.remote import Refused, Remote, Unreachable
from order.operator import schemas

PATIENCE = 2.0
"""How long payment may take for one answer, in seconds."""
TOGETHER = 4.0
"""How long it may take for all answers that a page needs."""

MOST_PAYMENTS = 10
"""Of how many of an order's payments a page shows everything: the newest."""

Facts = dict[str, Any]


@dataclass(slots=True)
class Account:
    """What payment says of an order's payments; `missing` is why it is not all there is, if so."""

    payments: list[Facts] = field(default_factory=list)
    operations: list[Facts] = field(default_factory=list)
    entries: list[Facts] = field(default_factory=list)
    missing: str | None = None


class Payments(Remote):
    """The payment service, for a page: with a breaker of its own, so that a slow page opens nobody else's."""

    def __init__(self, url: str, api_key: str) -> None:
        """`api_key` is order's own, which may act for any merchant."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, PATIENCE, measured=False)

    def readiness(self) -> tuple[bool, str]:
        """Whether payment can serve, and what it or the network says."""
        try:
            return True, str(_read(self.get("/readyz", {}), schemas.Readiness().load)["status"])
        except (Unreachable, Refused) as error:
            return False, str(error)

    def account(self, merchant: str, order_id: str) -> Account:
        """All that payment knows of an order; as much of it as it answers in time."""
        account, deadline = Account(), time.monotonic() + TOGETHER
        try:
            payments = f"/v1/payments?order_id={quote(order_id)}&limit=100"
            account.payments = self._list(schemas.Payment(), merchant, payments, deadline)
            for payment in account.payments[:MOST_PAYMENTS]:
                of = quote(payment["id"])
                operations, entries = f"/v1/payments/{of}/operations", f"/v1/ledger/entries?payment_id={of}&limit=100"
                account.operations += self._list(schemas.Operation(), merchant, operations, deadline)
                account.entries += self._list(schemas.Entry(), merchant, entries, deadline)
        except (Unreachable, Refused) as error:
            account.missing = str(error)
        if len(account.payments) > MOST_PAYMENTS:
            account.missing = f"only the newest {MOST_PAYMENTS} payments are shown in full"
        return account

    def balances(self, merchants: list[str]) -> tuple[dict[str, list[Facts]], str | None]:
        """The trial balance of each merchant, and why some are missing, if they are."""
        found: dict[str, list[Facts]] = {}
        deadline = time.monotonic() + TOGETHER
        try:
            for merchant in merchants:
                found[merchant] = self._list(schemas.Balance(), merchant, "/v1/ledger/balances", deadline)
        except (Unreachable, Refused) as error:
            return found, str(error)
        return found, None

    def faults(self) -> Facts | None:
        """The simulator's switches; None when the provider is a real one. Raises Unreachable and Refused."""
        try:
            found: Facts = _read(self.get("/v1/simulator/faults", {}), schemas.Faults().load)
            return found
        except Refused as error:
            if error.problem == "not-found":
                return None
            raise

    def set_faults(self, wanted: Facts) -> None:
        """Switch faults on and off. Raises Unreachable and Refused."""
        self.put("/v1/simulator/faults", json.dumps(wanted).encode(), {})

    def _list(self, schema: Schema, merchant: str, path: str, deadline: float) -> list[Facts]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unreachable(f"payment did not tell everything within {TOGETHER:g} s")
        answer = self.get(path, {"Tandem-Merchant": merchant}, min(left, PATIENCE))
        found: list[Facts] = _read(answer, lambda said: schema.load(said["data"], many=True))
        return found


def _read(answer: requests.Response, load: Callable[[Any], Any]) -> Any:
    try:
        return load(answer.json())
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Refused("payment answered with something that it should not") from error
