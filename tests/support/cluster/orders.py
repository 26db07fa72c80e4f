"""Places single orders."""

from __future__ import annotations

from tandem_client import Client, Item, Order
from tests.support.cluster.namespace import wait_until


def place(tandem: Client, wait: int | None = None, key: str | None = None, method: str = "pm_ok") -> Order:
    """Place an order of 9 EUR, and return it as acknowledged."""
    tea = Item("tea-100", quantity=2, unit_amount=450, name="Green tea")
    return tandem.place_order(items=[tea], currency="EUR", payment_method=method, wait=wait, idempotency_key=key)


def paid(tandem: Client, order_id: str, seconds: float = 60) -> Order:
    """Wait until an order is paid, and return it. Fails after `seconds`."""
    wait_until(f"order {order_id} is paid", lambda: tandem.get_order(order_id).status == "paid", seconds)
    return tandem.get_order(order_id)
