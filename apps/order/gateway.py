"""Calls to the payment service, each with a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Remote, Unreachable
from order import answers, model
from order.answers import Failure
from order.transition import Answer


class PaymentGateway(Remote):
    """The payment service, over HTTP."""

    def __init__(self, url: str, api_key: str, timeout: float) -> None:
        """`timeout` is the longest time to wait for a response, in seconds."""
        super().__init__("payment", url, {"Authorization": f"Bearer {api_key}"}, timeout)

    def send(self, message: Message, timeout: float | None = None) -> Answer:
        """Send the command of an outbox row; see `send_many`. Raises Unreachable or Refused if it has no answer."""
        answer = self.send_many([message], timeout)[message.id]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send_many(self, messages: Sequence[Message], timeout: float | None = None) -> dict[str, Answer | Failure]:
        """Send the commands of outbox rows in one request; a row's id is its idempotency key at payment.

        Returns, by message id, what payment answers: each command has its own answer, or its own failure, as if it had
        been sent alone. Raises remote.Unreachable if it is not known whether payment acted (a retry is safe), and
        remote.Refused.
        """
        commands = [
            {
                "id": message.id,
                "merchant": message.merchant,
                "topic": message.topic,
                "payload": message.payload,
                "headers": message.headers,
            }
            for message in messages
        ]
        try:
            headers = messages[0].headers if len(messages) == 1 else {}
            response = self.post("/v1/commands", orjson.dumps({"commands": commands}), headers, timeout)
        except Refused as error:
            _check_release(error, "takes no batches")
            raise
        return answers.read(messages, self.read(response, answers.results_of))

    def merchants(self) -> list[str]:
        """Return the names of the merchants that have payments, in payment's order. Raises Unreachable and Refused."""
        try:
            return [each["merchant"] for each in self._list("tandem", "/v1/merchants?limit=100")]
        except Refused as error:
            _check_release(error, "does not list its merchants")
            raise

    def payments(self, merchant: str, order_id: str) -> list[dict[str, Any]]:
        """Return an order's payments, newest first, as payment's API shows them. Raises Unreachable and Refused."""
        return list(self._list(merchant, f"/v1/payments?order_id={order_id}&limit=100"))

    def uncaptured(self, merchant: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        """Yield the merchant's payments of a period that are `processing` or `authorized`, newest first.

        Raises Unreachable and Refused.
        """
        created = urlencode({"created_after": since.isoformat(), "created_before": until.isoformat()})
        return self._list(merchant, f"/v1/payments?status=processing,authorized&{created}&limit=100")

    def payment(self, merchant: str, payment_id: str) -> dict[str, Any]:
        """Return a payment as payment's API shows it. Raises Unreachable and Refused (`payment-not-found`)."""
        return self.read(self.get(f"/v1/payments/{payment_id}", {"Tandem-Merchant": merchant}), _object)

    def snapshot(self, merchant: str, payment_id: str) -> model.Payment:
        """Return a payment to decide on. Raises Unreachable and Refused (`payment-not-found`)."""
        return self.read(self.get(f"/v1/payments/{payment_id}", {"Tandem-Merchant": merchant}), answers.payment)

    def entries(self, merchant: str) -> Iterator[dict[str, Any]]:
        """Yield a merchant's ledger entries, newest first, page by page. Raises Unreachable and Refused."""
        return self._list(merchant, "/v1/ledger/entries?limit=100")

    def at_provider(self, merchant: str, payment_id: str) -> dict[str, int]:
        """Return the amounts that the provider has captured and refunded for a payment, by its own records.

        `untold` is the number of operations whose outcome it did not report, `missing` the number of succeeded
        operations that it has no record of. Raises Unreachable and Refused.
        """
        headers = {"Tandem-Merchant": merchant}
        return self.read(self.get(f"/v1/payments/{payment_id}/provider", headers), _object)

    def _list(self, merchant: str, path: str) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            response = self.get(f"{path}&cursor={cursor}" if cursor else path, {"Tandem-Merchant": merchant})
            records, cursor = self.read(response, lambda page: (list(page["data"]), page.get("next_cursor")))
            yield from records
            if cursor is None:
                return


def _check_release(error: Refused, lacks: str) -> None:
    """Raise Unreachable if payment does not know the path: its release is older. `lacks` is what that does not do."""
    if error.problem in ("not-found", "method-not-allowed"):
        raise Unreachable(f"payment has an older release, which {lacks}; it is being upgraded") from error


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise TypeError("not an object")
    return body
