"""Prepared statements, sent in one call, return what psycopg returns."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from chassis.postgres.database import Database, Session
from ci.laptop.postgres import Postgres


class Color(StrEnum):
    RED = "red"


VALUES: list[tuple[str, Any]] = [
    ("text", "tea 茶 'quoted' \\ %s"),
    ("text", Color.RED),
    ("text", None),
    ("bytea", b"\x00\xff\\x"),
    ("bigint", 2**62),
    ("integer", -7),
    ("boolean", True),
    ("boolean", False),
    ("float8", 0.1),
    ("uuid", uuid.UUID(int=7)),
    ("timestamptz", datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)),
    ("jsonb", Jsonb({"a": [1, "two", None]})),
    ("text[]", ["a", "b,c", '"']),
]


@pytest.fixture
def session(server: Postgres) -> Iterator[Session]:
    with Database(server.url("postgres"), "test").connect() as session:
        yield session


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_values_are_returned_as_psycopg_returns_them(session: Session, kind: str, value: Any) -> None:
    query = f"SELECT %(value)s::{kind} AS value, 1 AS one"
    expected = session.execute(query.encode(), {"value": value}).fetchone()
    for _ in range(2):
        assert session.one(query, {"value": value}) == expected


def test_the_first_row_is_returned_or_none(session: Session) -> None:
    assert session.one("SELECT 1 AS one WHERE false") is None
    assert session.one("SELECT n FROM generate_series(3, 9) AS n") == {"n": 3}


def test_errors_are_those_of_psycopg_and_the_statement_stays_usable(session: Session) -> None:
    divide = "SELECT 1 / %s::integer AS result"
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.one(divide, (0,))
        assert session.one(divide, (1,)) == {"result": 1}
    with pytest.raises(psycopg.errors.UndefinedTable):
        session.one("SELECT FROM no_such_table")


def test_a_closed_connection_is_an_operational_error(server: Postgres, session: Session) -> None:
    assert session.one("SELECT 1 AS one") == {"one": 1}
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 5000)", (session.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        session.one("SELECT 1 AS one")
    assert session.closed


def test_a_prepared_statement_takes_part_in_the_transaction(session: Session) -> None:
    with session.transaction(force_rollback=True):
        assert session.one("SELECT set_config('application_name', 'within', false) AS name") == {"name": "within"}
    assert session.one("SELECT current_setting('application_name') AS name") == {"name": "test"}
