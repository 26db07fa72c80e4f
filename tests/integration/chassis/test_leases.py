"""A lease that ran out is lost, also to the process that had it: whoever claims later is the one who counts."""

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
    """A row for the outbox; its id."""
    message_id = str(uuid.uuid4())
    session.execute(
        "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, 'demo', %s, 'test', '{}')",
        (message_id, aggregate or str(uuid.uuid4())),
    )
    return message_id


def run_out(session: Session) -> None:
    """Let all leases end now."""
    session.execute("UPDATE outbox SET leased_until = now() - interval '1 second' WHERE leased_until IS NOT NULL")


def test_a_process_is_fenced_from_its_own_earlier_claim(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, 60, 10)
    assert outbox.claim(session, 60, 10) == []
    run_out(session)
    (second,) = outbox.claim(session, 60, 10)
    assert (second.id, second.attempts) == (first.id, first.attempts + 1)
    assert second.owner != first.owner
    assert not outbox.mark_delivered(session, first)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.mark_delivered(session, second)
    assert not outbox.mark_delivered(session, second)


def test_who_lost_a_lease_cannot_give_back_what_another_has(session: Session) -> None:
    post(session)
    (first,) = outbox.claim(session, 60, 10)
    run_out(session)
    (second,) = outbox.claim(session, 60, 10)
    assert not outbox.release(session, first, 0, "too late")
    assert outbox.claim(session, 60, 10) == []
    assert outbox.release(session, second, 0, "in time")
    assert [message.id for message in outbox.claim(session, 60, 10)] == [second.id]


def test_a_lease_that_ran_out_counts_as_long_as_nobody_else_has_claimed(session: Session) -> None:
    post(session)
    (message,) = outbox.claim(session, 60, 10)
    run_out(session)
    assert outbox.mark_delivered(session, message)


def test_of_one_aggregate_only_the_oldest_is_ever_claimed(session: Session) -> None:
    aggregate = str(uuid.uuid4())
    ids = [post(session, aggregate) for _ in range(3)]
    other = post(session)
    assert [message.id for message in outbox.claim(session, 60, 10)] == [ids[0], other]
    assert outbox.claim(session, 60, 10) == []
    run_out(session)
    for message_id in ids:
        claimed = {message.id: message for message in outbox.claim(session, 60, 10)}
        assert set(claimed) - {other} == {message_id}
        assert outbox.mark_delivered(session, claimed[message_id])


def test_a_backlog_that_came_while_the_plan_was_made_for_nothing_is_claimed_at_once(databases: Databases) -> None:
    hasty = Database(databases.order, "test", statement_timeout=1.0).connect()
    try:
        hasty.execute("TRUNCATE outbox")
        hasty.execute("VACUUM ANALYZE outbox")
        for _ in range(12):  # often enough for psycopg and PostgreSQL to keep a plan, if they are let
            assert outbox.claim(hasty, 60, 16) == []
        hasty.execute(
            """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
               SELECT gen_random_uuid(), 'demo', gen_random_uuid(), 'test', '{}' FROM generate_series(1, 8000)"""
        )
        claimed = [outbox.claim(hasty, 60, 16) for _ in range(3)]
    finally:
        hasty.execute("TRUNCATE outbox")
        hasty.close()
    assert [len(messages) for messages in claimed] == [16, 16, 16]
    sequences = [message.sequence for messages in claimed for message in messages]
    assert sequences == sorted(sequences)
