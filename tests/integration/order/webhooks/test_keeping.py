"""Webhooks lose nothing: endpoints that are disabled or changed, redelivery of all events since a time, examples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci.laptop.ports import free_port
from order.transition import EVENTS
from order.webhooks.schemas import OrderEvent, RefundEvent
from tests.integration.order.webhooks.test_events import place, received_events
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.problems import refused
from tests.support.webhook_receiver import Receiver, deliveries, path_of, register, status


def change(pair: Pair, endpoint: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    answer = pair.order.request("PATCH", path_of(endpoint), json=wanted)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def delivered(pair: Pair, endpoint: dict[str, Any]) -> list[str]:
    return sorted(each["type"] for each in deliveries(pair.order, endpoint, "delivered"))


def test_events_of_a_disabled_endpoint_are_sent_when_it_is_enabled(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    disabled = change(pair, endpoint, enabled=False)
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "requested")
    first, second = place(pair), place(pair)
    assert {each["status"] for each in deliveries(pair.order, endpoint)} == {"pending"}
    assert receiver.received == []
    enabled = change(pair, endpoint, enabled=True)
    assert (enabled["status"], enabled["disabled_reason"]) == ("enabled", None)
    for order in (first, second):
        assert [event["type"] for event in received_events(receiver, order, 2)] == ["order.placed", "order.paid"]


def test_a_new_url_gets_what_waits_and_the_secret_stays(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    change(pair, endpoint, enabled=False)
    order = place(pair)
    with Receiver() as elsewhere:
        changed = change(pair, endpoint, url=elsewhere.url, description="moved", enabled=True)
        assert (changed["url"], changed["description"]) == (elsewhere.url, "moved")
        received_events(elsewhere, order, 2)
        assert all(received.verified(endpoint["secret"]) for received in elsewhere.received)
        assert receiver.received == []


def test_another_url_ends_the_pause_that_the_old_one_asked_for(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    receiver.answer = status(429, Retry_After="3600")
    place(pair)
    eventually(
        lambda: pair.databases.query(
            "order", "SELECT FROM webhook_endpoints WHERE id = %s AND paused_until > now()", endpoint["id"]
        ),
        "it is paused",
    )
    change(pair, endpoint, url=receiver.url, description="the same URL")
    order = place(pair)
    assert order["id"] not in [received.event["data"]["id"] for received in receiver.received]
    with Receiver() as elsewhere:
        change(pair, endpoint, url=elsewhere.url)
        received_events(elsewhere, order, 2)


def later(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> dict[str, Any]:
    """Place an order whose first webhook has failed, and waits an hour for its next attempt."""
    change(pair, endpoint, events=["order.placed"])
    receiver.answer = status(500)
    order = place(pair)
    eventually(
        lambda: pair.databases.query(
            "order",
            """UPDATE webhook_deliveries SET available_at = now() + interval '1 hour'
               WHERE endpoint_id = %s AND attempts > 0 AND leased_until IS NULL RETURNING id""",
            endpoint["id"],
        ),
        "an attempt has failed",
    )
    return order


def test_what_waits_for_its_next_attempt_is_sent_to_another_url_at_once(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    order = later(pair, receiver, endpoint)
    change(pair, endpoint, url=receiver.url, description="the same URL")
    (waiting,) = deliveries(pair.order, endpoint, "pending")
    assert datetime.fromisoformat(waiting["next_attempt_at"]) > datetime.now(UTC) + timedelta(minutes=50)
    with Receiver() as elsewhere:
        change(pair, endpoint, url=elsewhere.url)
        received_events(elsewhere, order, 1)


@pytest.mark.parametrize("by_post", [True, False])
def test_what_waits_for_its_next_attempt_is_sent_at_once_when_its_endpoint_is_enabled(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any], by_post: bool
) -> None:
    later(pair, receiver, endpoint)
    change(pair, endpoint, enabled=False)
    receiver.answer = status(204)
    if by_post:
        assert pair.order.post(f"{path_of(endpoint)}/enable").status_code == 200
    else:
        change(pair, endpoint, enabled=True)
    eventually(lambda: delivered(pair, endpoint) == ["order.placed"], "it is sent")


def test_a_change_of_the_events_concerns_later_events_only(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    changed = change(pair, endpoint, events=["order.paid"], description=None)
    assert {**endpoint, "events": ["order.paid"]}.items() >= changed.items()
    order = place(pair)
    eventually(lambda: delivered(pair, endpoint) == ["order.paid"], "it is sent")
    assert receiver.types(order["id"]) == ["order.paid"]
    assert change(pair, endpoint) == changed, "an empty change changes nothing"


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"url": "ftp://shop.example/hook"}, "/url"),
        ({"url": None}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["order.lost"]}, "/events/0"),
        ({"enabled": "yes"}, "/enabled"),
        ({"secret": "whsec_"}, "/secret"),
    ],
)
def test_an_invalid_change_is_refused_and_changes_nothing(
    pair: Pair, endpoint: dict[str, Any], wanted: dict[str, Any], pointer: str
) -> None:
    before = pair.order.get(path_of(endpoint)).json()
    answer = pair.order.request("PATCH", path_of(endpoint), json={"description": "other", **wanted})
    refused(answer, 422, "validation", pointer)
    assert pair.order.get(path_of(endpoint)).json() == before


def test_deliveries_are_filtered_by_type_and_time(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    first = place(pair)
    between = datetime.now(UTC).isoformat()
    second = place(pair)

    def listed(**query: str) -> list[tuple[str, str]]:
        found = pair.order.get(f"{path_of(endpoint)}/deliveries", params=query).json()["data"]
        return [(each["order_id"], each["type"]) for each in found]

    assert listed(type="order.paid") == [(second["id"], "order.paid"), (first["id"], "order.paid")]
    assert listed(type="order.paid", created_after=between) == [(second["id"], "order.paid")]
    assert listed(created_before=between) == [(first["id"], "order.paid"), (first["id"], "order.placed")]
    refused(pair.order.get(f"{path_of(endpoint)}/deliveries?type=order.lost"), 422, "validation", "/type")


def test_all_events_since_a_time_are_sent_again_under_their_ids(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    earlier = place(pair)
    received_events(receiver, earlier, 2)
    since = datetime.now(UTC).isoformat()
    orders = [place(pair) for _ in range(3)]
    for order in orders:
        received_events(receiver, order, 2)
    eventually(lambda: len(delivered(pair, endpoint)) == 8, "all are settled")
    answer = pair.order.post(f"{path_of(endpoint)}/redeliver", {"since": since}, "again")
    assert answer.status_code == 200
    for order in orders:
        received_events(receiver, order, 4)
    eventually(lambda: pair.order.get(path_of(endpoint)).json()["redelivering_since"] is None, "it is over")
    replay = pair.order.post(f"{path_of(endpoint)}/redeliver", {"since": since}, "again")
    assert replay.headers["Idempotency-Replayed"] == "true"
    eventually(lambda: len(delivered(pair, endpoint)) == 8, "all are settled")
    ids = [received.id for received in receiver.received if received.event["data"]["id"] != earlier["id"]]
    assert {ids.count(each) for each in ids} == {2}
    assert receiver.types(earlier["id"]) == ["order.placed", "order.paid"]


def test_a_redelivery_of_thousands_is_made_in_parts(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    pair.databases.query(
        "order",
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, settled_at)
           SELECT 'demo', %s, gen_random_uuid(), 'order.paid', '{"data": {}}', 'dead', now()
           FROM generate_series(1, 2500)""",
        endpoint["id"],
    )
    change(pair, endpoint, url=f"http://127.0.0.1:{free_port()}/closed")  # nothing is settled meanwhile
    answer = pair.order.post(f"{path_of(endpoint)}/redeliver", {"since": "2020-01-01T00:00:00Z"})
    assert answer.json()["redelivering_since"] == "2020-01-01T00:00:00.000000Z"
    eventually(lambda: pair.order.get(path_of(endpoint)).json()["redelivering_since"] is None, "it is over")
    (row,) = pair.databases.query(
        "order",
        "SELECT count(*) AS count FROM webhook_deliveries WHERE endpoint_id = %s AND status = 'pending'",
        endpoint["id"],
    )
    assert row["count"] == 2500


def test_a_redelivery_needs_an_enabled_endpoint_and_a_time(pair: Pair, endpoint: dict[str, Any]) -> None:
    path = f"{path_of(endpoint)}/redeliver"
    refused(pair.order.post(path, {}), 422, "validation", "/since")
    refused(pair.order.post(path, {"since": "yesterday"}), 422, "validation", "/since")
    change(pair, endpoint, enabled=False)
    refused(pair.order.post(path, {"since": "2020-01-01T00:00:00Z"}), 409, "webhook-endpoint-disabled")


@pytest.mark.parametrize("kind", EVENTS)
def test_an_example_of_each_type_can_be_sent(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any], kind: str
) -> None:
    answer = pair.order.post(f"{path_of(endpoint)}/test", {"type": kind})
    assert (answer.status_code, answer.json()["type"]) == (202, kind)
    eventually(lambda: receiver.received, "it is sent")
    event = receiver.received[0].verified(endpoint["secret"])
    assert event["type"] == kind
    assert event["data"]["metadata"] == {"test": "true"}
    assert pair.order.get(f"/v1/orders/{event['data']['id']}").status_code == 404
    schema = RefundEvent if kind.startswith("refund.") else OrderEvent
    assert schema().validate(event) == {}
    real = place(pair)
    assert event["data"].keys() == real.keys()


def test_only_known_types_have_an_example(pair: Pair, endpoint: dict[str, Any]) -> None:
    refused(pair.order.post(f"{path_of(endpoint)}/test", {"type": "order.lost"}), 422, "validation", "/type")


def test_an_endpoint_of_another_merchant_cannot_be_changed(pair: Pair, endpoint: dict[str, Any]) -> None:
    from tests.support.pair import Client
    from tests.support.settings import OTHER_KEY

    other = Client(pair.order.url, OTHER_KEY)
    answer = other.request("PATCH", path_of(endpoint), json={"enabled": False})
    refused(answer, 404, "webhook-endpoint-not-found")
    refused(
        other.post(f"{path_of(endpoint)}/redeliver", {"since": "2020-01-01T00:00:00Z"}),
        404,
        "webhook-endpoint-not-found",
    )
    assert pair.order.get(path_of(endpoint)).json()["status"] == "enabled"
    assert register(pair.order, endpoint["url"])["id"] != endpoint["id"]
