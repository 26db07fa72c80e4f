"""Prepared statements are planned again as tables grow, also if they are not analyzed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from chassis.postgres import prepared, session, watchdog
from chassis.postgres.database import Database, Session
from ci.laptop.postgres import Postgres

FIND = "SELECT n FROM plans WHERE n = %s"


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now

    sleep = staticmethod(time.sleep)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (session, watchdog):  # both, or the watchdog would take each call for one that is late
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def held(server: Postgres, clock: Clock) -> Iterator[Database]:
    held = Database(server.url("postgres"), "plans")
    connection = held.session()
    connection.execute("CREATE TEMPORARY TABLE plans (n integer PRIMARY KEY)")
    connection.execute("INSERT INTO plans VALUES (0)")
    connection.execute("ANALYZE plans")
    yield held
    held.close()


def plan(connection: Session) -> str:
    """Return the plan of the first prepared statement of a connection."""
    found = connection.execute("EXPLAIN EXECUTE tandem_0(1)").fetchall()
    return str(found[0]["QUERY PLAN"])


def test_a_plan_for_a_small_table_is_discarded_after_a_while(held: Database, clock: Clock) -> None:
    connection = held.session()
    for _ in range(10):
        assert connection.one(FIND, (1,)) is None
    assert "Seq Scan" in plan(connection)
    connection.execute("INSERT INTO plans SELECT generate_series(1, 20000)")
    assert held.session() is connection
    assert "Seq Scan" in plan(connection)
    clock.now += 1
    assert held.session() is connection
    assert "Index" in plan(connection)
    assert connection.one(FIND, (1,)) == {"n": 1}


def test_plans_are_kept_for_longer_as_the_connection_gets_older(
    held: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    execute = prepared.command

    def command(pgconn: psycopg.pq.abc.PGconn, text: bytes) -> psycopg.pq.abc.PGresult:
        assert text == b"DISCARD PLANS"
        seen.append(clock.now - 1000)
        return execute(pgconn, text)

    monkeypatch.setattr(session, "command", command)
    for _ in range(400):
        held.session()
        clock.now += 0.125
    assert seen == [0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5, 45.5]


def test_plans_are_not_discarded_in_a_transaction(held: Database, clock: Clock) -> None:
    connection = held.session()
    connection.execute("BEGIN")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    clock.now += 60
    assert held.session() is connection  # in a failed transaction, in which any statement would raise an error
    connection.execute("ROLLBACK")
