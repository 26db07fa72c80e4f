"""Calls to the payment service, each with a deadline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import marshmallow
import requests

from chassis.http import fast_load
from chassis.http.fast_load import Load
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Remote
from order import model
from order.model import Command, Outcome
from order.snapshots import PaymentSnapshot, RefundSnapshot
from order.transition import Answer

_payment = fast_load.loader(PaymentSnapshot())
_refund = fast_load.loader(RefundSnapshot())

# Payment's problems for a command that came too late: another operation has changed the payment first.
_OVERTAKEN = frozenset({"payment-state", "amount-exceeds-captured", "amount-exceeds-authorized"})

NOT_FOUND = "payment-not-found"
"""Payment's problem if neither it nor the provider knows a payment."""

_DONE = {Command.CAPTURE: ("captured",), Command.VOID: ("voided", "expired")}
"""The payment's status after a capture or void that succeeded."""


class PaymentGateway(Remote):
    """The payment service, over HTTP."""

    def __init__(self, url: str, api_key: str, timeout: float) -> None:
        """`timeout` is the longest time to wait for a response, in seconds."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, timeout)

    def send(self, message: Message, timeout: float | None = None) -> Answer:
        """Send the command of an outbox row; the row's id is its idempotency key at payment.

        If payment does not know the payment of a capture, void or refund, the command is declined: payment has looked
        for it at the provider, too, so a retry would never end.

        Raises remote.Unreachable if it is not known whether payment acted (a retry is safe), and remote.Refused.
        """
        headers = {**message.headers, "Tandem-Merchant": message.merchant}
        keyed = _with_key(headers, message)
        body = dict(message.payload)
        if message.topic == Command.CREATE:
            return Answer(_parse(self.post("/v1/payments", _json(body), keyed, timeout)), answers=message.id)
        path = f"/v1/payments/{body.pop('payment_id')}"
        if message.topic == Command.REFUND:
            outcome = self._refund(message, f"{path}/refunds", body, keyed, timeout)
            if outcome is not None and outcome.reason == NOT_FOUND:
                return Answer(None, outcome, message.id)
            return Answer(_parse(self.get(path, headers, timeout)), outcome, message.id)
        return self._act(message, path, body, headers, timeout)

    def _act(
        self, message: Message, path: str, body: dict[str, Any], headers: dict[str, str], timeout: float | None
    ) -> Answer:
        """Send a capture or void."""
        command = Command(message.topic)
        action = command.removeprefix("payment.")
        try:
            response = self.post(f"{path}/{action}", _json(body), _with_key(headers, message), timeout)
        except Refused as error:
            if error.problem == NOT_FOUND:
                return Answer(None, _not_found(message), message.id)
            payment = _parse(self.get(path, headers, timeout))
            if error.problem == "amount-exceeds-authorized" and payment.status == "authorized":
                # The same amount is refused again, so a retry does not help.
                return Answer(payment, Outcome(message.id, False, declined=True, reason=error.problem), message.id)
            # While the payment is authorized, another operation is under way that may still fail: retry later.
            if error.problem not in _OVERTAKEN or payment.status == "authorized":
                raise
            return Answer(payment, Outcome(message.id, succeeded=False), message.id)
        payment = _parse(response)
        return Answer(payment, action_outcome(message.id, command, response.status_code == 202, payment), message.id)

    def payments(self, merchant: str, order_id: str) -> list[dict[str, Any]]:
        """Return an order's payments, newest first, as payment's API shows them. Raises Unreachable and Refused."""
        return list(self._list(merchant, f"/v1/payments?order_id={order_id}&limit=100"))

    def payment(self, merchant: str, payment_id: str) -> dict[str, Any]:
        """Return a payment as payment's API shows it. Raises Unreachable and Refused (`payment-not-found`)."""
        found: dict[str, Any] = self.get(f"/v1/payments/{payment_id}", {"Tandem-Merchant": merchant}).json()
        return found

    def entries(self, merchant: str) -> Iterator[dict[str, Any]]:
        """Yield a merchant's ledger entries, newest first, page by page. Raises Unreachable and Refused."""
        return self._list(merchant, "/v1/ledger/entries?limit=100")

    def at_provider(self, merchant: str, payment_id: str) -> dict[str, int]:
        """Return the amounts that the provider has captured and refunded for a payment, by its own records.

        `untold` is the number of operations that it did not report on, `missing` the number of those that it has no
        record of. Raises Unreachable and Refused.
        """
        headers = {"Tandem-Merchant": merchant}
        account: dict[str, int] = self.get(f"/v1/payments/{payment_id}/provider", headers).json()
        return account

    def _list(self, merchant: str, path: str) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = self.get(f"{path}&cursor={cursor}" if cursor else path, {"Tandem-Merchant": merchant}).json()
            yield from page["data"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def _refund(
        self, message: Message, path: str, body: dict[str, Any], headers: dict[str, str], timeout: float | None
    ) -> Outcome | None:
        try:
            answer = _load(_refund, self.post(path, _json(body), headers, timeout))
        except Refused as error:
            if error.problem == NOT_FOUND:
                return _not_found(message)
            if error.problem not in _OVERTAKEN:
                raise
            return Outcome(message.id, succeeded=False, reason=error.problem)
        if answer["status"] == "pending":
            return None
        failed = answer["status"] == "failed"
        return Outcome(message.id, not failed, failed, answer["failure_reason"])


def action_outcome(message_id: str, command: Command, under_way: bool, payment: model.Payment) -> Outcome | None:
    """Return the outcome of a capture or void, from the payment after it; None while it is `under_way`.

    If the payment is still authorized, the provider has declined. The response does not say why; the event does.
    """
    if under_way:
        return None
    declined = payment.status == "authorized"
    return Outcome(message_id, payment.status in _DONE[command], declined)


def _not_found(message: Message) -> Outcome:
    return Outcome(message.id, succeeded=False, declined=True, reason=NOT_FOUND)


def snapshot(fields: dict[str, Any]) -> model.Payment:
    """Return validated fields of a payment as a snapshot to decide on."""
    return model.Payment(**{name: value for name, value in fields.items() if name != "order_id"})


def from_event(event: dict[str, Any]) -> Answer:
    """Return what a validated payment event reports.

    The idempotency key of its operation is the id of the message that asked for it, if an order asked.
    """
    operation = event["operation"]
    outcome = None
    if operation["idempotency_key"] is not None:
        succeeded = operation["status"] == "succeeded"
        outcome = Outcome(operation["idempotency_key"], succeeded, not succeeded, operation["reason"])
    return Answer(snapshot(event["data"]), outcome)


def _with_key(headers: dict[str, str], message: Message) -> dict[str, str]:
    return {**headers, "Idempotency-Key": message.id}


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _parse(response: requests.Response) -> model.Payment:
    return snapshot(_load(_payment, response))


def _load(load: Load, response: requests.Response) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = load(response.json())
    except (ValueError, marshmallow.ValidationError) as error:
        raise Refused("payment sent a response that is not valid") from error
    return fields
