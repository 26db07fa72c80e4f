"""A merchant with 50,000 waiting rows delays the first one of another merchant by less than a second.

The other merchant's row is inserted while the loops work on the backlog, and the database tells how long it has waited.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import requests

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import OTHER_KEY
from tests.support.webhook_receiver import Receiver, status

pytestmark = pytest.mark.adversarial

BACKLOG = 50_000
TIMES = 5
"""How many rows of the other merchant are measured, one after the other. The median counts, because a machine that
does other work, too, may delay one of them.
"""


def execute(databases: Databases, service: str, statement: str, **parameters: Any) -> None:
    with psycopg.connect(getattr(databases, service), autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)
        connection.execute("ANALYZE")


def seconds_of(databases: Databases, service: str, statement: str, *parameters: Any) -> float:
    """Wait until a statement returns how many seconds a row has waited, and return that."""

    def look() -> Any:
        rows = databases.query(service, statement, *parameters)
        return rows and rows[0]["seconds"]

    return float(eventually(look, "the other merchant's row is done", 60))


def assert_quick(measure: Callable[[], float]) -> None:
    seconds = sorted(measure() for _ in range(TIMES))
    assert seconds[TIMES // 2] < 1.0, seconds


def is_worked_on(databases: Databases, service: str, pending: str) -> None:
    """Wait until a loop has claimed rows of the backlog. `pending` is the condition for those that are not done."""
    table = pending.split(".")[0]
    eventually(
        lambda: databases.query(service, f"SELECT FROM {table} WHERE merchant = 'backlog' AND attempts > 0 LIMIT 1"),
        "the loop works on the backlog",
        60,
    )


def is_left(databases: Databases, service: str, pending: str) -> None:
    """Assert that there still is a backlog: it was there all the time."""
    table = pending.split(".")[0]
    (row,) = databases.query(service, f"SELECT count(*) AS n FROM {table} WHERE merchant = 'backlog' AND {pending}")
    assert row["n"] > BACKLOG / 2


UNDELIVERED = "outbox.delivered_at IS NULL"
WAITED = """SELECT extract(epoch FROM delivered_at - created_at)::float8 AS seconds FROM outbox
            WHERE merchant = 'other' AND """


def placed(pair: Pair, **headers: str) -> requests.Response:
    """Place an order of another merchant. While the database does not respond, send it again, as clients do."""
    other, key = Client(pair.order.url, OTHER_KEY), str(uuid.uuid4())

    def place() -> Any:
        answer = other.post("/v1/orders", ORDER, key=key, **headers)
        return answer if answer.status_code != 503 else None

    answer: requests.Response = eventually(place, "the other merchant's order is placed", 60)
    assert answer.status_code == 201, answer.text
    return answer


def place_for_other(pair: Pair) -> float:
    """Place an order of another merchant, whose command waits for the relay. Return for how many seconds it waited."""
    order_id = placed(pair).json()["id"]
    return seconds_of(pair.databases, "order", WAITED + "aggregate_id = %s", order_id)


@pytest.mark.parametrize("token", ["pm_ok", "pm_slow", "pm_timeout_charged"])
def test_a_backlog_of_new_payments_delays_no_other_merchants_command(pair: Pair, token: str) -> None:
    execute(
        pair.databases,
        "order",
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
           SELECT gen_random_uuid(), 'backlog', id, 'payment.create', jsonb_build_object(
               'order_id', id, 'amount', 900, 'currency', 'EUR', 'payment_method', %(token)s::text,
               'capture', 'automatic')
           FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %(rows)s)) AS orders""",
        token=token,
        rows=BACKLOG,
    )
    is_worked_on(pair.databases, "order", UNDELIVERED)
    assert_quick(lambda: place_for_other(pair))
    is_left(pair.databases, "order", UNDELIVERED)


def test_slow_payments_of_a_merchant_that_waits_for_them_keep_no_other_merchant_from_waiting(pair: Pair) -> None:
    """Each of the merchant's requests gives payment up before the provider has answered."""
    stopped = threading.Event()

    def wait_in_vain() -> None:
        client = Client(pair.order.url, pair.order.key)
        while not stopped.is_set():
            client.post("/v1/orders", {**ORDER, "payment_method": "pm_slow"}, Prefer="wait=1")

    threads = [threading.Thread(target=wait_in_vain) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        slow = "SELECT FROM outbox WHERE merchant = 'demo' AND attempts > 1 HAVING count(*) > 5"
        eventually(lambda: pair.databases.query("order", slow), "payment was given up many times", 60)
        for _ in range(TIMES):
            answer = placed(pair, Prefer="wait=10")
            assert answer.json()["status"] == "paid", answer.text
            assert answer.headers["Preference-Applied"] == "wait=10"
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def slow_refunds(databases: Databases, refunding: int) -> list[Any]:
    """Insert payments whose refunds take the provider two seconds each. Returns their ids."""
    execute(
        databases,
        "payment",
        """INSERT INTO payments (merchant, id, order_id, amount, currency, payment_method, status, authorized_amount,
                                 captured_amount, refunding_amount, provider_reference, provider, capture)
           SELECT 'backlog', gen_random_uuid(), gen_random_uuid(), 900, 'EUR', 'pm_slow', 'captured', 900, 900,
                  %(refunding)s, 'sim_backlog', 'simulator', 'automatic' FROM generate_series(1, 200)""",
        refunding=refunding,
    )
    return [row["id"] for row in databases.query("payment", "SELECT id FROM payments WHERE merchant = 'backlog'")]


def test_a_backlog_of_slow_refunds_delays_no_other_merchants_command(pair: Pair) -> None:
    execute(
        pair.databases,
        "order",
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
           SELECT gen_random_uuid(), 'backlog', gen_random_uuid(), 'payment.refund',
                  jsonb_build_object('payment_id', id, 'amount', 1)
           FROM generate_series(1, %(rows)s / 200) CROSS JOIN unnest(%(ids)s::uuid[]) AS payments(id)""",
        rows=BACKLOG,
        ids=slow_refunds(pair.databases, 0),
    )
    is_worked_on(pair.databases, "order", UNDELIVERED)
    assert_quick(lambda: place_for_other(pair))
    is_left(pair.databases, "order", UNDELIVERED)


def test_a_backlog_of_slow_operations_delays_no_other_merchants_operation(pair: Pair) -> None:
    execute(
        pair.databases,
        "payment",
        """INSERT INTO operations (merchant, id, payment_id, kind, amount, currency)
           SELECT 'backlog', gen_random_uuid(), id, 'refund', 1, 'EUR'
           FROM generate_series(1, %(rows)s / 200) CROSS JOIN unnest(%(ids)s::uuid[]) AS payments(id)""",
        rows=BACKLOG,
        ids=slow_refunds(pair.databases, BACKLOG // 200),
    )
    pending = "operations.status = 'pending'"
    is_worked_on(pair.databases, "payment", pending)

    def measure() -> float:
        operation_id = str(uuid.uuid4())
        execute(
            pair.databases,
            "payment",
            """WITH payment AS (
                   INSERT INTO payments (merchant, id, order_id, amount, currency, payment_method, status, provider,
                                         capture)
                   VALUES ('other', gen_random_uuid(), gen_random_uuid(), 900, 'EUR', 'pm_ok', 'processing',
                           'simulator', 'automatic') RETURNING id)
               INSERT INTO operations (merchant, id, payment_id, kind, amount, currency)
               SELECT 'other', %(id)s, id, 'sale', 900, 'EUR' FROM payment""",
            id=operation_id,
        )
        return seconds_of(
            pair.databases,
            "payment",
            "SELECT extract(epoch FROM settled_at - created_at)::float8 AS seconds FROM operations WHERE id = %s",
            operation_id,
        )

    assert_quick(measure)
    is_left(pair.databases, "payment", pending)


def test_a_backlog_of_expired_authorizations_delays_no_other_merchants_expiry(pair: Pair) -> None:
    """The backlog is older, and each of its voids takes the provider two seconds."""
    insert = """INSERT INTO payments (merchant, id, order_id, amount, currency, payment_method, status, provider,
                                      capture, authorized_amount, provider_reference, expires_at)
                SELECT %(merchant)s, CASE WHEN %(merchant)s = 'other' THEN %(id)s::uuid ELSE gen_random_uuid() END,
                       gen_random_uuid(), 900, 'EUR', 'pm_slow', 'authorized', 'simulator', 'manual', 900,
                       'sim_' || n, clock_timestamp() - make_interval(secs => %(age)s)
                FROM generate_series(1, %(rows)s) AS n"""
    execute(pair.databases, "payment", insert, merchant="backlog", id=None, rows=BACKLOG, age=3600)
    voids = "SELECT FROM operations WHERE merchant = 'backlog' AND kind = 'void' LIMIT 1"
    eventually(lambda: pair.databases.query("payment", voids), "the loop works on the backlog", 60)

    def measure() -> float:
        payment_id = str(uuid.uuid4())
        execute(pair.databases, "payment", insert, merchant="other", id=payment_id, rows=1, age=0)
        return seconds_of(
            pair.databases,
            "payment",
            """SELECT extract(epoch FROM o.created_at - p.expires_at)::float8 AS seconds
               FROM operations o JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
               WHERE o.merchant = 'other' AND o.payment_id = %s""",
            payment_id,
        )

    assert_quick(measure)
    (row,) = pair.databases.query(
        "payment", "SELECT count(*) AS n FROM payments WHERE merchant = 'backlog' AND status = 'authorized'"
    )
    assert row["n"] > BACKLOG / 2


def test_a_backlog_of_events_delays_no_other_merchants_event(pair: Pair) -> None:
    # The first answer of the provider is lost, so that order hears of the outcome by an event.
    pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_timeout_charged"})
    found = "SELECT payload FROM outbox WHERE merchant = 'demo' AND delivered_at IS NOT NULL"
    eventually(lambda: pair.databases.query("payment", found), "an event is delivered")
    add = """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
             SELECT CASE WHEN %(merchant)s = 'other' THEN %(id)s::uuid ELSE gen_random_uuid() END, %(merchant)s,
                    gen_random_uuid(), topic, payload
             FROM (SELECT topic, payload FROM outbox WHERE merchant = 'demo' LIMIT 1) AS event,
                  generate_series(1, %(rows)s)"""
    execute(pair.databases, "payment", add, merchant="backlog", rows=BACKLOG, id=None)
    is_worked_on(pair.databases, "payment", UNDELIVERED)

    def measure() -> float:
        event_id = str(uuid.uuid4())
        execute(pair.databases, "payment", add, merchant="other", rows=1, id=event_id)
        return seconds_of(pair.databases, "payment", WAITED + "id = %s", event_id)

    assert_quick(measure)
    is_left(pair.databases, "payment", UNDELIVERED)


def test_a_backlog_of_slow_webhooks_delays_no_other_merchants_webhook(pair: Pair) -> None:
    stopped = threading.Event()
    other = Client(pair.order.url, OTHER_KEY)
    with Receiver() as slow, Receiver() as quick:
        slow.answer = lambda request: (stopped.wait(2), status(500)(request))[1]
        endpoints = {
            client: client.post("/v1/webhook-endpoints", {"url": receiver.url}).json()["id"]
            for client, receiver in ((pair.order, slow), (other, quick))
        }
        execute(
            pair.databases,
            "order",
            """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload)
               SELECT 'demo', %(endpoint)s, gen_random_uuid(), 'order.paid', '{}' FROM generate_series(1, %(rows)s)""",
            endpoint=endpoints[pair.order],
            rows=BACKLOG,
        )
        eventually(lambda: len(slow.received) > 1, "the slow endpoint is called", 60)

        def measure() -> float:
            delivery = other.post(f"/v1/webhook-endpoints/{endpoints[other]}/test").json()["id"]
            return seconds_of(
                pair.databases,
                "order",
                """SELECT extract(epoch FROM settled_at - created_at)::float8 AS seconds FROM webhook_deliveries
                   WHERE merchant = 'other' AND id = %s""",
                delivery,
            )

        assert_quick(measure)
        stopped.set()


def test_a_large_redelivery_delays_no_other_merchants_redelivery(pair: Pair) -> None:
    """Redelivery since a time makes the deliveries due in steps."""
    other = Client(pair.order.url, OTHER_KEY)
    deliveries = """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, settled_at)
                    SELECT %(merchant)s, %(endpoint)s, gen_random_uuid(), 'order.paid', '{}', 'dead', now()
                    FROM generate_series(1, %(rows)s)"""

    def endpoint(client: Client, merchant: str, rows: int) -> str:
        made: str = client.post("/v1/webhook-endpoints", {"url": receiver.url}).json()["id"]
        execute(pair.databases, "order", deliveries, merchant=merchant, endpoint=made, rows=rows)
        return made

    def redeliver(client: Client, endpoint_id: str) -> None:
        response = client.post(f"/v1/webhook-endpoints/{endpoint_id}/redeliver", {"since": "2020-01-01T00:00:00Z"})
        assert response.ok, response.text

    stopped = threading.Event()
    with Receiver() as receiver:
        receiver.answer = lambda request: (stopped.wait(2), status(500)(request))[1]
        large = [endpoint(pair.order, "demo", BACKLOG // 4) for _ in range(4)]
        small = endpoint(other, "other", 1)
        for each in large:
            redeliver(pair.order, each)
        began = time.monotonic()
        redeliver(other, small)
        asked = "SELECT FROM webhook_endpoints WHERE merchant = %s AND redeliver_since IS NOT NULL"
        eventually(lambda: not pair.databases.query("order", asked, "other"), "the other merchant's are due", 60)
        assert time.monotonic() - began < 1.0
        assert pair.databases.query("order", asked, "demo"), "the large redelivery was under way all the time"
        stopped.set()
