"""The operations of the payment service."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import Balance, Entry, Operation, Payment, PaymentRefund, ProviderAccount
from tandem_client.operation import listing, operation
from tandem_client.steps import Listing, Steps
from tandem_client.transport import Transport
from tandem_client.values import Capture, PaymentStatus, Sort, Unknown


class Payments:
    """Operations on payments. Orders create their own; use these to look at them, or to take money without an order.

    `idempotency_key` and the exceptions are those of `Orders`; `if_match` is a payment's `version`.
    """

    _optional_payment: Transport | None

    @property
    def _payment(self) -> Transport:
        if self._optional_payment is None:
            raise ValueError("this client has no payment_url, which calls of the payment service need")
        return self._optional_payment

    @operation
    def create_payment(
        self,
        *,
        order_id: str,
        amount: int,
        currency: str,
        payment_method: str,
        capture: Capture | Unknown | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Payment]:
        """Charge `amount` minor units for an order, or with `capture` `manual` authorize them.

        An order has at most one live payment. If it already has one, that payment is returned.
        """
        body = {
            "order_id": str(order_id),
            "amount": amount,
            "currency": currency,
            "payment_method": payment_method,
            "capture": capture,
        }
        return read(Payment, (yield from self._payment.post("payments", body=body, key=idempotency_key)))

    @operation
    def get_payment(self, payment_id: str) -> Steps[Payment]:
        """Return the current state of a payment."""
        return read(Payment, (yield from self._payment.get("payments", payment_id)))

    @listing
    def list_payments(
        self,
        *,
        order_id: str | None = None,
        status: PaymentStatus | Unknown | Iterable[PaymentStatus | Unknown] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        sort: Sort | None = None,
        page_size: int | None = None,
    ) -> Listing[Payment]:
        """Iterate over payments, newest first, or in the order of `sort`.

        The filters are: the order, one or several statuses, and the time of creation.

        `page_size` is the number of payments per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(
            Payment,
            self._payment,
            "payments",
            order_id=order_id,
            status=paging.query_values(status),
            created_after=paging.query_time(created_after),
            created_before=paging.query_time(created_before),
            sort=sort,
            limit=page_size,
        )

    @operation
    def capture_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        final: bool | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Payment]:
        """Capture `amount` minor units of the authorized amount, or all that is left.

        The rest is released. With `final` False, it stays authorized for further captures.
        """
        body = {"amount": amount, "final": final}
        answer = yield from self._payment.post(
            "payments", payment_id, "capture", body=body, key=idempotency_key, if_match=if_match
        )
        return read(Payment, answer)

    @operation
    def void_payment(
        self, payment_id: str, *, idempotency_key: str | None = None, if_match: int | None = None
    ) -> Steps[Payment]:
        """Release the part of the authorized amount that has not been captured."""
        return read(
            Payment,
            (yield from self._payment.post("payments", payment_id, "void", key=idempotency_key, if_match=if_match)),
        )

    @operation
    def refund_payment(
        self,
        payment_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[PaymentRefund]:
        """Refund `amount` minor units of a captured payment, or all that is left."""
        body = {"amount": amount, "reason": reason}
        answer = yield from self._payment.post(
            "payments", payment_id, "refunds", body=body, key=idempotency_key, if_match=if_match
        )
        return read(PaymentRefund, answer)

    @listing
    def list_payment_refunds(self, payment_id: str, *, page_size: int | None = None) -> Listing[PaymentRefund]:
        """Iterate over a payment's refunds, newest first.

        `page_size` is the number of refunds per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(PaymentRefund, self._payment, "payments", payment_id, "refunds", limit=page_size)

    @listing
    def operations(self, payment_id: str, *, page_size: int | None = None) -> Listing[Operation]:
        """Iterate over the requests to the provider for a payment, oldest first.

        `page_size` is the number of operations per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(Operation, self._payment, "payments", payment_id, "operations", limit=page_size)

    @operation
    def provider_account(self, payment_id: str) -> Steps[ProviderAccount]:
        """Ask the provider what it has captured and refunded for a payment."""
        return read(ProviderAccount, (yield from self._payment.get("payments", payment_id, "provider")))

    @operation
    def balances(self, *, currency: str | None = None) -> Steps[Several[Balance]]:
        """Return the merchant's trial balance, in all currencies or one."""
        return read_all(Balance, (yield from self._payment.get("ledger", "balances", currency=currency)))

    @listing
    def entries(self, *, payment_id: str | None = None, page_size: int | None = None) -> Listing[Entry]:
        """Iterate over ledger entries, newest first, optionally of one payment. Pages are requested as needed."""
        yield from paging.iterate(Entry, self._payment, "ledger", "entries", payment_id=payment_id, limit=page_size)
