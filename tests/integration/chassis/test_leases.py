"""A row belongs to the last worker that claimed it. An earlier claim is lost, also one of the same process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from chassis.messaging import outbox
from chassis.postgres.database import Database, Session
from tests.integration.databases import Databases


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "test").connect()
    yield session
    session.execute("DELETE FROM outbox")
    session.close()


def post(session: Session, aggregate: str | None = None) -> str:
    """Insert a row into the outbox and return its id."""
    message_id = str(uuid.uuid4())
    session.execute(
        "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, 'demo', %s, 'test', '{}')",
        (message_id, aggregate or str(uuid.uuid4())),
    )
    return message_id


def expire_leases(session: Session) -> None:
    """Let all leases expire now."""
    session.execute("UPDATE outbox SET leased_until = now() - interval '1 second' WHERE leased_until IS NOT NULL")


def test_a_process_is_fenced_from_its_own_earlier_claim(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, "the process", 60, 10)
    assert outbox.claim(session, "the process", 60, 10) == []
    expire_leases(session)
    (second,) = outbox.claim(session, "the process", 60, 10)
    assert (second.id, second.attempts) == (first.id, first.attempts + 1)
    assert second.owner != first.owner
    assert not outbox.mark_delivered(session, first)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.mark_delivered(session, second)
    assert not outbox.mark_delivered(session, second)


def test_a_lost_lease_does_not_release_the_row_of_another_worker(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, "one", 60, 10)
    expire_leases(session)
    (second,) = outbox.claim(session, "another", 60, 10)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.claim(session, "a third", 60, 10) == []
    assert outbox.release(session, second, 0, "in time")
    assert [message.id for message in outbox.claim(session, "a third", 60, 10)] == [second.id]


def test_an_expired_lease_is_valid_until_another_worker_claims_the_row(session: Session) -> None:
    post(session)
    (message,) = outbox.claim(session, "one", 60, 10)
    expire_leases(session)
    assert outbox.mark_delivered(session, message)


def test_only_the_oldest_row_of_an_aggregate_is_claimed(session: Session) -> None:
    aggregate = str(uuid.uuid4())
    ids = [post(session, aggregate) for _ in range(3)]
    other = post(session)
    assert [message.id for message in outbox.claim(session, "one", 60, 10)] == [ids[0], other]
    assert outbox.claim(session, "another", 60, 10) == []
    expire_leases(session)
    for message_id in ids:
        claimed = {message.id: message for message in outbox.claim(session, "one", 60, 10)}
        assert set(claimed) - {other} == {message_id}
        assert outbox.mark_delivered(session, claimed[message_id])


def test_a_backlog_is_claimed_quickly_with_a_plan_made_for_an_empty_table(databases: Databases) -> None:
    hasty = Database(databases.order, "test", statement_timeout=1.0).connect()
    try:
        hasty.execute("TRUNCATE outbox")
        hasty.execute("VACUUM ANALYZE outbox")
        for _ in range(12):  # more often than psycopg and PostgreSQL need to keep a plan
            assert outbox.claim(hasty, "the process", 60, 16) == []
        hasty.execute(
            """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
               SELECT gen_random_uuid(), 'demo', gen_random_uuid(), 'test', '{}' FROM generate_series(1, 8000)"""
        )
        claimed = [outbox.claim(hasty, "the process", 60, 16) for _ in range(3)]
    finally:
        hasty.execute("TRUNCATE outbox")
        hasty.close()
    assert [len(messages) for messages in claimed] == [16, 16, 16]
    sequences = [message.sequence for messages in claimed for message in messages]
    assert sequences == sorted(sequences)
