"""Deliveries to receivers that are down, slow, overloaded or gone, and what is stored about the attempts."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from unittest import mock

import pytest
from werkzeug.test import Client

from ci.laptop.ports import free_port
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.pair import Client as ApiClient
from tests.support.problems import refused
from tests.support.settings import OTHER_KEY
from tests.support.webhook_receiver import (
    Answer,
    Receiver,
    deliveries,
    delivery,
    path_of,
    register,
    status,
)


@contextmanager
def settings(pair: Pair, **changes: Any) -> Iterator[None]:
    """Change settings of the running loop within the block."""
    deliverer = pair.order_app.extensions["tandem"].use_cases["webhooks"].deliverer
    with mock.patch.object(deliverer, "_settings", dataclasses.replace(deliverer._settings, **changes)):
        yield


def test_event(pair: Pair, endpoint: dict[str, Any]) -> str:
    sent = pair.order.post(f"{path_of(endpoint)}/test")
    assert sent.status_code == 202, sent.text
    delivery_id: str = sent.json()["id"]
    return delivery_id


test_event.__test__ = False  # type: ignore[attr-defined]


def is_settled(pair: Pair, endpoint: dict[str, Any], delivery_id: str) -> dict[str, Any]:
    """Wait until the delivery is no longer pending. Returns it."""

    def look() -> dict[str, Any] | None:
        seen = delivery(pair.order, endpoint, delivery_id)
        return seen if seen["status"] != "pending" else None

    seen = eventually(look, "the delivery is settled")
    assert seen is not None
    return seen


def test_a_receiver_that_is_down_gets_its_events_when_it_is_up_again(pair: Pair) -> None:
    port = free_port()
    endpoint = register(pair.order, f"http://127.0.0.1:{port}/hook")
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert order["status"] == "paid", "an order does not wait for webhooks"
    eventually(
        lambda: all(each["attempt_count"] >= 2 for each in deliveries(pair.order, endpoint)), "each is attempted twice"
    )
    waiting = deliveries(pair.order, endpoint, "pending")
    assert [each["type"] for each in waiting] == ["order.paid", "order.placed"]
    assert {(each["last_status_code"], each["last_error"]) for each in waiting} == {
        (None, "the connection was refused")
    }
    with Receiver(port) as receiver:
        eventually(lambda: set(receiver.types()) == {"order.placed", "order.paid"}, "both are received")
        eventually(lambda: len(deliveries(pair.order, endpoint, "delivered")) == 2, "the result is stored")
        assert len(receiver.received) == 2
        assert {each["id"] for each in waiting} == {received.id for received in receiver.received}
    pair.order.request("DELETE", path_of(endpoint))


def raw(response: bytes) -> Answer:
    """Return an answer that sends these bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(response)
        request.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("response", "code", "error"),
    [
        (b"200 OK\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 +0000\r\n\r\n", 200, None),
        (b"500 Odd\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 +0000\r\n\r\n", 500, "answered 500"),
        (b"503 Busy\r\nRetry-After: Mon, 01 Jan 2030 00:00:00 +99999999999999999999\r\n\r\n", 503, "answered 503"),
        (b"429 Busy\r\nRetry-After: -1\r\n\r\n", 429, "answered 429"),
        (b"200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\nContent-Encoding: \xff\x00\r\n\r\n\xff", 200, None),
        (b"200 OK\r\n\xff\xfe: \x00\r\n: \r\n\r\n", 200, None),
        (
            b"200 OK\r\nX: " + b"y" * 200_000,
            None,
            "no response: it is not HTTP/1.1, or its head has more than 64 KiB or 100 headers",
        ),
        (b"302 Found\r\nLocation: \xff\r\n\r\n", 302, "answered 302: redirects are not followed"),
    ],
)
def test_every_attempt_is_recorded_whatever_the_receiver_answers(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any], response: bytes, code: int | None, error: str | None
) -> None:
    receiver.answer = raw(b"HTTP/1.1 " + response)
    delivery_id = test_event(pair, endpoint)

    def attempted() -> dict[str, Any] | None:
        seen = delivery(pair.order, endpoint, delivery_id)
        return seen if seen["attempts"] else None

    seen = eventually(attempted, "the attempt is recorded")
    assert seen is not None
    first = seen["attempts"][0]
    assert (first["status_code"], first["error"]) == (code, error)
    receiver.answer = status(204)


def test_an_attempt_that_raises_is_recorded_as_failed_and_made_again(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    deliverer = pair.order_app.extensions["tandem"].use_cases["webhooks"].deliverer
    fault = OverflowError("a fault in the code that interprets the response")
    with mock.patch.object(deliverer._sender, "post", side_effect=fault):
        delivery_id = test_event(pair, endpoint)
        eventually(lambda: delivery(pair.order, endpoint, delivery_id)["attempts"], "the attempt is recorded")
    seen = is_settled(pair, endpoint, delivery_id)
    assert (seen["status"], seen["attempts"][0]["status_code"], seen["attempts"][0]["error"]) == (
        "delivered",
        None,
        "the response could not be interpreted",
    )


def test_attempts_can_be_read_and_response_bodies_are_not_stored(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    def fail_twice(request: BaseHTTPRequestHandler) -> None:
        if len(receiver.received) > 2:
            status(201)(request)
            return
        secret = b"the receiver's own secret"
        request.send_response(500)
        request.send_header("Content-Length", str(len(secret)))
        request.end_headers()
        request.wfile.write(secret)

    receiver.answer = fail_twice
    seen = is_settled(pair, endpoint, test_event(pair, endpoint))
    assert (seen["status"], seen["attempt_count"], seen["last_status_code"], seen["last_error"]) == (
        "delivered",
        3,
        201,
        None,
    )
    assert [(a["number"], a["status_code"], a["error"]) for a in seen["attempts"]] == [
        (1, 500, "answered 500"),
        (2, 500, "answered 500"),
        (3, 201, None),
    ]
    assert all(0 < attempt["duration"] < 2 for attempt in seen["attempts"])
    assert [a["at"] for a in seen["attempts"]] == sorted(a["at"] for a in seen["attempts"])
    assert (seen["next_attempt_at"], seen["settled_at"] is None) == (None, False)
    assert seen["payload"] == receiver.received[0].event
    assert len({received.id for received in receiver.received}) == 1
    for table in ("webhook_deliveries", "webhook_attempts"):
        kept = pair.databases.query("order", f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%%own secret%%'")
        assert kept[0]["count"] == 0


def test_retry_after_is_honored(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    receiver.answer = status(429, Retry_After="3600")
    first = test_event(pair, endpoint)
    seen = eventually(
        lambda: (d := delivery(pair.order, endpoint, first))["last_status_code"] == 429 and d,
        "the attempt is answered with 429",
    )
    (row,) = pair.databases.query(
        "order",
        """SELECT available_at - now() > interval '59 minutes' AS later, paused_until - now() > interval '59 minutes'
           AS paused FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id WHERE d.id = %s""",
        first,
    )
    assert (row["later"], row["paused"]) == (True, True)
    assert isinstance(seen, dict)
    assert seen["next_attempt_at"] > seen["attempts"][-1]["at"]
    # New events are not sent during the pause, but a redelivery is.
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    assert len(receiver.received) == 1
    receiver.answer = status(200)
    assert pair.order.post(f"{path_of(endpoint)}/deliveries/{first}/redeliver").status_code == 202
    assert is_settled(pair, endpoint, first)["status"] == "delivered"
    eventually(lambda: len(deliveries(pair.order, endpoint, "delivered")) == 3, "the waiting deliveries are sent too")


def test_410_gone_disables_the_endpoint_and_what_waits_or_happens_is_sent_when_it_is_enabled(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    receiver.answer = status(500)
    waiting = test_event(pair, endpoint)
    eventually(lambda: delivery(pair.order, endpoint, waiting)["attempt_count"] >= 1, "it is attempted")
    gone = test_event(pair, endpoint)
    receiver.answer = status(410)
    assert is_settled(pair, endpoint, gone)["status"] == "dead"
    assert is_settled(pair, endpoint, waiting)["status"] == "dead"
    seen = pair.order.get(path_of(endpoint)).json()
    assert (seen["status"], seen["disabled_reason"]) == ("disabled", "gone")
    count = len(receiver.received)
    assert pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()["status"] == "paid"
    kept = {each["type"]: each for each in deliveries(pair.order, endpoint, "pending")}
    assert set(kept) == {"order.placed", "order.paid"}
    for what in ("test", f"deliveries/{waiting}/redeliver"):
        refused(pair.order.post(f"{path_of(endpoint)}/{what}"), 409, "webhook-endpoint-disabled")
    receiver.answer = status(200)
    enabled = pair.order.post(f"{path_of(endpoint)}/enable")
    assert (enabled.status_code, enabled.json()["status"], enabled.json()["disabled_reason"]) == (200, "enabled", None)
    for each in (waiting, gone, *(each["id"] for each in kept.values())):
        assert is_settled(pair, endpoint, each)["status"] == "delivered"
    assert len(receiver.received) == count + 4


def test_a_delivery_that_always_fails_is_dead_and_can_be_redelivered(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    receiver.answer = status(500)
    with settings(pair, give_up=1.0):
        first, second = (test_event(pair, endpoint) for _ in range(2))
        dead = [is_settled(pair, endpoint, each) for each in (first, second)]
    assert {each["status"] for each in dead} == {"dead"}
    assert all(each["attempt_count"] >= 2 for each in dead)
    assert [each["id"] for each in deliveries(pair.order, endpoint, "dead")] == [second, first]
    assert deliveries(pair.order, endpoint, "pending") == deliveries(pair.order, endpoint, "delivered") == []
    receiver.answer = status(200)
    path = f"{path_of(endpoint)}/deliveries/{first}/redeliver"
    again, repeated = (pair.order.post(path, {}, "once-more") for _ in range(2))
    assert (again.status_code, again.json()["id"]) == (202, first)
    assert (repeated.status_code, repeated.headers["Idempotency-Replayed"]) == (202, "true")
    seen = is_settled(pair, endpoint, first)
    assert seen["status"] == "delivered"
    assert [attempt["number"] for attempt in seen["attempts"]] == list(range(1, seen["attempt_count"] + 1))
    assert [each["id"] for each in deliveries(pair.order, endpoint, "dead")] == [second]


def test_operators_can_list_and_redeliver_dead_deliveries(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    runner = pair.order_app.test_cli_runner()

    def run(*args: str) -> tuple[int, str]:
        result = runner.invoke(args=["webhooks", *args])
        return result.exit_code, result.output

    receiver.answer = status(404)
    with settings(pair, give_up=0.001):
        ids = [test_event(pair, endpoint) for _ in range(3)]
        for each in ids:
            assert is_settled(pair, endpoint, each)["status"] == "dead"
    code, output = run("dead", "--merchant", "demo")
    lines = output.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines if "webhook.test" in line and endpoint["id"] in line] == ids
    assert all("answered 404" in line for line in lines if endpoint["id"] in line)
    assert run("dead", "--merchant", "other") == (0, "order: 0 dead\n")
    receiver.answer = status(200)
    assert run("redeliver", ids[0]) == (0, "order: 1 to be delivered again\n")
    assert is_settled(pair, endpoint, ids[0])["status"] == "delivered"
    code, output = run("redeliver", ids[0])
    assert code == 1
    assert "no enabled endpoint has a dead delivery" in output
    assert run("redeliver", "--all", "--merchant", "other") == (0, "order: 0 to be delivered again\n")
    assert run("redeliver", "--all") == (0, "order: 2 to be delivered again\n")
    for each in ids:
        assert is_settled(pair, endpoint, each)["status"] == "delivered"
    for wrong in ((), (ids[0], "--all"), ("nonsense",)):
        assert run("redeliver", *wrong)[0] == 2
    for merchant in ("\udcff", "a\0", "x" * 65, "4539 5787 6362 1486", ""):  # a byte that is not UTF-8 is a surrogate
        for command in (["dead"], ["redeliver", "--all"]):
            code, output = run(*command, "--merchant", merchant)
            assert (code, "Invalid value for '--merchant'" in output) == (2, True), output


def test_a_delivered_event_can_be_redelivered_under_the_same_id(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    first = test_event(pair, endpoint)
    is_settled(pair, endpoint, first)
    pair.order.post(f"{path_of(endpoint)}/deliveries/{first}/redeliver")
    eventually(lambda: len(receiver.received) == 2, "it is sent again")
    assert {received.id for received in receiver.received} == {first}
    assert receiver.received[0].body == receiver.received[1].body


def test_nothing_is_sent_to_a_deleted_endpoint(pair: Pair, receiver: Receiver) -> None:
    with Receiver() as witness:
        receiver.answer = witness.answer = status(503, Retry_After="1")
        deleted, kept = (register(pair.order, each.url) for each in (receiver, witness))
        first = test_event(pair, deleted)
        eventually(lambda: delivery(pair.order, deleted, first)["last_error"], "it is attempted")
        assert pair.order.request("DELETE", path_of(deleted)).status_code == 204
        count = len(receiver.received)
        again = test_event(pair, kept)
        pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
        eventually(
            lambda: delivery(pair.order, kept, again)["attempt_count"] >= 3,
            "the other endpoint's are attempted again",
            30,
        )
        assert len(receiver.received) == count
        assert (
            pair.databases.query("order", "SELECT FROM webhook_deliveries WHERE endpoint_id = %s", deleted["id"]) == []
        )
        pair.order.request("DELETE", path_of(kept))


def test_a_slow_receiver_delays_neither_orders_nor_other_endpoints(pair: Pair) -> None:
    release = threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        release.wait(10)
        status(200)(request)

    with Receiver() as slow, Receiver() as quick:
        slow.answer = wait
        endpoints = [register(pair.order, receiver.url) for receiver in (slow, quick)]
        try:
            for _ in range(20):
                began = time.monotonic()
                order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
                assert order["status"] == "paid"
                assert time.monotonic() - began < 5
            eventually(lambda: len(quick.received) == 40, "the quick receiver has all events")
            assert len(deliveries(pair.order, endpoints[0], "delivered")) == 0
        finally:
            release.set()
        failed = [each for each in deliveries(pair.order, endpoints[0]) if each["last_error"]]
        assert {each["last_error"] for each in failed} <= {"no response within the timeout"}
        for endpoint in endpoints:
            pair.order.request("DELETE", path_of(endpoint))


def test_a_failing_event_does_not_hold_up_the_next_of_its_order(pair: Pair, receiver: Receiver) -> None:
    endpoint = register(pair.order, receiver.url)

    def not_placed(request: BaseHTTPRequestHandler) -> None:
        status(500 if receiver.received[-1].event["type"] == "order.placed" else 200)(request)

    receiver.answer = not_placed
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    eventually(lambda: "order.paid" in receiver.types(order["id"]), "the second event is received")
    assert receiver.types(order["id"])[0] == "order.placed", "the first attempts are in order"
    eventually(lambda: len(deliveries(pair.order, endpoint, "delivered")) == 1, "the result is stored")
    pair.order.request("DELETE", path_of(endpoint))


def test_a_redirect_to_a_private_address_is_not_followed(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    with Receiver() as inside:
        receiver.answer = status(307, Location=inside.url)
        sent = test_event(pair, endpoint)
        seen = eventually(
            lambda: (d := delivery(pair.order, endpoint, sent))["attempt_count"] > 1 and d, "it is attempted again"
        )
        assert isinstance(seen, dict)
        assert (seen["last_status_code"], seen["last_error"]) == (307, "answered 307: redirects are not followed")
        assert inside.received == []


def test_deliveries_are_listed_in_pages(pair: Pair, receiver: Receiver, endpoint: dict[str, Any]) -> None:
    ids = [test_event(pair, endpoint) for _ in range(7)]
    path: str | None = f"{path_of(endpoint)}/deliveries?limit=3"
    pages = []
    while path:
        answer = pair.order.get(path)
        pages.append([each["id"] for each in answer.json()["data"]])
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        path = link.group(1) if link else None
    assert pages == [ids[:3:-1], ids[3:0:-1], ids[:1]]
    for query, pointer in (("status=lost", "/status"), ("limit=0", "/limit"), ("cursor=x", "/cursor"), ("x=1", "/x")):
        refused(pair.order.get(f"{path_of(endpoint)}/deliveries?{query}"), 422, "validation", pointer)


def test_a_delivery_that_was_not_attempted_in_time_is_dead(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    pair.databases.query("order", "UPDATE webhook_endpoints SET paused_until = now() + interval '1 day'")
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    pair.databases.query("order", "UPDATE webhook_deliveries SET trying_since = now() - interval '4 days'")
    eventually(lambda: len(deliveries(pair.order, endpoint, "dead")) == 2, "both are dead")
    assert (receiver.received, order["status"]) == ([], "paid")


def test_deliveries_are_measured_and_settled_ones_are_purged(
    pair: Pair, receiver: Receiver, endpoint: dict[str, Any]
) -> None:
    def metrics() -> dict[str, float]:
        admin = Client(pair.order_app.extensions["tandem"].admin)
        text = admin.get("/metrics").get_data(as_text=True)
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    delivered = test_event(pair, endpoint)
    is_settled(pair, endpoint, delivered)
    pair.databases.query("order", "DELETE FROM webhook_deliveries WHERE status <> 'delivered'")
    receiver.answer = status(500)
    waiting = test_event(pair, endpoint)
    eventually(lambda: delivery(pair.order, endpoint, waiting)["attempt_count"], "it is attempted")
    seen = metrics()
    assert seen['webhook_deliveries{status="pending",tandem="order"}'] == 1
    assert seen['webhook_deliveries{status="dead",tandem="order"}'] == 0
    assert seen['webhook_oldest_seconds{tandem="order"}'] > 0
    assert seen['outbox_deliveries_total{outcome="delivered",tandem="order",topic="webhook"}'] >= 1
    assert seen['outbox_deliveries_total{outcome="pending",tandem="order",topic="webhook"}'] >= 1
    pair.databases.query("order", "UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
    assert pair.order_app.test_cli_runner().invoke(args=["purge"]).exit_code == 0
    left = pair.databases.query("order", "SELECT id FROM webhook_deliveries")
    assert [str(row["id"]) for row in left] == [waiting]
    assert pair.databases.query("order", "SELECT FROM webhook_attempts WHERE delivery_id = %s", delivered) == []


def test_a_merchant_with_many_slow_endpoints_delays_no_other(pair: Pair, receiver: Receiver) -> None:
    stopped = threading.Event()
    slow = Receiver()
    slow.answer = lambda request: (stopped.wait(4), status(500)(request))[1]
    other = ApiClient(pair.order.url, OTHER_KEY)
    with slow:
        endpoints = [register(pair.order, f"{slow.url}/{number}") for number in range(20)]
        quick = register(other, receiver.url)
        for endpoint in endpoints * 2:
            test_event(pair, endpoint)
        eventually(lambda: len(slow.received) >= 2, "the slow endpoints are being called")
        for _ in range(3):
            began = time.monotonic()
            count = len(receiver.received)
            assert other.post(f"{path_of(quick)}/test").status_code == 202
            eventually(lambda count=count: len(receiver.received) > count, "the other merchant's event")  # type: ignore[misc]
            assert time.monotonic() - began < 2
        stopped.set()
        for endpoint in endpoints:
            pair.order.request("DELETE", path_of(endpoint))
    other.request("DELETE", path_of(quick))
