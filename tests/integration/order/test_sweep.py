"""The sweep sends commands again whose outcome has been missing for too long."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from chassis.postgres.database import Database, Session
from order.store import waiting
from tests.support.databases import Databases

LIMIT = 100
"""How many orders of one status a sweep takes at most."""


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "sweep-test").connect()
    yield session
    session.close()


def insert(session: Session, status: str, count: int, age: str, merchant: str = "demo") -> None:
    """Store orders in a status that last changed so long ago, each with a delivered command."""
    session.execute(
        """WITH new AS (
               SELECT gen_random_uuid() AS id, gen_random_uuid() AS command FROM generate_series(1, %(count)s)),
           placed AS (
               INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture,
                                   command_id, updated_at)
               SELECT %(merchant)s, id, %(status)s, 'EUR', 900, '[]', 'pm_ok', 'manual', command,
                      now() - %(age)s::interval
               FROM new)
           INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
           SELECT command, %(merchant)s, id, %(topic)s, '{}', now() - %(age)s::interval FROM new""",
        {"merchant": merchant, "count": count, "status": status, "age": age, "topic": f"{status} {uuid.uuid4()}"},
    )


def due(session: Session, status: str, merchant: str = "demo") -> int:
    """How many commands of the orders in a status are to be sent again."""
    row = session.one(
        "SELECT count(*) AS count FROM outbox WHERE delivered_at IS NULL AND merchant = %s AND topic LIKE %s",
        (merchant, f"{status} %"),
    )
    return int(row["count"]) if row else 0


def test_many_authorized_orders_do_not_hold_up_younger_ones_that_are_pending(session: Session) -> None:
    insert(session, "authorized", LIMIT + 1, "3 hours")
    insert(session, "pending_payment", 2, "2 minutes")
    insert(session, "canceling", 1, "2 minutes")
    insert(session, "pending_payment", 1, "1 second")
    waiting.sweep(session, 60.0, 3600.0)
    assert (due(session, "authorized"), due(session, "pending_payment"), due(session, "canceling")) == (LIMIT, 2, 1)
    waiting.sweep(session, 60.0, 3600.0)
    assert (due(session, "authorized"), due(session, "pending_payment")) == (LIMIT + 1, 2)


def test_a_merchant_with_many_waiting_orders_does_not_delay_the_sweep_of_another(session: Session) -> None:
    insert(session, "pending_payment", 3 * LIMIT, "3 hours", "backlog")
    insert(session, "pending_payment", 2, "2 minutes", "zebra")
    waiting.sweep(session, 60.0, 3600.0)
    assert due(session, "pending_payment", "zebra") == 2
    assert 0 < due(session, "pending_payment", "backlog") <= LIMIT // 2


def test_the_sweep_touches_no_message_of_another_merchant_with_the_same_id(session: Session) -> None:
    insert(session, "pending_payment", 1, "2 minutes", "first")
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
           SELECT id, 'second', aggregate_id, topic, payload, delivered_at FROM outbox WHERE merchant = 'first'"""
    )
    waiting.sweep(session, 60.0, 3600.0)
    assert (due(session, "pending_payment", "first"), due(session, "pending_payment", "second")) == (1, 0)
