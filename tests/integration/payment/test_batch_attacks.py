"""Batches of commands that are hostile, malformed or contradictory: no command harms another one, or the service."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from chassis.messaging import outbox
from chassis.messaging.remote import Refused
from tests.integration.payment.test_batches import create, order_service, send
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY

__all__ = ["order_service"]
pytestmark = pytest.mark.adversarial

Body = dict[str, Any]
CARD = "4539 5787 6362 1486"


def post(client: Client, body: bytes) -> requests.Response:
    """Send the bytes of a batch."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    return client.request("POST", "/v1/commands", data=body, headers=headers)


def command(topic: str, payload: Any, **change: Any) -> Body:
    return {"id": str(uuid.uuid4()), "merchant": "demo", "topic": topic, "payload": payload, "headers": {}, **change}


BAD = {
    "no payload": command("payment.create", {}),
    "a payment for a new one": command("payment.create", {"payment_id": str(uuid.uuid4())}),
    "unknown members": command("payment.capture", {"payment_id": str(uuid.uuid4()), "a": 1}),
    "no payment": command("payment.refund", {"amount": 1}),
    "a payment that is an object": command("payment.void", {"payment_id": {"a": [1]}}),
    "a payment that is a number": command("payment.void", {"payment_id": 10**30}),
    "a payment that leads elsewhere": command("payment.void", {"payment_id": "../../simulator/faults"}),
    "a negative amount": command("payment.refund", {"payment_id": str(uuid.uuid4()), "amount": -1}),
    "a huge amount": command("payment.refund", {"payment_id": str(uuid.uuid4()), "amount": 10**400}),
    "an amount with a fraction": command("payment.refund", {"payment_id": str(uuid.uuid4()), "amount": 1.5}),
    "an amount that is a text": create(amount="900"),
    "a currency that is an object": create(currency={"EUR": 1}),
    "a long payment method": create(payment_method="x" * 200_000),
    "a merchant that cannot be one": {**create(), "merchant": "a b"},
    "a merchant of another script": {**create(), "merchant": "ｄｅｍｏ"},
    "a key with a space": {**create(), "id": "a key"},
    "a key of another script": {**create(), "id": "kéy"},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_command_harms_no_other(pair: Pair, order_service: Client, bad: Body) -> None:
    good = [create(), create()]
    results = send(order_service, good[0], bad, good[1])
    assert [results[at]["payment"]["status"] for at in (0, 2)] == ["captured", "captured"]
    assert results[1]["problem"]["name"] == "validation"
    assert len(json.dumps(results[1])) < 2000
    for each in good:
        assert len(pair.databases.charges(each["payload"]["order_id"])) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"commands":' + b"[" * 100_000, 400),
        (b'{"commands":[' + b'{"payload":' * 20_000, 400),
        (b'{"commands":[{"id":"a","id":"b"}]}', 400),
        (b'{"commands":[{"payload":{"amount":NaN}}]}', 400),
        (b'{"commands":[{"payload":{"amount":1e999999999}}]}', 422),
        (b'{"commands":[{"id":"\\ud800"}]}', 422),
        (b'{"commands":[{"id":"\\u0000"}]}', 422),
        (b'{"commands":' + b"[" + b"{}," * 80_000 + b"{}]}", 422),
        (b'{"commands":{"0":{}}}', 422),
        (b'{"commands":[null,1,"a",[]]}', 422),
        (b'{"commands":[]}', 422),
        (b"{}", 422),
        (b"[]", 400),
        (b'{"commands":[{"topic":["payment.create"]}]}', 422),
        (b'{"commands":[{"payload":{"reason":"' + CARD.encode() + b'"}}]}', 422),
        (b'{"commands":"' + b"1-" * 100_000 + b'"}', 422),
        (b'{"commands":"' + "４".encode() * 85_000 + b'"}', 422),
        (b" " * 262_144 + b"{}", 413),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_a_malformed_batch_is_refused_in_bounded_time_and_size(order_service: Client, body: bytes, status: int) -> None:
    began = time.monotonic()
    answer = post(order_service, body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    assert time.monotonic() - began < 3
    assert len(answer.content) <= 64 * 1024
    assert CARD not in answer.text


@pytest.mark.parametrize("name", ["k" * 41, ""])
def test_an_invalid_name_in_a_payload_is_pointed_to(order_service: Client, name: str) -> None:
    answer = post(order_service, json.dumps({"commands": [{**create(), "payload": {name: 1}}]}).encode())
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/commands/0/payload/{name}"]


def test_a_key_that_may_not_write_sends_no_commands(pair: Pair) -> None:
    arguments = ["keys", "create", "--merchant", "tandem", "--scope", "payments:read", "--scope", "merchants:any"]
    key = pair.payment_app.test_cli_runner().invoke(args=arguments).stdout.strip()
    one = create()
    refused = Client(pair.payment.url, key).post("/v1/commands", {"commands": [one]})
    assert (refused.status_code, urlsplit(refused.json()["type"]).path) == (403, "/problems/forbidden")
    assert pair.databases.charges(one["payload"]["order_id"]) == []


HOSTILE_HEADERS = {
    "X-Request-Id": "one webhook-signature: v1,forged",
    "traceparent": "00-" + "0" * 32 + "-1234567890abcdef-01",
    "tracestate": "vendor=forged",
    "Content-Length": "3",
    "Transfer-Encoding": "chunked",
    "webhook-signature": "v1,forged",
    "Host": "elsewhere.example",
    "Authorization": "Bearer other",
    "a b": "c",
}


def test_headers_of_a_command_cannot_change_the_event_that_follows(pair: Pair, order_service: Client) -> None:
    one = {**create(payment_method="pm_timeout_charged"), "headers": HOSTILE_HEADERS}
    send(order_service, one, create())  # a lone command has the headers of its request
    found = "SELECT headers, delivered_at, last_error FROM outbox WHERE aggregate_id = %s AND delivered_at IS NOT NULL"
    (row,) = eventually(
        lambda: pair.databases.query("payment", found, one["payload"]["order_id"]), "the event is delivered"
    )
    assert row["headers"] == {}
    kept = pair.databases.query("payment", "SELECT count(*) AS n FROM payments WHERE headers::text LIKE '%%forged%%'")
    assert kept[0]["n"] == 0


def test_commands_of_several_merchants_stay_apart(pair: Pair, order_service: Client) -> None:
    key, order_id = str(uuid.uuid4()), str(uuid.uuid4())
    wanted = [{**create(order_id, key), "merchant": merchant} for merchant in ("demo", "other", "third")]
    results = send(order_service, *wanted)
    ids = {result["payment"]["id"] for result in results}
    assert len(ids) == 3
    of_demo = results[0]["payment"]["id"]
    stolen = send(
        order_service,
        *(command(topic, {"payment_id": of_demo}, merchant="other") for topic in ("payment.refund", "payment.void")),
    )
    assert [each["problem"]["name"] for each in stolen] == ["payment-not-found"] * 2
    assert len(pair.databases.charges(order_id)) == 3


def test_a_payment_is_refunded_once_however_its_commands_are_mixed(pair: Pair, order_service: Client) -> None:
    (held,) = send(order_service, create(capture="manual"))
    payment_id = held["payment"]["id"]
    capture = command("payment.capture", {"payment_id": payment_id})
    refund = command("payment.refund", {"payment_id": payment_id})
    void = command("payment.void", {"payment_id": payment_id})
    other = {**refund, "payload": {"payment_id": payment_id, "amount": 1}}
    results = send(order_service, refund, capture, capture, void, other, refund, refund)
    assert results[0]["problem"]["name"] == "payment-state"
    assert [results[at]["payment"]["status"] for at in (1, 2)] == ["captured", "captured"]
    assert results[3]["problem"]["name"] == "payment-state"
    assert sorted((results[at]["refund"] or {}).get("amount", 0) for at in (4, 5, 6)) in ([0, 0, 1], [0, 900, 900])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: send(order_service, refund, other, refund), range(8)))
    view = pair.payment.get(f"/v1/payments/{payment_id}").json()
    assert view["refunded_amount"] in (1, 900)
    refunds = pair.databases.query(
        "payment",
        "SELECT count(*) AS n FROM operations WHERE payment_id = %s AND kind = 'refund' AND status = 'succeeded'",
        payment_id,
    )
    assert refunds[0]["n"] == 1


def test_the_largest_commands_that_order_can_send_fit_into_one_batch(order_service: Client) -> None:
    headers = {
        "X-Request-Id": "~" * 128,
        "traceparent": "00-" + "a" * 32 + "-1234567890abcdef-01",
        "tracestate": "~" * 512,
    }
    payload = {"payment_id": str(uuid.uuid4()), "amount": 2**53 - 1, "reason": "𝄞" * 500}
    wanted = [command("payment.refund", payload, merchant="m" * 64, headers=headers) for _ in range(64)]
    body = json.dumps({"commands": wanted}, ensure_ascii=False, separators=(",", ":")).encode()
    answer = post(order_service, body)
    assert answer.status_code == 200, answer.text[:500]
    assert {result["problem"]["name"] for result in answer.json()["results"]} == {"payment-not-found"}


def postpone_all(pair: Pair) -> None:
    """Wait until no command is on its way. They failed while payment was down, and would be due again one by one."""
    later = """UPDATE outbox SET available_at = now() + interval '1 hour'
               WHERE available_at < now() + interval '1 minute' RETURNING id"""
    leased = "SELECT FROM outbox WHERE leased_until > now()"
    eventually(
        lambda: not pair.databases.query("order", later) and not pair.databases.query("order", leased),
        "no attempt is under way",
    )


def paid(pair: Pair, orders: list[str]) -> bool:
    return all(pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid" for order_id in orders)


REFUSE = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'order %: refused', OLD.id USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON orders FOR EACH ROW WHEN (OLD.customer = 'poison') EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("others", [0, 4])
def test_an_order_that_the_database_refuses_to_change_delays_no_other_of_its_batch(pair: Pair, others: int) -> None:
    """Its message is released with the error, and due again later and later."""
    pair.databases.query("order", REFUSE)
    pair.stop_payment()
    poison = pair.order.post("/v1/orders", {**ORDER, "customer": "poison"}).json()["id"]
    placed = [pair.order.post("/v1/orders", ORDER).json()["id"] for _ in range(others)]
    postpone_all(pair)
    pair.start_payment()
    pair.databases.query("order", "UPDATE outbox SET available_at = now()")
    failed = "SELECT last_error FROM outbox WHERE aggregate_id = %s AND available_at > now() AND leased_until IS NULL"
    eventually(lambda: pair.databases.query("order", failed, poison), "the command of this order is due again later")
    eventually(lambda: paid(pair, placed), "the other orders are paid")
    state = "SELECT last_error, delivered_at FROM outbox WHERE aggregate_id = %s"
    (row,) = pair.databases.query("order", state, poison)
    assert row == {"last_error": "the answer could not be interpreted or stored: CheckViolation", "delivered_at": None}
    pair.databases.query("order", "DROP TRIGGER refuse ON orders")
    pair.databases.query("order", "UPDATE outbox SET available_at = now()")
    eventually(lambda: paid(pair, [poison]), "it is paid as soon as the database allows it")


def test_a_batch_that_is_refused_as_a_whole_is_divided(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that payment refuses for the whole batch does not delay the others."""
    service = pair.order_app.extensions["tandem"]
    gateway = service.use_cases["orders"].gateway
    send_many = gateway.send_many
    pair.stop_payment()
    placed = [pair.order.post("/v1/orders", ORDER).json()["id"] for _ in range(5)]
    poison = str(uuid.uuid4())
    pair.databases.query(
        "order",
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
           VALUES (%s, 'demo', gen_random_uuid(), 'payment.refund', '{"reason": "4539 5787 6362 1486"}')""",
        poison,
    )
    postpone_all(pair)
    sizes: list[int] = []

    def counting(messages: list[outbox.Message], timeout: float | None = None) -> Any:
        sizes.append(len(messages))
        try:
            return send_many(messages, timeout)
        except Refused:
            assert poison in [message.id for message in messages]
            raise

    monkeypatch.setattr(gateway, "send_many", counting)
    pair.start_payment()
    pair.databases.query("order", "UPDATE outbox SET available_at = now()")
    for order_id in placed:
        eventually(
            lambda order_id=order_id: pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid",  # type: ignore[misc]
            "an order in the same batch is paid",
        )
    (row,) = pair.databases.query("order", "SELECT delivered_at, last_error FROM outbox WHERE id = %s", poison)
    assert row["delivered_at"] is None
    assert CARD not in str(row["last_error"])
    assert max(sizes) > 1


def test_the_internal_key_is_needed_before_a_batch_is_read(pair: Pair) -> None:
    for client in (pair.payment, Client(pair.payment.url, None), Client(pair.payment.url, INTERNAL_KEY + "x")):
        answer = post(client, b'{"commands":' + b"[" * 200_000)
        assert answer.status_code in (401, 403)
