"""Calls to the payment service, each with a deadline."""

from __future__ import annotations

import json
from typing import Any

import marshmallow

from chassis.outbox import Message
from chassis.remote import Refused, Remote
from order import model
from order.schemas import PaymentSnapshot

_snapshot = PaymentSnapshot()


class PaymentGateway(Remote):
    """The payment service, over HTTP."""

    def __init__(self, url: str, api_key: str, timeout: float) -> None:
        """`timeout` is the longest that an answer may take, in seconds."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, timeout)

    def send(self, message: Message, timeout: float | None = None) -> model.Payment:
        """Ask for the payment that an outbox row describes; the row's id is the idempotency key.

        Raises remote.Unreachable when it is not known what happened (asking again is safe), and remote.Refused.
        """
        response = self.post(
            "/v1/payments",
            json.dumps(message.payload).encode(),
            {**message.headers, "Idempotency-Key": message.id, "Tandem-Merchant": message.merchant},
            timeout,
        )
        try:
            return snapshot(_snapshot.load(response.json()))
        except (ValueError, marshmallow.ValidationError) as error:
            raise Refused("payment answered with something that is not a payment") from error


def snapshot(fields: dict[str, Any]) -> model.Payment:
    """Validated fields of a payment as a snapshot to decide on."""
    return model.Payment(**{name: value for name, value in fields.items() if name != "order_id"})
