"""Reading the feed costs the same however many events there are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from order.feed import store
from order.feed.store import START, Place
from order.publisher import store as publisher
from order.store import updated
from tests.support.databases import Databases

MANY = 60_000


@pytest.fixture(scope="module")
def connection(databases: Databases) -> Iterator[psycopg.Connection[Any]]:
    """A database with orders of two merchants, one of which has one order in a thousand."""
    with psycopg.connect(databases.order, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(
            """INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture,
                                   created_at, updated_at)
               SELECT CASE n %% 1000 WHEN 0 THEN 'small' ELSE 'large' END, gen_random_uuid(), 'pending_payment', 'EUR',
                      1, '[]', 'pm_ok', 'automatic', t, t
               FROM generate_series(1, %(many)s) AS n
               CROSS JOIN LATERAL (SELECT now() - (%(many)s - n) * interval '1 second' AS t) AS at""",
            {"many": MANY},
        )
        connection.execute(
            """INSERT INTO order_events (merchant, order_id, version, type, to_status, actor, at, position)
               SELECT merchant, id, 1, 'order.placed', status, 'merchant', created_at,
                      row_number() OVER (ORDER BY created_at) / 100
               FROM orders ORDER BY created_at"""
        )
        connection.execute("ANALYZE orders, order_events")
        connection.execute("VACUUM orders, order_events")
        yield connection


class Explaining:
    """A session that explains statements; it counts the blocks that they read."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection, self.read = connection, 0

    def execute(self, statement: str, parameters: Any = None, **_: Any) -> psycopg.Cursor[Any]:
        plan = self.connection.execute(("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement).encode(), parameters)
        top = plan.fetchone()["QUERY PLAN"][0]["Plan"]  # type: ignore[index]
        self.read += top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        return self.connection.execute(statement.encode(), parameters)

    def one(self, statement: str, parameters: Any = None) -> Any:
        return self.execute(statement, parameters).fetchone()


@pytest.mark.parametrize("merchant", ["small", "large", "nobody"])
@pytest.mark.parametrize("after", [START, Place(MANY // 200), Place(MANY // 100 + 1)], ids=["start", "middle", "end"])
def test_a_page_reads_few_blocks(connection: psycopg.Connection[Any], merchant: str, after: Place) -> None:
    explaining: Any = Explaining(connection)
    rows, _, _ = store.find(explaining, merchant, {}, after, 20)
    assert explaining.read < 400, "20 events with their orders"
    assert len(rows) == (20 if merchant != "nobody" and after.position < MANY // 100 else 0)
    assert store.newest(session_of(connection), [merchant]).keys() == ({merchant} - {"nobody"})


def session_of(connection: psycopg.Connection[Any]) -> Any:
    class Plain:
        def all(self, statement: str, parameters: Any) -> list[Any]:
            return connection.execute(statement.encode(), parameters).fetchall()

    return Plain()


@pytest.mark.parametrize("at", [START, Place(MANY // 200), Place(MANY // 100 + 1)], ids=["start", "middle", "end"])
def test_the_publisher_looks_for_events_and_measures_its_lag_with_few_blocks(
    connection: psycopg.Connection[Any], at: Place
) -> None:
    plain: Any = connection
    publisher.rewind(plain, at)
    connection.execute("INSERT INTO event_publisher DEFAULT VALUES ON CONFLICT DO NOTHING")
    looking: Any = Explaining(connection)
    pages = publisher.read(looking)
    assert {page.merchant for page in pages} == ({"small", "large"} if at.position < MANY // 100 else set())
    assert looking.read < 1200, "two merchants, and up to 50 events of each with their orders"
    measuring: Any = Explaining(connection)
    age = publisher.oldest_seconds(measuring)
    assert (age == 0.0) == (at.position > MANY // 100)
    assert measuring.read < 60


def test_a_filter_looks_at_a_bounded_number_of_events(connection: psycopg.Connection[Any]) -> None:
    explaining: Any = Explaining(connection)
    rows, end, more = store.find(explaining, "large", {"type": "order.paid"}, START, 20)
    assert (rows, more) == ([], True)
    assert end.position >= store.SCANNED // 100
    assert explaining.read < 3000
    explaining = Explaining(connection)
    assert store.find(explaining, "large", {"order_id": str(uuid.uuid4())}, START, 20) == ([], START, False)
    assert explaining.read < 100


def test_since_finds_its_place_by_time(connection: psycopg.Connection[Any]) -> None:
    explaining: Any = Explaining(connection)
    moment = datetime.now(UTC) - timedelta(hours=5)
    place = store.place_at(explaining, moment)
    assert abs(place.position - (MANY - 5 * 3600) // 100) < 10
    assert explaining.read < 400


@pytest.mark.parametrize("merchant", ["small", "large"])
def test_orders_that_changed_lately_are_found_by_time(connection: psycopg.Connection[Any], merchant: str) -> None:
    for back in (timedelta(seconds=30), timedelta(hours=2), timedelta(days=4000)):
        explaining: Any = Explaining(connection)
        query = {"updated_after": datetime.now(UTC) - back, "limit": 20}
        rows = updated.find(explaining, merchant, query, None)
        assert len(rows) <= 21
        assert explaining.read < 4000, (merchant, back)
