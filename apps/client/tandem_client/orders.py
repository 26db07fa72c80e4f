"""The operations of the order service, except webhook endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import FeedEvent, Item, Order, OrderEvent, Refund
from tandem_client.transport import Transport


class Orders:
    """Operations on orders.

    `wait` is how many seconds, at most 10, the service waits for the outcome before it responds with the current
    state; by default it responds at once. Each call generates an `idempotency_key`, and its retries send the same one.
    Pass one to continue an earlier call, or so that a restart of your process does not repeat the call. `if_match` is
    the `version` of the order as you know it: PreconditionFailed is raised if the order has changed since. Every method
    raises the exceptions in `tandem_client.errors`.
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
        """Place an order. With `capture` `automatic` (the default) it is paid at once, with `manual` on `capture`.

        A declined payment raises nothing: the order's status is `payment_failed`.
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
        """Return the current state of an order."""
        return read(Order, self._order.get("orders", order_id))

    def list_orders(
        self,
        *,
        status: str | None = None,
        customer: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        updated_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Order]:
        """Iterate over orders, newest first, optionally filtered by status, customer and time of creation.

        With `updated_after`, iterate over the orders that changed since, the oldest change first.

        `page_size` is the number of orders per request, at most 100. Pages are requested as needed.
        """
        return paging.iterate(
            Order,
            self._order,
            "orders",
            status=status,
            customer=customer,
            created_after=paging.query_time(created_after),
            created_before=paging.query_time(created_before),
            updated_after=paging.query_time(updated_after),
            limit=page_size,
        )

    def order_events(self, order_id: str, *, page_size: int | None = None) -> Iterator[OrderEvent]:
        """Iterate over an order's history, oldest first.

        `page_size` is the number of events per request, at most 100. Pages are requested as needed.
        """
        return paging.iterate(OrderEvent, self._order, "orders", order_id, "events", limit=page_size)

    def read_events(
        self,
        *,
        after: str | None = None,
        since: datetime | None = None,
        type: str | None = None,
        order_id: str | None = None,
        wait: int | None = None,
        page_size: int | None = None,
    ) -> Several[FeedEvent]:
        """Return the next events of all orders, oldest first.

        If no event follows, the service waits up to `wait` seconds for the next one, at most 10.

        `answer.body["next_cursor"]` of the result is the `after` of the next call: store it together with what you do
        with the events. Without `after`, the feed begins with the oldest event, or with the first one at or after
        `since`. `answer.body["has_more"]` says whether more events may follow at once.
        """
        answer = self._order.get(
            "events",
            after=after,
            since=paging.query_time(since),
            type=type,
            order_id=order_id,
            wait=wait,
            limit=page_size,
        )
        return read_all(FeedEvent, answer)

    def pay_again(
        self,
        order_id: str,
        *,
        payment_method: str,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Try again to pay an order that is `payment_failed`, with the same or another payment method."""
        body = {"payment_method": payment_method}
        return self._act(order_id, "payment-attempts", body, wait, idempotency_key, if_match)

    def capture(
        self,
        order_id: str,
        *,
        amount: int | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Capture `amount` minor units of an order that is `authorized`, or its total. The rest is released.

        The order is `paid` when that is done. If the provider declines, it stays `authorized` and has a `last_error`.
        """
        body = None if amount is None else {"amount": amount}
        return self._act(order_id, "capture", body, wait, idempotency_key, if_match)

    def cancel(
        self,
        order_id: str,
        *,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Order:
        """Cancel an order and return the customer's money. The order is `canceling` until that is done.

        If the provider declines, the order is `authorized` or `paid` again and has a `last_error`.
        """
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
        """Refund `amount` minor units of a paid order, or all that is left."""
        body = {"amount": amount, "reason": reason}
        answer = self._order.post(
            "orders", order_id, "refunds", body=body, key=idempotency_key, wait=wait, if_match=if_match
        )
        return read(Refund, answer)

    def list_refunds(self, order_id: str, *, page_size: int | None = None) -> Iterator[Refund]:
        """Iterate over an order's refunds, newest first.

        `page_size` is the number of refunds per request, at most 100. Pages are requested as needed.
        """
        return paging.iterate(Refund, self._order, "orders", order_id, "refunds", limit=page_size)

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
