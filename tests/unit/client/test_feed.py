"""`events` and `wait_until`: positions, pages, and when to stop."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from tandem_client import Client, StatusNotReached, UnexpectedAnswer, Unknown, retry
from tandem_client import client as client_module
from tandem_client import feed as feed_module
from tests.unit.client.conftest import ORDER, ORDER_URL, ORDERS

EVENTS = f"{ORDER_URL}/v1/events"


def event(version: int, status: str = "paid") -> dict[str, Any]:
    return {
        "id": f"event-{version}",
        "type": "order.paid",
        "order_id": ORDER["id"],
        "version": version,
        "created_at": "2026-01-02T03:04:06.000001Z",
        "data": {**ORDER, "version": version, "status": status},
        "refund": None,
    }


def page(service: responses.RequestsMock, cursor: str, *events: dict[str, Any], more: bool = False) -> None:
    service.get(EVENTS, json={"data": list(events), "next_cursor": cursor, "has_more": more})


def queries(service: responses.RequestsMock) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(str(call.request.url)).query) for call in service.calls]


def test_each_event_has_a_position_to_continue_from(client: Client, service: responses.RequestsMock) -> None:
    page(service, "a", event(1), more=True)
    page(service, "b", event(2), event(3), more=True)
    page(service, "c", event(4))
    found = list(client.events())
    assert [(each.version, each.position) for each in found] == [(1, "a"), (2, "a"), (3, "b"), (4, "c")]
    assert [(query.get("after"), query["limit"]) for query in queries(service)] == [
        (None, ["1"]),
        (["a"], ["100"]),
        (["b"], ["100"]),
    ]


def test_events_continue_behind_a_position_and_wait_when_followed(
    client: Client, service: responses.RequestsMock
) -> None:
    page(service, "b")
    page(service, "c", event(2))
    found = client.with_options(deadline=60).events(after="a", follow=True, order_id="1", type="order.paid")
    assert next(found).position == "c"
    assert queries(service) == [
        {"after": [after], "order_id": ["1"], "type": ["order.paid"], "wait": ["10"], "limit": ["100"]}
        for after in ("a", "b")
    ]


def test_an_event_has_a_typed_order(client: Client, service: responses.RequestsMock) -> None:
    page(service, "a", {**event(1, "shipped"), "type": "order.shipped"})
    (found,) = client.events()
    assert (found.order.status, found.order.total_amount) == ("shipped", 900)
    assert isinstance(found.order.status, Unknown)
    assert isinstance(found.type, Unknown)
    assert found.order.answer.body["status"] == "shipped"


def test_waiting_ends_with_the_first_event_that_has_the_status(client: Client, service: responses.RequestsMock) -> None:
    service.get(f"{ORDERS}/1", json={**ORDER, "status": "pending_payment"})
    page(service, "a", event(2, "pending_payment"), event(3, "authorized"), more=True)
    page(service, "b", event(4, "paid"), event(5, "refunded"))
    order = client.wait_until("1", "paid")
    assert (order.version, order.status) == (4, "paid")
    assert "since" in queries(service)[1]
    assert queries(service)[2]["after"] == ["a"]


def test_an_order_that_has_the_status_is_returned_without_a_request(
    client: Client, service: responses.RequestsMock
) -> None:
    service.get(f"{ORDERS}/1", json=ORDER)
    order = client.get_order("1")
    assert client.wait_until(order, ["refunded", "paid"]) is order
    assert len(service.calls) == 1


def test_an_order_whose_status_is_final_raises_at_once(client: Client, service: responses.RequestsMock) -> None:
    failed = {**ORDER, "status": "payment_failed", "payment": {**ORDER["payment"], "failure_reason": "card_declined"}}
    for _ in range(2):
        service.get(f"{ORDERS}/{ORDER['id']}", json=failed)
    with pytest.raises(StatusNotReached, match=r"payment_failed \(card_declined\), not paid") as caught:
        client.wait_until(str(ORDER["id"]), "paid")
    assert caught.value.order.status == "payment_failed"


def test_an_old_copy_of_an_order_that_was_paid_again_is_waited_for(
    client: Client, service: responses.RequestsMock
) -> None:
    service.get(f"{ORDERS}/1", json={**ORDER, "status": "payment_failed"})
    old = client.get_order("1")
    service.get(f"{ORDERS}/{ORDER['id']}", json={**ORDER, "status": "pending_payment", "version": 3})
    page(service, "a", event(3, "pending_payment"), event(4, "paid"))
    assert client.wait_until(old, "paid").version == 4


class Clock:
    """A clock on which requests take no time, and pauses pass at once."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_ends_at_the_deadline_and_pauses_when_the_service_does_not_wait(
    client: Client, service: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    for module in (feed_module, client_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.1)  # at most, for each pause
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)
    service.get(f"{ORDERS}/1", json={**ORDER, "status": "pending_payment"})
    for cursor in range(200):
        service.get(EVENTS, json={"data": [], "next_cursor": str(cursor), "has_more": False})
    with pytest.raises(StatusNotReached, match=r"is pending_payment, not paid: 2 s have passed"):
        client.wait_until("1", "paid", deadline=2)
    assert 20 < len(service.calls) < 200
    assert clock.now == pytest.approx(2)
    service.reset()


@pytest.mark.parametrize("more", [True, False])
def test_a_feed_that_stays_at_its_position_raises(client: Client, service: responses.RequestsMock, more: bool) -> None:
    stays = () if more else (event(2, "pending_payment"),)
    page(service, "a", *stays, more=more)
    with pytest.raises(UnexpectedAnswer, match="same position"):
        next(client.events(after="a", follow=True))
    service.get(f"{ORDERS}/1", json={**ORDER, "status": "pending_payment"})
    page(service, "a", *stays, more=True)
    page(service, "a", *stays, more=more)
    with pytest.raises(UnexpectedAnswer, match="same position"):
        client.wait_until("1", "paid")


def test_an_empty_feed_stays_at_its_position(client: Client, service: responses.RequestsMock) -> None:
    page(service, "a")
    assert list(client.events(after="a")) == []
