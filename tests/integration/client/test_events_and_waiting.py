"""`events`, `wait_until` and `AsyncClient` against both services."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from tandem_client import AsyncClient, Client, Item, Order, OutcomeUnknown, StatusNotReached
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.proxy import Proxy
from tests.support.settings import KEY

TEA = Item("tea-100", quantity=2, unit_amount=450)


@pytest.fixture
def tandem(pair: Pair) -> Iterator[Client]:
    with Client(pair.order.url, pair.payment.url, api_key=KEY, deadline=20) as client:
        yield client


def place(tandem: Client, method: str = "pm_ok") -> Order:
    return tandem.place_order(items=[TEA], currency="EUR", payment_method=method)


def test_events_resume_at_a_position_and_miss_none(tandem: Client) -> None:
    orders = [tandem.wait_until(place(tandem), "paid") for _ in range(3)]
    everything = [(event.id, event.order.status) for event in tandem.events()]
    assert [status for _, status in everything].count("paid") >= 3
    for handled in range(1, len(everything)):
        first = list(itertools.islice(tandem.events(page_size=2), handled))
        rest = tandem.events(after=first[-1].position, page_size=2)
        ids = list(dict.fromkeys([event.id for event in first] + [event.id for event in rest]))
        assert ids == [event_id for event_id, _ in everything]
    assert {event.order_id for event in tandem.events(type="order.paid")} == {order.id for order in orders}


def test_a_follower_gets_an_event_when_it_happens(tandem: Client) -> None:
    last = list(tandem.events(since=place(tandem).created_at))[-1]
    placed: list[Order] = []
    later = threading.Timer(0.5, lambda: placed.append(place(tandem)))
    later.start()
    found = next(event for event in tandem.events(after=last.position, follow=True, type="order.placed"))
    later.join()
    assert found.order_id == placed[0].id
    assert found.order.items == placed[0].items


def test_waiting_returns_the_order_when_it_has_the_status(tandem: Client) -> None:
    order = place(tandem, "pm_slow")
    assert order.status == "pending_payment"
    paid = tandem.wait_until(order, "paid", deadline=15)
    assert (paid.id, paid.status, paid.paid_amount) == (order.id, "paid", 900)
    tandem.refund(order.id)
    assert tandem.wait_until(order.id, ["refunded", "canceled"]).status == "refunded"
    # The status of a moment ago, after the version that the caller knows.
    assert tandem.wait_until(order, "paid").version == paid.version


def test_waiting_for_a_declined_order_ends_at_once(tandem: Client) -> None:
    began = time.monotonic()
    with pytest.raises(StatusNotReached, match="card_declined") as caught:
        tandem.wait_until(place(tandem, "pm_declined"), "paid", deadline=60)
    assert caught.value.order.status == "payment_failed"
    assert time.monotonic() - began < 30


def test_waiting_ends_at_its_deadline(pair: Pair, tandem: Client) -> None:
    pair.stop_payment()
    order = place(tandem)
    began = time.monotonic()
    with pytest.raises(StatusNotReached, match="1 s have passed") as caught:
        tandem.wait_until(order, "paid", deadline=1)
    assert 1 <= time.monotonic() - began < 10
    assert caught.value.order.status == "pending_payment"


def test_the_async_client_does_what_the_other_does(pair: Pair) -> None:
    async def shop() -> tuple[str, list[int]]:
        async with AsyncClient(pair.order.url, pair.payment.url, api_key=KEY, deadline=20) as tandem:
            placed = [
                await tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok", idempotency_key=key)
                for key in ("one", "one", "two")
            ]
            assert [order.answer.replayed for order in placed] == [False, True, False]
            paid = await asyncio.gather(*(tandem.wait_until(order, "paid") for order in placed[1:]))
            assert [order.status for order in paid] == ["paid", "paid"]
            refund = await tandem.refund(paid[0].id, amount=300, wait=10)
            assert [each async for each in tandem.list_refunds(paid[0].id)] == [refund]
            payments = [each.captured_amount async for each in tandem.list_payments(page_size=1)]
            async for event in tandem.events(follow=True):
                if event.type == "refund.succeeded":
                    assert event.refund is not None
                    assert event.refund.id == refund.id
                    break
            return paid[0].id, payments

    order_id, payments = asyncio.run(shop())
    assert payments == [900, 900]
    assert len(pair.databases.query("order", "SELECT id FROM orders")) == 2
    assert pair.databases.charges(order_id) == [{"amount": 900, "currency": "EUR"}]


@pytest.mark.parametrize("mode", ["refuse", "cut_request", "cut_response", "swallow_response"])
def test_the_async_client_places_one_order_over_a_network_that_loses_connections(pair: Pair, mode: str) -> None:
    async def shop(url: str) -> Order:
        async with AsyncClient(url, api_key=KEY, timeout=0.3, deadline=20) as tandem:
            return await tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok")

    recovery = threading.Timer(0.7, lambda: setattr(proxy, "mode", "pass"))
    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        proxy.mode = mode
        recovery.start()
        order = asyncio.run(shop(proxy.url))
        recovery.join()
    rows = pair.databases.query("order", "SELECT id FROM orders")
    assert [str(row["id"]) for row in rows] == [order.id]
    eventually(lambda: pair.databases.charges(order.id) == [{"amount": 900, "currency": "EUR"}], "one charge")


def test_a_canceled_task_can_be_continued_with_its_key(pair: Pair) -> None:
    async def shop(url: str) -> Order:
        async with AsyncClient(url, api_key=KEY, timeout=5, deadline=5) as tandem:
            order = tandem.place_order(
                items=[TEA], currency="EUR", payment_method="pm_ok", idempotency_key="of-the-cart"
            )
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(order, 0.5)
            proxy.mode = "pass"
            return await tandem.place_order(
                items=[TEA], currency="EUR", payment_method="pm_ok", idempotency_key="of-the-cart"
            )

    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        proxy.mode = "swallow_response"
        order = asyncio.run(shop(proxy.url))
    assert order.answer.replayed
    assert len(pair.databases.query("order", "SELECT id FROM orders")) == 1


def test_an_unknown_outcome_of_the_async_client_continues_in_the_other(pair: Pair) -> None:
    async def shop(url: str) -> Order:
        async with AsyncClient(url, api_key=KEY, timeout=0.3, deadline=1) as tandem:
            return await tandem.place_order(items=[TEA], currency="EUR", payment_method="pm_ok")

    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        proxy.mode = "cut_response"
        with pytest.raises(OutcomeUnknown) as caught:
            asyncio.run(shop(proxy.url))
    with Client(pair.order.url, api_key=KEY) as tandem:
        order = tandem.place_order(
            items=[TEA], currency="EUR", payment_method="pm_ok", idempotency_key=caught.value.idempotency_key
        )
    assert order.answer.replayed
    assert len(pair.databases.query("order", "SELECT id FROM orders")) == 1
