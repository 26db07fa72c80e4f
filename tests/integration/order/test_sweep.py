"""The sweep sends commands again whose outcome has been missing for too long."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from chassis.postgres.database import Database, Session
from order.changes import Changes
from order.store import orphans, waiting
from tests.support.applications import make
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


@pytest.mark.adversarial
def test_a_merchant_with_many_pending_refunds_does_not_delay_the_sweep_of_another(session: Session) -> None:
    for merchant, count, age in (("refunder", 3000, "3 hours"), ("zulu", 2, "2 minutes")):
        session.execute(
            """WITH placed AS (
                   INSERT INTO orders (merchant, id, status, currency, total_amount, paid_amount, items, payment_method,
                                       capture, command_id)
                   VALUES (%(merchant)s, gen_random_uuid(), 'paid', 'EUR', 9000, 9000, '[]', 'pm_ok', 'automatic',
                           gen_random_uuid()) RETURNING id),
               new AS (SELECT id, gen_random_uuid() AS command FROM placed, generate_series(1, %(count)s)),
               made AS (
                   INSERT INTO refunds (merchant, id, order_id, amount, currency, created_at)
                   SELECT %(merchant)s, command, id, 1, 'EUR', now() - %(age)s::interval FROM new)
               INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
               SELECT command, %(merchant)s, id, 'refund of ' || id, '{}', now() - %(age)s::interval FROM new""",
            {"merchant": merchant, "count": count, "age": age},
        )
    waiting.sweep(session, 60.0, 3600.0)
    assert due(session, "refund of", "zulu") == 2
    first = due(session, "refund of", "refunder")
    assert 0 < first <= 500
    waiting.sweep(session, 60.0, 3600.0)
    assert due(session, "refund of", "refunder") > first, "the next ones have their turn"


@pytest.fixture
def orphans_of_poison(session: Session) -> Iterator[None]:
    """Payments of orders that exist of the merchants `poison` and `victim`, and 20,000 newer ones of missing orders.

    A merchant can make any number of payments that name an order which does not exist.
    """
    for merchant in ("poison", "victim"):
        insert(session, "pending_payment", 1, "2 minutes", merchant)
    session.execute(
        """INSERT INTO orphan_payments (merchant, payment_id, order_id, status, currency, amount, captured_amount,
                                        refunded_amount, refunding_amount, version, first_seen_at)
           SELECT merchant, gen_random_uuid(), id, 'captured', 'EUR', 900, 900, 0, 0, 1, now() - interval '1 hour'
           FROM orders WHERE merchant IN ('poison', 'victim')
           UNION ALL
           SELECT 'poisoner', gen_random_uuid(), gen_random_uuid(), 'captured', 'EUR', 900, 900, 0, 0, 1, now()
           FROM generate_series(1, 20000)"""
    )
    session.execute("ANALYZE orphan_payments")
    yield
    session.execute("DELETE FROM orphan_payments WHERE merchant IN ('poison', 'poisoner', 'victim')")


@pytest.mark.adversarial
@pytest.mark.usefixtures("orphans_of_poison")
def test_payments_without_an_order_of_one_merchant_hide_none_of_another(session: Session) -> None:
    began = time.monotonic()
    assert "victim" in [row["merchant"] for row in orphans.with_order(session, 1000)]
    assert time.monotonic() - began < 1


@pytest.mark.adversarial
@pytest.mark.usefixtures("orphans_of_poison")
def test_an_order_that_cannot_take_its_payment_keeps_the_sweep_from_no_other(
    databases: Databases, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = []

    def receive(_: Changes, merchant: str, *__: object) -> None:
        received.append(merchant)
        if merchant == "poison":
            raise ValueError("a fault")

    monkeypatch.setattr(Changes, "receive", receive)
    make(databases, "order").extensions["tandem"].use_cases["orders"].sweep(session, 60.0, 3600.0)
    assert {"poison", "victim"} <= set(received)
    left = session.execute(
        "SELECT DISTINCT merchant FROM orphan_payments WHERE merchant IN ('poison', 'victim')"
    ).fetchall()
    assert left == [{"merchant": "poison"}]
    assert due(session, "pending_payment", "victim") >= 1


def test_the_sweep_touches_no_message_of_another_merchant_with_the_same_id(session: Session) -> None:
    insert(session, "pending_payment", 1, "2 minutes", "first")
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
           SELECT id, 'second', aggregate_id, topic, payload, delivered_at FROM outbox WHERE merchant = 'first'"""
    )
    waiting.sweep(session, 60.0, 3600.0)
    assert (due(session, "pending_payment", "first"), due(session, "pending_payment", "second")) == (1, 0)
