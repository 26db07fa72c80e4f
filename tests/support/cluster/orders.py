"""Orders that tests place one by one."""

from __future__ import annotations

from tandem_client import Client, Item, Order
from tests.support.cluster.namespace import wait_until


def place(tandem: Client, wait: int | None = None, key: str | None = None) -> Order:
    """A new order of 9 EUR, as it was acknowledged."""
    tea = Item("tea-100", quantity=2, unit_amount=450, name="Green tea")
    return tandem.place_order(items=[tea], currency="EUR", payment_method="pm_ok", wait=wait, idempotency_key=key)


def paid(tandem: Client, order_id: str, seconds: float = 60) -> Order:
    """The order when it is paid; fails after so many seconds."""
    wait_until(f"order {order_id} is paid", lambda: tandem.get_order(order_id).status == "paid", seconds)
    return tandem.get_order(order_id)
