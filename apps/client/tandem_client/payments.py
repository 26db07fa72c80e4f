"""The payment service's calls."""

from __future__ import annotations

from collections.abc import Iterator

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import Balance, Entry, Operation, Payment, ProviderAccount, Refund
from tandem_client.transport import Transport


class Payments:
    """What can be done with payments. Orders make their own: this is for looking at them, and for money without
    an order.

    `idempotency_key`, `if_match` (a payment's `version`) and the errors are as with orders.
    """

    _to_payment: Transport | None

    @property
    def _payment(self) -> Transport:
        if self._to_payment is None:
            raise ValueError("this client has no payment_url: give it one to call the payment service")
        return self._to_payment

    def create_payment(
        self,
        *,
        order_id: str,
        amount: int,
        currency: str,
        payment_method: str,
        capture: str | None = None,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Pay so many minor units for an order, or with `capture` `manual` have them authorized.

        An order has one live payment: asking for another gives that one.
        """
        body = {
            "order_id": str(order_id),
            "amount": amount,
            "currency": currency,
            "payment_method": payment_method,
            "capture": capture,
        }
        return read(Payment, self._payment.post("payments", body=body, key=idempotency_key))

    def get_payment(self, payment_id: str) -> Payment:
        """A payment as it stands."""
        return read(Payment, self._payment.get("payments", payment_id))

    def list_payments(
        self, *, order_id: str | None = None, status: str | None = None, page_size: int | None = None
    ) -> Iterator[Payment]:
        """All payments, or those of this order or with this status; newest first, read as needed."""
        return paging.every(Payment, self._payment, "payments", order_id=order_id, status=status, limit=page_size)

    def capture_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Payment:
        """Take all or a part of what is authorized; the rest is released."""
        answer = self._payment.post(
            "payments", payment_id, "capture", body={"amount": amount}, key=idempotency_key, if_match=if_match
        )
        return read(Payment, answer)

    def void_payment(
        self, payment_id: str, *, idempotency_key: str | None = None, if_match: int | None = None
    ) -> Payment:
        """Release what is authorized."""
        return read(Payment, self._payment.post("payments", payment_id, "void", key=idempotency_key, if_match=if_match))

    def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Refund:
        """Give so many minor units of a captured payment back, or all that is left."""
        body = {"amount": amount, "reason": reason}
        answer = self._payment.post(
            "payments", payment_id, "refunds", body=body, key=idempotency_key, if_match=if_match
        )
        return read(Refund, answer)

    def list_payment_refunds(self, payment_id: str) -> Several[Refund]:
        """All refunds of a payment, newest first."""
        return read_all(Refund, self._payment.get("payments", payment_id, "refunds"))

    def operations(self, payment_id: str) -> Several[Operation]:
        """Everything that was asked of the provider for a payment, oldest first."""
        return read_all(Operation, self._payment.get("payments", payment_id, "operations"))

    def provider_account(self, payment_id: str) -> ProviderAccount:
        """What the provider says, now, that it has captured and refunded for a payment."""
        return read(ProviderAccount, self._payment.get("payments", payment_id, "provider"))

    def balances(self, *, currency: str | None = None) -> Several[Balance]:
        """The merchant's trial balance, of all currencies or one."""
        return read_all(Balance, self._payment.get("ledger", "balances", currency=currency))

    def entries(self, *, payment_id: str | None = None, page_size: int | None = None) -> Iterator[Entry]:
        """The ledger's entries, all or those of a payment; newest first, read as needed."""
        return paging.every(Entry, self._payment, "ledger", "entries", payment_id=payment_id, limit=page_size)
