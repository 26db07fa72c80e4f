"""The feed skips no event while others commit, and continues after a restore."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from chassis.postgres.database import Database, Session
from order import transition
from order.changes import new_id
from order.feed import store
from order.feed.store import START, Place
from order.store import steps
from order.store.steps import Path
from tests.integration.order.feed.test_feed import end, follow, read
from tests.integration.order.webhooks.test_events import place
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import Pair

WRITERS = 50
INSERT = """INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
            VALUES (%s, %s, %s, 'order.placed', 'pending_payment', 'merchant')"""


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "feed-test").connect()
    yield session
    session.close()


def everything(session: Session, merchant: str, after: Place, limit: int = 7) -> tuple[list[Any], Place]:
    rows, more = [], True
    while more:
        found, after, more = store.find(session, merchant, {}, after, limit)
        rows += [(str(row["order_id"]), row["version"]) for row in found]
    return rows, after


def test_a_reader_sees_every_event_of_50_writers_once_and_each_order_in_order(
    databases: Databases, session: Session
) -> None:
    """Writers hold their transactions open for different times, so they commit in another order than they began."""
    merchant, rounds = f"m-{uuid.uuid4()}", 12
    done, committed = threading.Event(), []

    def write(number: int) -> None:
        order = str(uuid.uuid4())
        with psycopg.connect(databases.order) as connection:
            for version in range(1, rounds + 1):
                connection.execute(INSERT, (merchant, order, version))
                connection.execute("SELECT pg_sleep(%s)", ((number * version) % 7 / 500,))
                if number % 10 == 0 and version % 5 == 0:
                    connection.rollback()  # its transaction id is never seen; write the version again
                    connection.execute(INSERT, (merchant, order, version))
                connection.commit()
                committed.append((order, version))

    seen: list[tuple[str, int]] = []

    def watch() -> None:
        reader = Database(databases.order, "feed-reader").connect()
        at, last = START, False
        while True:
            rows, at = everything(reader, merchant, at)
            seen.extend(rows)
            if last:
                break
            last = done.is_set()
        reader.close()

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        watching = pool.submit(watch)
        list(pool.map(write, range(WRITERS)))
        eventually(lambda: store.snapshot(session)[0] == store.snapshot(session)[1], "no transaction is left")
        done.set()
        watching.result()
    assert len(seen) == len(set(seen)) == WRITERS * rounds
    assert set(seen) == set(committed)
    versions = defaultdict(list)
    for order, version in seen:
        versions[order].append(version)
    assert all(of_order == sorted(of_order) for of_order in versions.values())


def test_an_event_waits_for_older_transactions_and_is_not_skipped(databases: Databases, session: Session) -> None:
    merchant, first, second = f"m-{uuid.uuid4()}", str(uuid.uuid4()), str(uuid.uuid4())
    with psycopg.connect(databases.order) as slow, psycopg.connect(databases.order) as fast:
        slow.execute(INSERT, (merchant, first, 1))
        fast.execute(INSERT, (merchant, second, 1))
        fast.commit()
        assert everything(session, merchant, START) == ([], START), "the second one waits: it would hide the first"
        slow.commit()
    rows, _ = eventually(lambda: (found := everything(session, merchant, START))[0] and found, "both are shown")
    assert rows == [(first, 1), (second, 1)]


def test_an_order_is_in_order_although_an_older_transaction_writes_its_next_step(pair: Pair, session: Session) -> None:
    """A request claims its key first. Until it reads the order, a younger transaction may have written a step."""
    order_id = place(pair)["id"]
    with session.atomic():
        session.one("SELECT pg_current_xact_id()::text AS id")
        labeled = pair.order.request("PATCH", f"/v1/orders/{order_id}", json={"metadata": {"a": "1"}})
        assert labeled.status_code == 200, labeled.text
        order = steps.read(session, "demo", order_id)
        assert order is not None
        path = Path("demo", transition.apply(order, transition.Label({"b": "2"}), new_id), "merchant", {})
        assert steps.write(session, [path])[0] is not None
    written = [event["version"] for event in follow(pair.order) if event["order_id"] == order_id]
    assert len(written) == 4
    assert written == sorted(written)


def test_events_of_one_transaction_are_read_in_several_pages(databases: Databases, session: Session) -> None:
    merchant, orders = f"m-{uuid.uuid4()}", sorted(str(uuid.uuid4()) for _ in range(5))
    with psycopg.connect(databases.order) as writer:
        for version in (1, 2):
            for order in orders:
                writer.execute(INSERT, (merchant, order, version))
    rows = eventually(lambda: everything(session, merchant, START, limit=3)[0], "they are shown")
    assert rows == [(order, version) for order in orders for version in (1, 2)]


def test_after_a_restore_new_events_follow_all_positions_that_were_handed_out(pair: Pair, session: Session) -> None:
    """A restored database assigns transaction ids again. `resync` begins new positions behind the old ones."""
    place(pair)
    known = end(pair.order)
    store.advance(session)
    place(pair)
    events = follow(pair.order, known)
    assert [event["type"] for event in events] == ["order.placed", "order.paid"]
    everything_there = follow(pair.order)
    assert everything_there[-2:] == events
    assert read(pair.order, after=known, limit=1)["data"] == events[:1]


def test_the_services_role_can_advance_the_positions(databases: Databases) -> None:
    with psycopg.connect(databases.service_url("order")) as connection:
        connection.execute("SELECT advance_order_events()")
        connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'"
            )
