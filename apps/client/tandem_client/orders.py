"""The order service's calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import Item, Order, OrderEvent, Refund
from tandem_client.transport import Transport


class Orders:
    """What can be done with orders.

    `wait` is how many seconds, 10 at most, the service waits for the outcome before it answers with what stands
    then; without it, it answers at once. `idempotency_key` is made for each call, and every retry has it; give one
    to continue an earlier call, or to call once only even if your own process is started again meanwhile.
    `if_match` is the `version` of the order that you know: if it has changed since, PreconditionFailed is raised.
    All raise the errors that `tandem_client.errors` lists.
    """

    _order: Transport

    def place_order(
        self,
        *,
        items: Iterable[Item],
        currency: str,
        payment_method: str,
        customer: str | None = None,
        capture: str | None = None,
        metadata: Mapping[str, str] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Place an order, to be paid at once (`capture` is `automatic`, as without it) or when captured (`manual`).

        A payment that is declined is no error: the order is `payment_failed`.
        """
        body = {
            "currency": currency,
            "items": [_line(item) for item in items],
            "payment_method": payment_method,
            "customer": customer,
            "capture": capture,
            "metadata": None if metadata is None else dict(metadata),
        }
        return read(Order, self._order.post("orders", body=body, key=idempotency_key, wait=wait))

    def get_order(self, order_id: str) -> Order:
        """An order as it stands."""
        return read(Order, self._order.get("orders", order_id))

    def list_orders(
        self,
        *,
        status: str | None = None,
        customer: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Order]:
        """All orders, or those with this status, this customer or made in this time; newest first, read as needed.

        `page_size` is how many come at once, 100 at most.
        """
        return paging.every(
            Order,
            self._order,
            "orders",
            status=status,
            customer=customer,
            created_after=paging.moment(created_after),
            created_before=paging.moment(created_before),
            limit=page_size,
        )

    def order_events(self, order_id: str) -> Several[OrderEvent]:
        """An order's history, oldest first."""
        return read_all(OrderEvent, self._order.get("orders", order_id, "events"))

    def pay_again(
        self,
        order_id: str,
        *,
        payment_method: str,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Try to have an order paid that is `payment_failed`, by this or another payment method."""
        body = {"payment_method": payment_method}
        return self._act(order_id, "payment-attempts", body, wait, idempotency_key, if_match)

    def capture(
        self,
        order_id: str,
        *,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Take the money of an order that is `authorized`; it is `paid` when that is done."""
        return self._act(order_id, "capture", None, wait, idempotency_key, if_match)

    def cancel(
        self,
        order_id: str,
        *,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Cancel an order and give back what was taken; it is `canceling` until that is done."""
        return self._act(order_id, "cancel", None, wait, idempotency_key, if_match)

    def refund(
        self,
        order_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Refund:
        """Give so many minor units of a paid order back, or all that is left."""
        body = {"amount": amount, "reason": reason}
        answer = self._order.post(
            "orders", order_id, "refunds", body=body, key=idempotency_key, wait=wait, if_match=if_match
        )
        return read(Refund, answer)

    def list_refunds(self, order_id: str) -> Several[Refund]:
        """All refunds of an order, newest first."""
        return read_all(Refund, self._order.get("orders", order_id, "refunds"))

    def _act(
        self,
        order_id: str,
        action: str,
        body: Mapping[str, Any] | None,
        wait: int | None,
        key: str | None,
        if_match: int | None,
    ) -> Order:
        answer = self._order.post("orders", order_id, action, body=body, key=key, wait=wait, if_match=if_match)
        return read(Order, answer)


def _line(item: Item) -> dict[str, Any]:
    members = {"sku": item.sku, "name": item.name, "quantity": item.quantity, "unit_amount": item.unit_amount}
    return {name: value for name, value in members.items() if value is not None}
