"""Calls to the payment service, each with a deadline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import marshmallow
import requests

from chassis.http import fast_load
from chassis.http.fast_load import Load
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Remote
from order import model
from order.model import Command
from order.schemas import PaymentSnapshot, RefundSnapshot

_payment = fast_load.loader(PaymentSnapshot())
_refund = fast_load.loader(RefundSnapshot())

# What payment says of a command that has come too late: something else was quicker, and counts.
_OVERTAKEN = frozenset({"payment-state", "amount-exceeds-captured", "amount-exceeds-authorized"})


@dataclass(frozen=True, slots=True)
class RefundOutcome:
    """What became of the refund with this id: succeeded, or failed and why.

    `declined` by the provider, or else overtaken by something that left too little to give back.
    """

    id: str
    status: str
    reason: str | None
    declined: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What payment says: the payment as it stands, and what became of what was asked, if that is known.

    `void_declined` is why the provider has declined a void.
    """

    payment: model.Payment
    refund: RefundOutcome | None = None
    void_declined: str | None = None


class PaymentGateway(Remote):
    """The payment service, over HTTP."""

    def __init__(self, url: str, api_key: str, timeout: float) -> None:
        """`timeout` is the longest that an answer may take, in seconds."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, timeout)

    def send(self, message: Message, timeout: float | None = None) -> Answer:
        """Carry out the command of an outbox row; the row's id is the idempotency key.

        Raises remote.Unreachable when it is not known what happened (asking again is safe), and remote.Refused.
        """
        headers = {**message.headers, "Tandem-Merchant": message.merchant}
        keyed = {**headers, "Idempotency-Key": message.id}
        body = dict(message.payload)
        if message.topic == Command.CREATE:
            return Answer(_parse(self.post("/v1/payments", _json(body), keyed, timeout)))
        path = f"/v1/payments/{body.pop('payment_id')}"
        if message.topic == Command.REFUND:
            refund = self._refund(message, f"{path}/refunds", body, keyed, timeout)
            return Answer(_parse(self.get(path, headers, timeout)), refund)
        action = message.topic.removeprefix("payment.")
        try:
            response = self.post(f"{path}/{action}", _json(body), keyed, timeout)
        except Refused as error:
            if error.problem not in _OVERTAKEN:
                raise
            return Answer(_parse(self.get(path, headers, timeout)))
        payment = _parse(response)
        # 200 says that it has ended: a void that has left the payment as it was has been declined.
        declined = action == "void" and response.status_code == 200 and payment.status == "authorized"
        return Answer(payment, void_declined="void_declined" if declined else None)

    def payments(self, merchant: str, order_id: str) -> list[dict[str, Any]]:
        """All payments of an order, newest first, as payment answers. Raises Unreachable and Refused."""
        headers = {"Tandem-Merchant": merchant}
        found: list[dict[str, Any]] = self.get(f"/v1/payments?order_id={order_id}&limit=100", headers).json()["data"]
        return found

    def at_provider(self, merchant: str, payment_id: str) -> dict[str, int]:
        """What the provider has captured and refunded by its own account. Raises Unreachable and Refused."""
        headers = {"Tandem-Merchant": merchant}
        account: dict[str, int] = self.get(f"/v1/payments/{payment_id}/provider", headers).json()
        return account

    def _refund(
        self, message: Message, path: str, body: dict[str, Any], headers: dict[str, str], timeout: float | None
    ) -> RefundOutcome | None:
        try:
            answer = _load(_refund, self.post(path, _json(body), headers, timeout))
        except Refused as error:
            if error.problem not in _OVERTAKEN:
                raise
            return RefundOutcome(message.id, "failed", error.problem)
        if answer["status"] == "pending":
            return None
        return RefundOutcome(
            message.id, answer["status"], answer["failure_reason"], declined=answer["status"] == "failed"
        )


def snapshot(fields: dict[str, Any]) -> model.Payment:
    """Validated fields of a payment as a snapshot to decide on."""
    return model.Payment(**{name: value for name, value in fields.items() if name != "order_id"})


def refund_outcome(operation: dict[str, Any]) -> RefundOutcome | None:
    """What became of a refund of ours, if that is what a payment event's operation was."""
    if operation["kind"] != "refund" or operation["idempotency_key"] is None:
        return None
    declined = operation["status"] != "succeeded"
    status = "failed" if declined else "succeeded"
    return RefundOutcome(operation["idempotency_key"], status, operation["reason"], declined)


def void_declined(operation: dict[str, Any]) -> str | None:
    """Why a void was declined, if that is what a payment event's operation was."""
    if operation["kind"] != "void" or operation["status"] != "declined":
        return None
    return str(operation["reason"] or "void_declined")


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _parse(response: requests.Response) -> model.Payment:
    return snapshot(_load(_payment, response))


def _load(load: Load, response: requests.Response) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = load(response.json())
    except (ValueError, marshmallow.ValidationError) as error:
        raise Refused("payment answered with something that it should not") from error
    return fields
