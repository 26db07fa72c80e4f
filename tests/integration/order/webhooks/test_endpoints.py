"""The HTTP API of endpoints: permissions, refusals, and when a secret is shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from order.webhooks.model import DEFAULT_EVENTS
from order.webhooks.service import MOST_ENDPOINTS
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY, READONLY_KEY
from tests.support.webhook_receiver import Receiver, deliveries, path_of, register

PATH = "/v1/webhook-endpoints"
URL = "http://127.0.0.1:9999/hook"


@pytest.fixture(autouse=True)
def no_endpoints_are_left(pair: Pair) -> Iterator[None]:
    yield
    for key in (None, OTHER_KEY):
        client = Client(pair.order.url, key) if key else pair.order
        for endpoint in client.get(PATH).json()["data"]:
            assert client.request("DELETE", path_of(endpoint)).status_code == 204


def test_an_endpoint_can_be_created_read_listed_and_deleted(pair: Pair) -> None:
    made = pair.order.post(PATH, {"url": URL, "description": "the shop"})
    assert made.status_code == 201
    endpoint = made.json()
    assert made.headers["Location"] == path_of(endpoint)
    assert made.headers["Cache-Control"] == "no-store"
    secret = endpoint.pop("secret")
    assert secret.startswith("whsec_")
    assert endpoint == {
        "id": endpoint["id"],
        "url": URL,
        "description": "the shop",
        "events": list(DEFAULT_EVENTS),
        "status": "enabled",
        "disabled_reason": None,
        "redelivering_since": None,
        "signed_until": None,
        "created_at": endpoint["created_at"],
    }
    other = register(pair.order, URL, events=["order.paid"])
    assert pair.order.get(path_of(endpoint)).json() == endpoint
    listed = pair.order.get(PATH)
    assert [each["id"] for each in listed.json()["data"]] == [other["id"], endpoint["id"]]
    assert "whsec_" not in listed.text + pair.order.get(path_of(endpoint)).text
    deleted = pair.order.request("DELETE", path_of(endpoint))
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method in ("GET", "DELETE"):
        refused(pair.order.request(method, path_of(endpoint)), 404, "webhook-endpoint-not-found")
    assert [each["id"] for each in pair.order.get(PATH).json()["data"]] == [other["id"]]


def test_a_repeated_request_creates_one_endpoint_and_returns_its_secret_again(pair: Pair) -> None:
    first, again = (pair.order.post(PATH, {"url": URL}, "the-same") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert len(pair.order.get(PATH).json()["data"]) == 1
    refused(pair.order.post(PATH, {"url": URL + "2"}, "the-same"), 422, "idempotency-key-reused")


def test_every_post_needs_an_idempotency_key(pair: Pair) -> None:
    endpoint = register(pair.order, URL)
    somewhere = f"{path_of(endpoint)}/deliveries/{uuid.uuid4()}/redeliver"
    paths = [PATH, somewhere, *(f"{path_of(endpoint)}/{what}" for what in ("rotate-secret", "enable", "test"))]
    for path in paths:
        body = {"url": URL} if path == PATH else {}
        refused(pair.order.request("POST", path, json=body), 400, "idempotency-key-missing")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": 1}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "https://merchant.example/" + "x" * 2000}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": "order.paid"}, "/events"),
        ({"url": URL, "events": ["order.paid", "order.lost"]}, "/events/1"),
        ({"url": URL, "events": ["webhook.test"]}, "/events/0"),
        ({"url": URL, "events": ["*"]}, "/events/0"),
        ({"url": URL, "description": "x" * 201}, "/description"),
        ({"url": URL, "secret": "whsec_mine"}, "/secret"),
        ({"url": URL, "status": "disabled"}, "/status"),
    ],
)
def test_the_error_points_at_the_invalid_field(pair: Pair, body: dict[str, Any], pointer: str) -> None:
    refused(pair.order.post(PATH, body), 422, "validation", pointer)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://10.0.0.1/",
        "http://192.168.0.1:8080/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:8080/",
        "http://[fd00::1]/",
        "http://0xa.1/",
        "http://0251.0376.0251.0376/",
        "http://167772161/",
        "http://user:password@127.0.0.1:8080/",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:8080/#x",
        "http://nobody-has-this-name.invalid/",
    ],
)
def test_a_url_that_webhooks_may_not_be_sent_to_is_refused_at_once(pair: Pair, url: str) -> None:
    refused(pair.order.post(PATH, {"url": url}), 422, "validation", "/url")
    assert pair.order.get(PATH).json()["data"] == []


def test_another_merchants_endpoint_is_404_everywhere(pair: Pair) -> None:
    other = Client(pair.order.url, OTHER_KEY)
    with Receiver() as receiver:
        mine = register(pair.order, receiver.url)
        pair.order.post(f"{path_of(mine)}/test")
        (sent,) = deliveries(pair.order, mine)
        assert other.get(PATH).json()["data"] == []
        path = path_of(mine)
        for what in ("", "/deliveries", f"/deliveries/{sent['id']}"):
            refused(other.get(path + what), 404, "webhook-endpoint-not-found")
        for what in ("/rotate-secret", "/enable", "/test", f"/deliveries/{sent['id']}/redeliver"):
            refused(other.post(path + what), 404, "webhook-endpoint-not-found")
        refused(other.request("DELETE", path), 404, "webhook-endpoint-not-found")
        theirs = register(other, receiver.url)
        for call in (
            other.get(f"{path_of(theirs)}/deliveries/{sent['id']}"),
            other.post(f"{path_of(theirs)}/deliveries/{sent['id']}/redeliver"),
        ):
            refused(call, 404, "webhook-delivery-not-found")
        assert pair.order.get(path).status_code == 200
        eventually(lambda: receiver.types() == ["webhook.test"], "one test event is received")


def test_a_read_only_key_can_only_read(pair: Pair) -> None:
    reader = Client(pair.order.url, READONLY_KEY)
    endpoint = register(pair.order, URL)
    for path in (PATH, path_of(endpoint), f"{path_of(endpoint)}/deliveries"):
        assert reader.get(path).status_code == 200
    for path in (PATH, *(f"{path_of(endpoint)}/{what}" for what in ("rotate-secret", "enable", "test"))):
        refused(reader.post(path, {}), 403, "forbidden")
    refused(reader.request("DELETE", path_of(endpoint)), 403, "forbidden")
    refused(Client(pair.order.url, None).get(PATH), 401, "unauthorized")


def test_the_number_of_endpoints_is_limited(pair: Pair) -> None:
    for _ in range(MOST_ENDPOINTS):
        register(pair.order, URL)
    refused(pair.order.post(PATH, {"url": URL}, "one-too-many"), 409, "webhook-endpoint-limit")
    assert Client(pair.order.url, OTHER_KEY).post(PATH, {"url": URL}).status_code == 201
    gone = pair.order.get(PATH).json()["data"][0]
    pair.order.request("DELETE", path_of(gone))
    assert pair.order.post(PATH, {"url": URL}, "one-too-many").status_code == 201


def test_during_the_overlap_both_secrets_sign(pair: Pair, receiver: Receiver) -> None:
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    rotated = pair.order.post(f"{path_of(endpoint)}/rotate-secret", {"overlap_seconds": 3600}, "rotate-once")
    assert rotated.status_code == 200
    new = rotated.json()["secret"]
    assert new != endpoint["secret"]
    assert rotated.json()["signed_until"] is not None
    again = pair.order.post(f"{path_of(endpoint)}/rotate-secret", {"overlap_seconds": 3600}, "rotate-once")
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (rotated.json(), "true")
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    eventually(lambda: receiver.received, "the event is received")
    (received,) = receiver.received
    assert len(received.headers["webhook-signature"].split()) == 2
    assert received.verified(endpoint["secret"]) == received.verified(new)


@pytest.mark.adversarial
@pytest.mark.parametrize("overlap", [0, 3600])
def test_a_repeated_request_does_not_show_the_secret_of_a_later_rotation(pair: Pair, overlap: int) -> None:
    body: dict[str, object] = {"url": URL, "events": ["order.paid"]}
    registering, rotating = (f"{name}-{overlap}" for name in ("register", "rotate"))  # the database is not emptied

    def register_again() -> requests.Response:
        return pair.order.post(PATH, body, registering)

    def rotate(key: str) -> requests.Response:
        return pair.order.post(f"{path_of(first.json())}/rotate-secret", {"overlap_seconds": overlap}, key)

    first = register_again()
    assert register_again().json() == first.json()
    rotated = rotate(rotating)
    assert rotate(rotating).json()["secret"] == rotated.json()["secret"] != first.json()["secret"]
    again = register_again()
    assert (again.status_code, again.headers["Idempotency-Replayed"], "secret" in again.json()) == (201, "true", False)
    rotate(f"{rotating}-again")
    again = rotate(rotating)
    assert (again.status_code, again.headers["Idempotency-Replayed"], "secret" in again.json()) == (200, "true", False)


def test_after_the_overlap_only_the_new_secret_signs(pair: Pair, receiver: Receiver) -> None:
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    new = pair.order.post(f"{path_of(endpoint)}/rotate-secret", {"overlap_seconds": 0}).json()["secret"]
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    eventually(lambda: receiver.received, "the event is received")
    (received,) = receiver.received
    assert received.verified(new)
    with pytest.raises(Exception, match="No matching signature"):
        received.verified(endpoint["secret"])


def test_the_overlap_is_a_day_by_default(pair: Pair) -> None:
    endpoint = register(pair.order, URL)
    pair.order.post(f"{path_of(endpoint)}/rotate-secret")
    (row,) = pair.databases.query(
        "order",
        """SELECT ((secrets->1->>'until')::timestamptz - now()) BETWEEN interval '23 hours 59 minutes'
                  AND interval '24 hours' AS a_day FROM webhook_endpoints""",
    )
    assert row["a_day"]
    for wrong in (-1, 7 * 86400 + 1, 1.5, "1"):
        response = pair.order.post(f"{path_of(endpoint)}/rotate-secret", {"overlap_seconds": wrong})
        refused(response, 422, "validation", "/overlap_seconds")


def test_a_test_event_can_be_sent(pair: Pair, receiver: Receiver) -> None:
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    sent = pair.order.post(f"{path_of(endpoint)}/test", {}, "test-once")
    assert (sent.status_code, sent.json()["type"], sent.json()["order_id"]) == (202, "webhook.test", None)
    again = pair.order.post(f"{path_of(endpoint)}/test", {}, "test-once")
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (sent.json()["id"], "true")
    eventually(lambda: receiver.received, "the event is received")
    (received,) = receiver.received
    assert received.id == sent.json()["id"]
    event = received.verified(endpoint["secret"])
    assert (event["type"], event["data"]) == ("webhook.test", {"webhook_endpoint_id": endpoint["id"]})
    where = sent.headers["Location"]
    eventually(lambda: pair.order.get(where).json()["status"] == "delivered", "the result is stored")
