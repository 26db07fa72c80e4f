"""Plans of prepared statements follow the tables, though nobody has analysed them since."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from chassis.postgres import database, prepared
from chassis.postgres.database import Database, Session
from ci.laptop.postgres import Postgres

FIND = "SELECT n FROM plans WHERE n = %s"


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    return clock


@pytest.fixture
def held(server: Postgres, clock: Clock) -> Iterator[Database]:
    held = Database(server.url("postgres"), "plans")
    session = held.session()
    session.execute("CREATE TEMPORARY TABLE plans (n integer PRIMARY KEY)")
    session.execute("INSERT INTO plans VALUES (0)")
    session.execute("ANALYZE plans")
    yield held
    held.close()


def plan(session: Session) -> str:
    """How the statement is executed on this connection."""
    found = session.execute("EXPLAIN EXECUTE tandem_0(1)").fetchall()
    return str(found[0]["QUERY PLAN"])


def test_a_plan_for_a_small_table_is_dropped_when_it_may_have_grown(held: Database, clock: Clock) -> None:
    session = held.session()
    for _ in range(10):
        assert session.one(FIND, (1,)) is None
    assert "Seq Scan" in plan(session)
    session.execute("INSERT INTO plans SELECT generate_series(1, 20000)")
    assert held.session() is session
    assert "Seq Scan" in plan(session)
    clock.now += 1
    assert held.session() is session
    assert "Index" in plan(session)
    assert session.one(FIND, (1,)) == {"n": 1}


def test_how_often(held: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    said = prepared.command

    def command(pgconn: psycopg.pq.abc.PGconn, text: bytes) -> psycopg.pq.abc.PGresult:
        assert text == b"DISCARD PLANS"
        seen.append(clock.now - 1000)
        return said(pgconn, text)

    monkeypatch.setattr(database, "command", command)
    for _ in range(400):
        held.session()
        clock.now += 0.125
    assert seen == [0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5, 45.5]


def test_not_within_a_transaction(held: Database, clock: Clock) -> None:
    session = held.session()
    session.execute("BEGIN")
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.execute("SELECT 1 / 0")
    clock.now += 60
    assert held.session() is session  # which would refuse a statement now
    session.execute("ROLLBACK")
