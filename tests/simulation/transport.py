"""Order's gateway, with the payment side of a run in place of the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import requests

from chassis.messaging.remote import Refused
from order import gateway
from payment.model import Kind, Refusal, Result
from tests.simulation.payment_side import OperationRow, PaymentRow, PaymentSide


class Response:
    """What payment's API answers: the part of requests.Response that order's gateway reads."""

    __slots__ = ("_body", "status_code")

    def __init__(self, status_code: int, body: dict[str, Any]) -> None:
        self.status_code, self._body = status_code, body

    def json(self) -> dict[str, Any]:
        """Return the body."""
        return self._body


class Gateway(gateway.PaymentGateway):
    """The real gateway, which builds the requests and reads the responses; only `post` and `get` are replaced."""

    def __init__(self, side: PaymentSide) -> None:
        self._side = side

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None
    ) -> requests.Response:
        """Do what payment's API does for this request. Raises Refused."""
        side, key = self._side, headers["Idempotency-Key"]
        wanted = json.loads(body)
        if path == "/v1/payments":
            row = side.create(key, wanted["order_id"], wanted["amount"], wanted["payment_method"], wanted["capture"])
            return _response(201, row.view())
        _, _, _, payment_id, action = path.split("/")
        kind = Kind.REFUND if action == "refunds" else Kind(action)
        done = side.act(key, payment_id, kind, wanted.get("amount"))
        if done is None:
            raise Refused("payment answered 404", "payment-not-found")
        if isinstance(done, Refusal):
            raise Refused(f"payment answered 409: {done.detail}", done.problem)
        if kind is Kind.REFUND:
            return _response(201, _refund(done))
        row = side.rows[payment_id]
        return _response(200 if row.facts.busy is None else 202, row.view())

    def get(self, path: str, headers: Mapping[str, str], timeout: float | None = None) -> requests.Response:
        """Return a payment. Raises Refused."""
        row: PaymentRow | None = self._side.rows.get(path.rpartition("/")[2])
        if row is None:
            raise Refused("payment answered 404", "payment-not-found")
        return _response(200, row.view())


def _refund(tried: OperationRow) -> dict[str, Any]:
    status = {None: "pending", Result.SUCCEEDED: "succeeded"}.get(tried.status, "failed")
    return {"status": status, "failure_reason": tried.reason}


def _response(status_code: int, body: dict[str, Any]) -> requests.Response:
    return cast(requests.Response, Response(status_code, body))
