"""The operations on orders and their refunds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tandem_client import paging
from tandem_client.answers import read
from tandem_client.model import Item, Order, OrderEvent, Refund
from tandem_client.operation import listing, operation
from tandem_client.steps import Listing, Steps
from tandem_client.transport import Transport
from tandem_client.values import Capture, OrderStatus, RefundStatus, Sort, Unknown


class Orders:
    """Operations on orders.

    `wait` is how many seconds, at most 10, the service waits for the outcome before it responds with the current
    state; by default it responds at once. Each call generates an `idempotency_key`, and its retries send the same one.
    Pass one to continue an earlier call, or so that a restart of your process does not repeat the call. `if_match` is
    the `version` of the order as you know it: PreconditionFailed is raised if the order has changed since. Every method
    raises the exceptions in `tandem_client.errors`.
    """

    _order: Transport

    @operation
    def place_order(
        self,
        *,
        items: Iterable[Item],
        currency: str,
        payment_method: str,
        customer: str | None = None,
        reference: str | None = None,
        capture: Capture | Unknown | None = None,
        metadata: Mapping[str, str] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Order]:
        """Place an order. With `capture` `automatic` (the default) it is paid at once, with `manual` on `capture`.

        `reference` is the shop's own order number. Conflict is raised if another order has it: `error.problem.name` is
        `reference-taken`, and `error.problem.extensions["order_id"]` names that order.

        A declined payment raises nothing: the order's status is `payment_failed`.
        """
        body = {
            "currency": currency,
            "items": [_line(item) for item in items],
            "payment_method": payment_method,
            "customer": customer,
            "reference": reference,
            "capture": capture,
            "metadata": None if metadata is None else dict(metadata),
        }
        return read(Order, (yield from self._order.post("orders", body=body, key=idempotency_key, wait=wait)))

    @operation
    def get_order(self, order_id: str) -> Steps[Order]:
        """Return the current state of an order."""
        return read(Order, (yield from self._order.get("orders", order_id)))

    @listing
    def list_orders(
        self,
        *,
        status: OrderStatus | Unknown | Iterable[OrderStatus | Unknown] | None = None,
        customer: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        updated_after: datetime | None = None,
        sort: Sort | None = None,
        page_size: int | None = None,
    ) -> Listing[Order]:
        """Iterate over orders, newest first, or in the order of `sort`.

        The filters are: one or several statuses, the customer, the reference (at most one order has it), labels that
        must all match, and the time of creation.

        With `updated_after`, iterate over the orders that changed since, the oldest change first.

        `page_size` is the number of orders per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(
            Order,
            self._order,
            "orders",
            status=paging.query_values(status),
            customer=customer,
            reference=reference,
            **{f"metadata.{name}": value for name, value in (metadata or {}).items()},
            created_after=paging.query_time(created_after),
            created_before=paging.query_time(created_before),
            updated_after=paging.query_time(updated_after),
            sort=sort,
            limit=page_size,
        )

    @operation
    def update_order(
        self,
        order_id: str,
        *,
        metadata: Mapping[str, str | None],
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Order]:
        """Set labels of an order, or remove those that are None. The other labels stay. It is possible in any status.

        If that changes the order, it has a new `version`, and the event `order.updated`.
        """
        body = {"metadata": dict(metadata)}
        answer = yield from self._order.patch("orders", order_id, body=body, key=idempotency_key, if_match=if_match)
        return read(Order, answer)

    @listing
    def order_events(self, order_id: str, *, page_size: int | None = None) -> Listing[OrderEvent]:
        """Iterate over an order's history, oldest first.

        `page_size` is the number of events per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(OrderEvent, self._order, "orders", order_id, "events", limit=page_size)

    @operation
    def pay_again(
        self,
        order_id: str,
        *,
        payment_method: str,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Order]:
        """Try again to pay an order that is `payment_failed`, with the same or another payment method."""
        body = {"payment_method": payment_method}
        return (yield from self._act(order_id, "payment-attempts", body, wait, idempotency_key, if_match))

    @operation
    def capture(
        self,
        order_id: str,
        *,
        amount: int | None = None,
        final: bool | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Order]:
        """Capture `amount` minor units of an order that is `authorized`, or all that is left.

        The rest is released, and the order is `paid` when that is done. With `final` False, the rest stays authorized:
        the order stays `authorized`, and its `paid_amount` is what is captured so far. An `amount` of 0 captures
        nothing more and releases the rest. If the provider declines, the order stays `authorized` and has a
        `last_error`.
        """
        body = {name: value for name, value in (("amount", amount), ("final", final)) if value is not None} or None
        return (yield from self._act(order_id, "capture", body, wait, idempotency_key, if_match))

    @operation
    def cancel(
        self,
        order_id: str,
        *,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Order]:
        """Cancel an order and return the customer's money. The order is `canceling` until that is done.

        If the provider declines, the order is `authorized` or `paid` again and has a `last_error`.
        """
        return (yield from self._act(order_id, "cancel", None, wait, idempotency_key, if_match))

    @operation
    def refund(
        self,
        order_id: str,
        *,
        amount: int | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
    ) -> Steps[Refund]:
        """Refund `amount` minor units of a paid order, or all that is left.

        A refund that the provider declines raises nothing: its status is `failed`.
        """
        body = {"amount": amount, "reason": reason, "metadata": None if metadata is None else dict(metadata)}
        answer = yield from self._order.post(
            "orders", order_id, "refunds", body=body, key=idempotency_key, wait=wait, if_match=if_match
        )
        return read(Refund, answer)

    @operation
    def get_refund(self, order_id: str, refund_id: str) -> Steps[Refund]:
        """Return the current state of a refund."""
        return read(Refund, (yield from self._order.get("orders", order_id, "refunds", refund_id)))

    @listing
    def list_refunds(self, order_id: str, *, page_size: int | None = None) -> Listing[Refund]:
        """Iterate over an order's refunds, newest first.

        `page_size` is the number of refunds per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(Refund, self._order, "orders", order_id, "refunds", limit=page_size)

    @listing
    def list_all_refunds(
        self,
        *,
        status: RefundStatus | Unknown | Iterable[RefundStatus | Unknown] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        sort: Sort | None = None,
        page_size: int | None = None,
    ) -> Listing[Refund]:
        """Iterate over the refunds of all orders, newest first, or in the order of `sort`.

        The filters are: one or several statuses, and the time of creation.

        `page_size` is the number of refunds per request, at most 100. Pages are requested as needed.
        """
        yield from paging.iterate(
            Refund,
            self._order,
            "refunds",
            status=paging.query_values(status),
            created_after=paging.query_time(created_after),
            created_before=paging.query_time(created_before),
            sort=sort,
            limit=page_size,
        )

    def _act(
        self,
        order_id: str,
        action: str,
        body: Mapping[str, Any] | None,
        wait: int | None,
        key: str | None,
        if_match: int | None,
    ) -> Steps[Order]:
        answer = yield from self._order.post(
            "orders", order_id, action, body=body, key=key, wait=wait, if_match=if_match
        )
        return read(Order, answer)


def _line(item: Item) -> dict[str, Any]:
    members = {
        # Left out if it is the default: a retry by a new client must have the body of the old client's request.
        "kind": None if item.kind == "item" else item.kind,
        "sku": item.sku,
        "name": item.name,
        "quantity": item.quantity,
        "unit_amount": item.unit_amount,
        "tax_amount": item.tax_amount,
    }
    return {name: value for name, value in members.items() if value is not None}
