"""Leases of outbox rows: once an expired lease is claimed again, the earlier claim can change nothing (fencing)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import LiteralString

import pytest

from chassis.messaging import outbox
from chassis.messaging.leases import Queue
from chassis.messaging.relay import Relay
from chassis.messaging.remote import Breaker
from chassis.postgres.database import Database, Session, to_json
from chassis.telemetry.metrics import COUNT_LIMIT, DatabaseGauges
from tests.support.databases import Databases


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "test").connect()
    yield session
    session.execute("TRUNCATE outbox")
    session.close()


def post(session: Session, aggregate: str | None = None) -> str:
    """Add a row to the outbox. Returns its id."""
    message_id = str(uuid.uuid4())
    session.execute(
        "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, 'demo', %s, 'test', '{}')",
        (message_id, aggregate or str(uuid.uuid4())),
    )
    return message_id


def fill(session: Session, merchant: str, rows: int, due: str = "now()", *, analyze: bool = True) -> None:
    """Add many rows of one merchant, each of an aggregate of its own."""
    session.execute("SET statement_timeout = '60s'")
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, available_at)
           SELECT gen_random_uuid(), %s, gen_random_uuid(), 'test', '{}', """
        + due
        + " FROM generate_series(1, %s)",
        (merchant, rows),
    )
    if analyze:
        session.execute("ANALYZE outbox")


def pages_of_a_claim(session: Session, queue: Queue) -> int:
    """Return how many pages a claim of 8 rows reads. The claim is rolled back."""
    claiming = queue.claiming.replace("%(owner)s", "'one'").replace("%(lease)s", "60").replace("%(limit)s", "8")
    claiming = claiming.replace("%(merchant_limit)s", "8").replace("%(in_flight)s", "'{}'")
    return pages(session, claiming)


def pages(session: Session, statement: str, parameters: dict[str, str] | None = None) -> int:
    """Return how many pages a statement reads. It is rolled back."""
    session.execute("BEGIN")
    plan = session.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.encode(), parameters).fetchone()
    session.execute("ROLLBACK")
    assert plan is not None
    whole = plan["QUERY PLAN"][0]["Plan"]
    return int(whole["Shared Hit Blocks"] + whole["Shared Read Blocks"])


def test_a_backlog_of_one_merchant_does_not_delay_the_first_message_of_another(session: Session) -> None:
    fill(session, "backlog", 50_000)
    for merchant in ("another", "zebra"):
        session.execute(
            "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, %s, %s, 'test', '{}')",
            (str(uuid.uuid4()), merchant, str(uuid.uuid4())),
        )
    began = time.monotonic()
    claimed = [message.merchant for message in outbox.claim(session, 60, 6)]
    assert time.monotonic() - began < 0.5
    assert sorted(claimed) == ["another", "backlog", "backlog", "zebra"]
    assert [message.merchant for message in outbox.claim(session, 60, 6)] == ["backlog"] * 6


def test_the_cost_of_a_claim_does_not_grow_with_the_backlog(session: Session) -> None:
    fill(session, "backlog", 50)
    few = pages_of_a_claim(session, outbox.OUTBOX)
    fill(session, "backlog", 50_000)
    fill(session, "waiting", 50_000, "now() + interval '1 hour'")
    assert pages_of_a_claim(session, outbox.OUTBOX) < few + 100


@pytest.mark.parametrize("rows", [1_000, 3_000, 30_000])
@pytest.mark.parametrize("known", ["nothing", "few", "delivered", "others"])
def test_the_cost_of_a_claim_does_not_depend_on_statistics(session: Session, known: str, rows: int) -> None:
    """The statistics may be of a time when nothing waited, or little, or only rows of other merchants.

    A connection remembers how high an index was when it was first planned with: the first claim is with few rows.
    """
    if known == "others":
        fill(session, "other", 10_000)
        session.execute("TRUNCATE outbox")
    if known == "delivered":
        fill(session, "demo", 1_000)
        session.execute("UPDATE outbox SET delivered_at = now()")
    if known == "few":
        fill(session, "demo", 30)
    if known != "others":
        session.execute("VACUUM ANALYZE outbox")
    fill(session, "demo", 30, analyze=False)
    pages_of_a_claim(session, outbox.OUTBOX)
    fill(session, "demo", rows, analyze=False)
    assert pages_of_a_claim(session, outbox.OUTBOX) < 350  # One page for each waiting row would be 1,000.


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (outbox._MARK_DELIVERED, {"merchant": "demo", "id": str(uuid.uuid4()), "owner": "one"}),
        (outbox._IS_LEASED, {"merchant": "demo", "id": str(uuid.uuid4()), "owner": "one"}),
        (outbox._MARK_MANY, {"messages": to_json([{"merchant": "demo", "id": str(uuid.uuid4()), "owner": "one"}])}),
    ],
)
def test_the_cost_of_finding_a_claimed_row_does_not_depend_on_statistics(
    session: Session, statement: LiteralString, parameters: dict[str, str]
) -> None:
    """While the statistics say that nothing waits, an index of the waiting rows seems cheaper than the primary key."""
    session.execute("VACUUM ANALYZE outbox")
    fill(session, "demo", 30_000, analyze=False)
    assert pages(session, statement, parameters) < 20  # of a thousand


@pytest.mark.adversarial
def test_many_rows_of_few_aggregates_cost_a_claim_what_one_of_them_may_have(session: Session) -> None:
    """Only the oldest row of an aggregate is claimed, so a claim looks at the others. The APIs allow 100 of an order.

    A claim reads the rows of the aggregates that it takes, and of those in flight, which a relay limits.
    """
    rows, pages_of_a_row, claimed = 100, 6, 8
    for aggregates in (20, 400):
        fill_few(session, aggregates, rows)
        assert pages_of_a_claim(session, outbox.OUTBOX) < claimed * rows * pages_of_a_row
        assert len({message.aggregate_id for message in outbox.claim(session, 60, claimed)}) == claimed
        assert pages_of_a_claim(session, outbox.OUTBOX) < 2 * claimed * rows * pages_of_a_row


def fill_few(session: Session, aggregates: int, rows: int) -> None:
    """Add rows of each of some aggregates, one aggregate after the other."""
    session.execute("SET statement_timeout = '60s'")
    session.execute("TRUNCATE outbox")
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, available_at)
           SELECT gen_random_uuid(), 'demo', id, 'test', '{}', now() - (%(aggregates)s - n) * interval '1 second'
           FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, %(aggregates)s) AS n) AS aggregates
           CROSS JOIN generate_series(1, %(rows)s)""",
        {"aggregates": aggregates, "rows": rows},
    )
    session.execute("ANALYZE outbox")


def expire(session: Session) -> None:
    """Let all leases expire now."""
    session.execute("UPDATE outbox SET leased_until = now() - interval '1 second' WHERE leased_until IS NOT NULL")


def test_a_process_is_fenced_from_its_own_earlier_claim(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, 60, 10)
    assert outbox.claim(session, 60, 10) == []
    expire(session)
    (second,) = outbox.claim(session, 60, 10)
    assert (second.id, second.attempts) == (first.id, first.attempts + 1)
    assert second.owner != first.owner
    assert not outbox.mark_delivered(session, first)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.mark_delivered(session, second)
    assert not outbox.mark_delivered(session, second)


def test_a_lost_lease_cannot_be_released(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, 60, 10)
    expire(session)
    (second,) = outbox.claim(session, 60, 10)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.claim(session, 60, 10) == []
    assert outbox.release(session, second, 0, "in time")
    assert [message.id for message in outbox.claim(session, 60, 10)] == [second.id]


@pytest.mark.adversarial
@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("a\x00b", "a?b"),
        ("\ud800", "?"),
        ("x" * 1_000_000, "x" * 500 + "..."),
        ("answered 400: 4539 5787 6362 1486", "answered 400: [card ...1486]"),
    ],
)
def test_an_error_with_any_text_releases_its_row(session: Session, error: str, kept: str) -> None:
    post(session)
    (message,) = outbox.claim(session, 60.0, 10)
    assert outbox.release(session, message, 0.0, error)
    assert session.one("SELECT last_error FROM outbox")["last_error"] == kept  # type: ignore[index]


def test_an_expired_lease_is_valid_until_the_row_is_claimed_again(session: Session) -> None:
    post(session)
    (message,) = outbox.claim(session, 60, 10)
    expire(session)
    assert outbox.mark_delivered(session, message)


def test_messages_of_two_merchants_with_one_id_are_two_messages(session: Session) -> None:
    message_id = post(session)
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
           SELECT id, 'other', aggregate_id, topic, payload FROM outbox""",
    )
    claimed = {message.merchant: message for message in outbox.claim(session, 60, 10)}
    assert {merchant: message.id for merchant, message in claimed.items()} == {"demo": message_id, "other": message_id}
    assert outbox.release(session, claimed["demo"], 300, "it failed")
    assert not outbox.is_leased(session, claimed["demo"])
    assert outbox.is_leased(session, claimed["other"])
    outbox.mark_many_delivered(session, [claimed["other"]])
    assert outbox.retry_now(session, "demo", message_id)
    assert not outbox.retry_now(session, "other", message_id)
    assert [message.merchant for message in outbox.claim(session, 60, 10)] == ["demo"]


def test_the_gauges_show_the_oldest_message_beside_a_backlog_of_another_merchant(
    session: Session, databases: Databases
) -> None:
    fill(session, "backlog", COUNT_LIMIT + 1)
    session.execute(
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, created_at, available_at)
           VALUES (gen_random_uuid(), 'zebra', gen_random_uuid(), 'rare', '{}', now() - interval '1 hour',
                   now() + interval '5 minutes')"""
    )
    gauges = DatabaseGauges("test")
    gauges.use(Database(databases.order, "gauges"))
    outbox.add_gauges(gauges, "test", "rare")
    read = {
        (sample.name, sample.labels["topic"]): sample.value
        for family in gauges.collect()
        for sample in family.samples
        if "topic" in sample.labels
    }
    assert read["outbox_depth", "test"] == COUNT_LIMIT
    assert 3600 <= read["outbox_oldest_seconds", "rare"] < 3660


def test_only_the_oldest_undelivered_row_of_an_aggregate_is_claimed(session: Session) -> None:
    aggregate = str(uuid.uuid4())
    ids = [post(session, aggregate) for _ in range(3)]
    other = post(session)
    assert [message.id for message in outbox.claim(session, 60, 10)] == [ids[0], other]
    assert outbox.claim(session, 60, 10) == []
    expire(session)
    for message_id in ids:
        claimed = {message.id: message for message in outbox.claim(session, 60, 10)}
        assert set(claimed) - {other} == {message_id}
        assert outbox.mark_delivered(session, claimed[message_id])


def test_a_claim_is_planned_for_the_backlog_that_is_there_now(databases: Databases) -> None:
    impatient = Database(databases.order, "test", statement_timeout=1.0).connect()
    try:
        impatient.execute("TRUNCATE outbox")
        impatient.execute("VACUUM ANALYZE outbox")
        for _ in range(12):  # often enough for psycopg and PostgreSQL to keep a plan, if the claim allowed it
            assert outbox.claim(impatient, 60, 16) == []
        databases.query(
            "order",
            """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
               SELECT gen_random_uuid(), 'demo', gen_random_uuid(), 'test', '{}' FROM generate_series(1, 8000)""",
        )
        claimed = [outbox.claim(impatient, 60, 16) for _ in range(3)]
    finally:
        impatient.execute("TRUNCATE outbox")
        impatient.close()
    assert [len(messages) for messages in claimed] == [16, 16, 16]
    sequences = [message.sequence for messages in claimed for message in messages]
    assert sequences == sorted(sequences)


def test_a_fault_while_an_answer_is_interpreted_releases_the_message_and_is_recorded(
    session: Session, databases: Databases
) -> None:
    def handle(message: outbox.Message, timeout: float | None) -> str:
        raise RecursionError("an answer that is nested too deeply")

    post(session)
    database = Database(databases.order, "relay")
    (message,) = outbox.claim(session, 60, 10)
    Relay(database, Breaker("destination", measured=False), handle).deliver(message)
    database.close()
    (row,) = session.execute("SELECT last_error, leased_until, attempts FROM outbox").fetchall()
    assert row == {
        "last_error": "the answer could not be interpreted or stored: RecursionError",
        "leased_until": None,
        "attempts": 1,
    }
