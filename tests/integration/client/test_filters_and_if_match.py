"""Filters of lists, and `if_match`, against both services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tandem_client import Client, Conflict, Item, Order, Payment, PaymentRefund, PreconditionFailed, Refund
from tandem_client.values import Capture
from tests.support.pair import Pair
from tests.support.settings import KEY


@pytest.fixture
def tandem(pair: Pair) -> Iterator[Client]:
    with Client(pair.order.url, pair.payment.url, api_key=KEY, deadline=20) as client:
        yield client


def place(tandem: Client, method: str = "pm_ok", customer: str | None = None, capture: Capture | None = None) -> Order:
    tea = [Item("tea-100", quantity=2, unit_amount=450)]
    return tandem.place_order(
        items=tea, currency="EUR", payment_method=method, customer=customer, capture=capture, wait=10
    )


def test_orders_are_found_by_status_customer_and_time(tandem: Client) -> None:
    paid = [place(tandem, customer="cus_1"), place(tandem, customer="cus_2"), place(tandem, customer="cus_1")]
    declined = place(tandem, "pm_declined", customer="cus_1")

    def ids(**query: object) -> list[str]:
        return [order.id for order in tandem.list_orders(**query)]  # type: ignore[arg-type]

    newest_first = [declined.id, *(order.id for order in reversed(paid))]
    assert ids() == ids(page_size=1) == newest_first
    assert ids(status="paid") == [order.id for order in reversed(paid)]
    assert ids(status="payment_failed") == [declined.id]
    assert ids(customer="cus_1", page_size=1) == [declined.id, paid[2].id, paid[0].id]
    assert ids(customer="cus_1", status="paid") == [paid[2].id, paid[0].id]
    assert ids(customer="cus_3") == []
    moment = paid[1].created_at
    instant = timedelta(microseconds=1)
    assert ids(created_after=moment - instant, created_before=moment + instant) == [paid[1].id]
    assert ids(created_after=moment + instant) == [declined.id, paid[2].id]
    assert ids(created_before=moment - instant) == [paid[0].id]
    assert next(tandem.list_orders()) == tandem.get_order(declined.id)


def test_payments_and_refunds_are_found_by_status_and_time_in_both_directions(tandem: Client) -> None:
    captured, held, declined = place(tandem), place(tandem, capture="manual"), place(tandem, "pm_declined")
    other = place(tandem, "pm_refund_declined")
    refunds = [tandem.refund(order.id, wait=10) for order in (captured, other)]

    def orders(**query: object) -> list[str]:
        return [payment.order_id for payment in tandem.list_payments(**query)]  # type: ignore[arg-type]

    assert orders(page_size=1) == [other.id, declined.id, held.id, captured.id]
    assert orders(status=["authorized", "failed"], page_size=1) == [declined.id, held.id]
    assert orders(status=("captured", "failed"), sort="created_at") == [captured.id, declined.id, other.id]
    assert orders(status="captured", order_id=other.id) == [other.id]
    (payment,) = tandem.list_payments(order_id=held.id)
    assert orders(created_after=payment.created_at) == [other.id, declined.id]
    assert orders(created_before=payment.created_at) == [captured.id]
    assert [refund.id for refund in tandem.list_all_refunds(sort="created_at", page_size=1)] == [
        refund.id for refund in refunds
    ]
    assert [refund.status for refund in tandem.list_all_refunds(status=["succeeded", "failed"])] == [
        "failed",
        "succeeded",
    ]


def test_an_order_is_found_by_its_reference_which_no_other_order_can_have(tandem: Client) -> None:
    lines = [
        Item("tea-100", 2, 1190, tax_amount=380),
        Item("dhl", 1, 595, kind="shipping", tax_amount=95),
        Item("WELCOME", 1, -595, kind="discount", tax_amount=-95),
    ]

    def place_it() -> Order:
        return tandem.place_order(items=lines, currency="EUR", payment_method="pm_ok", reference="A-1001", wait=10)

    order = place_it()
    assert (order.reference, order.total_amount, order.status) == ("A-1001", 2380, "paid")
    assert [(line.kind, line.amount, line.tax_amount) for line in order.items] == [
        ("item", 2380, 380),
        ("shipping", 595, 95),
        ("discount", -595, -95),
    ]
    assert list(tandem.list_orders(reference="A-1001")) == [order]
    assert list(tandem.list_orders(reference="A-1002")) == []
    with pytest.raises(Conflict, match=order.id) as caught:
        place_it()
    problem = caught.value.problem
    assert (problem.name, problem.extensions) == ("reference-taken", {"order_id": order.id})


def test_an_order_that_has_changed_is_not_acted_on(tandem: Client) -> None:
    actions: list[tuple[Order, Callable[[str, int], Order | Refund]]] = [
        (place(tandem, capture="manual"), lambda id_, version: tandem.capture(id_, if_match=version, wait=10)),
        (place(tandem, capture="manual"), lambda id_, version: tandem.cancel(id_, if_match=version, wait=10)),
        (place(tandem), lambda id_, version: tandem.refund(id_, if_match=version, wait=10)),
        (
            place(tandem, "pm_declined"),
            lambda id_, version: tandem.pay_again(id_, payment_method="pm_ok", if_match=version, wait=10),
        ),
    ]
    for seen, act in actions:
        with pytest.raises(PreconditionFailed) as caught:
            act(seen.id, seen.version - 1)
        assert caught.value.status == 412
        assert tandem.get_order(seen.id) == seen
        act(seen.id, seen.version)
        assert tandem.get_order(seen.id).version > seen.version


def test_a_payment_that_has_changed_is_not_acted_on(tandem: Client) -> None:
    held = [next(tandem.list_payments(order_id=place(tandem, capture="manual").id)) for _ in range(2)]
    taken = next(tandem.list_payments(order_id=place(tandem).id))
    actions: list[tuple[Payment, Callable[[str, int], Payment | PaymentRefund]]] = [
        (held[0], lambda id_, version: tandem.capture_payment(id_, if_match=version)),
        (held[1], lambda id_, version: tandem.void_payment(id_, if_match=version)),
        (taken, lambda id_, version: tandem.refund_payment(id_, if_match=version)),
    ]
    for seen, act in actions:
        with pytest.raises(PreconditionFailed):
            act(seen.id, seen.version - 1)
        assert tandem.get_payment(seen.id) == seen
        act(seen.id, seen.version)
        assert tandem.get_payment(seen.id).version > seen.version
