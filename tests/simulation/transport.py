"""Order's gateway, with the payment side of a run in place of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
import requests

from order import gateway
from order.model import Command
from payment.model import Kind, Refusal, Result
from tests.simulation.payment_side import OperationRow, PaymentSide


class Response:
    """What payment's API answers: the part of requests.Response that order's gateway reads."""

    __slots__ = ("content",)

    def __init__(self, body: dict[str, Any]) -> None:
        self.content = orjson.dumps(body)


class Gateway(gateway.PaymentGateway):
    """The real gateway, which builds the requests and reads the responses; only `post` is replaced."""

    def __init__(self, side: PaymentSide) -> None:
        self._side = side

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None
    ) -> requests.Response:
        """Do what payment's API does for a batch of commands."""
        assert path == "/v1/commands"
        results = [{"id": each["id"], **self._result(each)} for each in orjson.loads(body)["commands"]]
        return cast(requests.Response, Response({"results": results}))

    def _result(self, each: dict[str, Any]) -> dict[str, Any]:
        side, key, wanted = self._side, each["id"], each["payload"]
        if each["topic"] == Command.CREATE:
            row = side.create(key, wanted["order_id"], wanted["amount"], wanted["payment_method"], wanted["capture"])
            return {"payment": row.view()}
        kind = Kind(each["topic"].removeprefix("payment."))
        done = side.act(key, wanted["payment_id"], kind, wanted.get("amount"), final=wanted.get("final", True))
        if done is None:
            return {"problem": {"name": "payment-not-found", "detail": "There is no such payment."}}
        payment = side.rows[wanted["payment_id"]].view()
        if isinstance(done, Refusal):
            return {"payment": payment, "problem": {"name": done.problem, "detail": done.detail}}
        if kind is Kind.REFUND:
            return {"payment": payment, "refund": _refund(done)}
        return {"payment": payment, "operation": {"status": done.status or "pending", "reason": done.reason}}


def _refund(tried: OperationRow) -> dict[str, Any]:
    status = {None: "pending", Result.SUCCEEDED: "succeeded"}.get(tried.status, "failed")
    return {"status": status, "failure_reason": tried.reason}
