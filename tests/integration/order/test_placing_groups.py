"""Several orders in one statement: each has the outcome that it would have had alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import psycopg
import pytest
import requests

from chassis.http.idempotency import Claim
from chassis.postgres.database import Database, Row, Session
from order import lines
from order.changes import new_id, outbox_message
from order.model import Order, Status
from order.store import placing, views
from order.transition import place
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair

LINE = {"kind": "item", "sku": "tea", "name": "Tea", "quantity": 1, "unit_amount": 900}


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "groups-test").connect()
    yield session
    session.close()


def new(key: str, merchant: str = "demo", amount: int = 900, content: bytes = b"\x01", **more: Any) -> dict[str, Any]:
    """A new order of one line and its key, as the service stores them. `more` is for example its reference."""
    items = [lines.placed({**LINE, "unit_amount": amount})]
    step = place(Order(new_id(), Status.PENDING_PAYMENT, amount, "EUR", "pm_ok", "automatic"), new_id)
    message = outbox_message(merchant, step, {"traceparent": key}, 0)
    stored = placing.parameters(merchant, step.after, items, more, {"traceparent": key}, message, 0)
    return placing.under_key(Claim(merchant, key, content), stored)


def keys(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def is_paid(pair: Pair, order: str) -> bool:
    return bool(pair.order.get(f"/v1/orders/{order}").json()["status"] == "paid")


def bodies(rows: list[Row | None]) -> list[Any]:
    return [row and orjson.loads(row["body"]) for row in rows]


def test_each_order_is_stored_with_its_own_key_event_and_command(session: Session) -> None:
    names = keys(3)
    orders = [new(name, amount=100 * number, reference=name) for number, name in enumerate(names, 1)]
    rows = placing.insert_under_keys(session, orders)
    for name, order, body in zip(names, orders, bodies(rows), strict=True):
        stored = views.get(session, "demo", order["id"])
        assert stored is not None
        assert orjson.loads(stored["body"]) == body
        assert (body["id"], body["reference"], body["total_amount"]) == (order["id"], name, order["total_amount"])
        at = (order["id"],)
        key = session.one("SELECT key, fingerprint FROM idempotency_keys WHERE resource_id = %s", at)
        event = session.one("SELECT id::text FROM order_events WHERE order_id = %s", at)
        command = session.one("SELECT id::text, payload, headers FROM outbox WHERE aggregate_id = %s", at)
        assert key == {"key": name, "fingerprint": b"\x01"}
        assert event == {"id": order["event_id"]}
        assert command == {
            "id": order["command_id"], "payload": order["payload"], "headers": {"traceparent": name},
        }  # fmt: skip


def test_only_the_order_whose_key_is_taken_is_not_stored(session: Session) -> None:
    used, first, last = keys(3)
    earlier = new(used)
    assert placing.insert_under_keys(session, [earlier])[0] is not None
    group = [new(first), new(used), new(last), new(used, merchant="other")]
    rows = placing.insert_under_keys(session, group)
    assert [row and row["id"] for row in rows] == [group[0]["id"], None, group[2]["id"], group[3]["id"]]
    assert views.get(session, "demo", group[1]["id"]) is None
    assert session.one("SELECT FROM outbox WHERE aggregate_id = %s", (group[1]["id"],)) is None
    assert session.one("SELECT FROM order_events WHERE order_id = %s", (group[1]["id"],)) is None


def test_a_key_that_is_twice_in_a_group_stores_one_order(session: Session) -> None:
    (name,) = keys(1)
    group = [new(name), new(name, content=b"\x02"), new(name)]
    rows = [row for row in placing.insert_under_keys(session, group) if row is not None]
    found = session.all("SELECT resource_id::text AS id FROM idempotency_keys WHERE key = %s", (name,))
    assert [row["id"] for row in rows] == [row["id"] for row in found]
    assert [order["id"] for order in group if views.get(session, "demo", order["id"]) is not None] == [rows[0]["id"]]


def test_a_free_order_in_a_group_is_paid(session: Session) -> None:
    free, paid = keys(2)
    group = [new(free, amount=0), new(paid)]
    assert [body["status"] for body in bodies(placing.insert_under_keys(session, group))] == ["paid", "pending_payment"]
    for order, types in zip(group, (["order.placed", "order.paid"], ["order.placed"]), strict=True):
        events = session.all("SELECT type FROM order_events WHERE order_id = %s ORDER BY version", (order["id"],))
        assert [event["type"] for event in events] == types
    assert session.one("SELECT FROM outbox WHERE aggregate_id = %s", (group[0]["id"],)) is None


def test_a_reference_that_is_taken_stores_no_order_of_the_group(session: Session) -> None:
    one, two, three = keys(3)
    assert placing.insert_under_keys(session, [new(one, reference=one)])[0] is not None
    group = [new(two), new(three, reference=one)]
    with pytest.raises(placing.ReferenceTaken):
        placing.insert_under_keys(session, group)
    assert [views.get(session, "demo", order["id"]) for order in group] == [None, None]
    assert session.all("SELECT FROM idempotency_keys WHERE key IN (%s, %s)", (two, three)) == []


def test_only_orders_of_merchants_with_an_endpoint_are_told(session: Session, databases: Databases) -> None:
    merchant, name = f"m-{uuid.uuid4().hex[:8]}", keys(1)[0]
    databases.query(
        "order",
        "INSERT INTO webhook_endpoints (merchant, id, url, events, secrets)"
        " VALUES (%s, gen_random_uuid(), 'https://example.com', '{order.placed}', '[]')",
        merchant,
    )
    group = [new(name), new(name, merchant=merchant)]
    assert [row and row["told"] for row in placing.insert_under_keys(session, group)] == [False, True]


def test_two_groups_with_the_same_keys_in_another_sequence_do_not_deadlock(
    session: Session, databases: Databases
) -> None:
    first, second = sorted(keys(2))
    taken = """INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id)
        VALUES ('demo', %s, '', 201, %s)"""
    with psycopg.connect(databases.order) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(taken, (first, uuid.uuid4()))
        group = pool.submit(placing.insert_under_keys, session, [new(second), new(first)])
        waits = "SELECT FROM pg_stat_activity WHERE application_name = 'groups-test' AND wait_event_type = 'Lock'"
        eventually(lambda: databases.query("order", waits) != [], "the group waits for the first key")
        holder.execute(taken, (second, uuid.uuid4()))
        holder.commit()
        assert group.result(10) == [None, None]


def test_orders_that_are_placed_at_the_same_time_have_their_own_outcomes(pair: Pair) -> None:
    """Good ones, retries, reused keys, and references that are taken, from 24 callers at once."""
    used, taken = keys(2)
    earlier = pair.order.post("/v1/orders", {**ORDER, "reference": taken}, used).json()

    def send(number: int) -> tuple[str, requests.Response]:
        kind = ("new", "retry", "reused", "taken", "new", "new")[number % 6]
        key = used if kind in ("retry", "reused") else str(uuid.uuid4())
        body = {**ORDER, "reference": taken if kind in ("retry", "taken") else str(uuid.uuid4())}
        return kind, pair.order.post("/v1/orders", body, key)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(send, range(480)))
    statuses = {"new": 201, "retry": 201, "reused": 422, "taken": 409}
    assert [answer.status_code for _, answer in answers] == [statuses[kind] for kind, _ in answers]
    assert {answer.json()["id"] for kind, answer in answers if kind == "retry"} == {earlier["id"]}
    assert {answer.json()["order_id"] for kind, answer in answers if kind == "taken"} == {earlier["id"]}
    placed = [answer.json()["id"] for kind, answer in answers if kind == "new"]
    assert len(set(placed)) == len(placed) == 240
    for order in placed:
        eventually(partial(is_paid, pair, order), f"{order} is paid")
        assert len(pair.databases.charges(order)) == 1
