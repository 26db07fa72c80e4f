"""A connection that is of no further use is closed, and the next call opens another one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest

from chassis.postgres.database import Database, Session
from chassis.postgres.watchdog import watchdog
from ci.laptop.postgres import Postgres
from tests.support.proxy import Proxy


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    database = Database(server.url("postgres"), "sessions")
    yield database
    database.close()


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    database.session().execute("CREATE TABLE changing (id integer, name text)")
    database.session().execute("INSERT INTO changing VALUES (1, '7')")
    yield "changing"
    # A server that was left without an answer is still at work.
    database.session().execute(
        """SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
           WHERE application_name = 'sessions' AND pid <> pg_backend_pid()"""
    )
    database.session().execute("DROP TABLE changing")


def test_a_server_that_needs_seconds_for_a_new_connection_is_waited_for(server: Postgres) -> None:
    """As PostgreSQL does on a busy machine: it starts a process for each connection."""
    url = urlsplit(server.url("postgres"))

    def pass_the_next(_: bytes) -> None:
        if began < time.monotonic() - 1:
            proxy.mode = "pass"

    with Proxy(url.hostname or "", url.port or 0, pass_the_next) as proxy:
        proxy.delay(3)
        address = url.netloc.rpartition("@")[0] + "@" + urlsplit(proxy.url).netloc
        began = time.monotonic()
        with Database(url._replace(netloc=address).geturl(), "sessions").connect() as session:
            assert time.monotonic() - began > 3
            assert session.one("SELECT 1 AS one") == {"one": 1}


def test_a_call_past_its_deadline_ends_and_the_next_one_has_a_new_connection(database: Database) -> None:
    session = database.session()
    session.limit = 0.2
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="did not answer within"):
        session.one("SELECT pg_sleep(8)")
    assert time.monotonic() - began < 3
    assert database.session() is not session
    assert database.session().one("SELECT 1 AS one") == {"one": 1}


def test_a_call_of_psycopg_itself_has_the_same_deadline(database: Database) -> None:
    session = database.session()
    session.limit = 0.2
    with pytest.raises(psycopg.OperationalError, match="did not answer within"):
        session.execute("SELECT pg_sleep(8)")
    assert database.session().execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_a_commit_past_its_deadline_is_an_error(database: Database, table: str) -> None:
    database.session().execute(
        """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_sleep(8); RETURN NULL; END'"""
    )
    database.session().execute(
        f"""CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow()""".encode()
    )

    def insert() -> None:
        with database.transaction() as session:
            session.execute("INSERT INTO changing VALUES (2, '8')")
            session.limit = 0.2

    with pytest.raises(psycopg.OperationalError, match="did not answer within"):
        insert()


def test_the_calls_of_a_request_share_one_deadline(database: Database) -> None:
    def call() -> None:
        for _ in range(10):
            database.session().one("SELECT pg_sleep(0.2)")

    database.limit(0.3)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError):
        call()
    assert time.monotonic() - began < 1.5


def test_calls_end_sooner_while_half_of_the_threads_are_stalled(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Barrier(2)

    def stall() -> float:
        session = Database(server.url("postgres"), "stalled").session()
        session.one("SELECT 1")  # connects, so that both stall at the same time
        begin.wait(60)
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="did not answer within"):
            session.one("SELECT pg_sleep(30)")
        return time.monotonic() - began

    monkeypatch.setattr(watchdog, "threads", 4)
    with ThreadPoolExecutor(2) as pool:
        took = [future.result() for future in [pool.submit(stall) for _ in range(2)]]
    assert max(took) < 9
    assert watchdog.is_careful()


def test_a_server_that_only_reads_is_left(database: Database, table: str) -> None:
    session = database.session()
    session.execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.one("INSERT INTO changing VALUES (3, '9') RETURNING id")
    assert session.closed
    assert database.session().one("INSERT INTO changing VALUES (3, '9') RETURNING id") == {"id": 3}


def test_a_server_that_only_reads_is_left_within_a_transaction(database: Database, table: str) -> None:
    database.session().execute("SET default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), database.transaction() as session:
        session.execute("INSERT INTO changing VALUES (3, '9')")
    assert database.session() is not session


def _change_type(server: Postgres) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("ALTER TABLE changing ALTER name TYPE integer USING name::integer")


def _assert_is_tried_again(server: Postgres, database: Database) -> None:
    session = database.session()
    for _ in range(10):
        assert session.one("SELECT name FROM changing") == {"name": "7"}
        assert session.all("SELECT id, name FROM changing") == [{"id": 1, "name": "7"}]
        assert session.execute("SELECT name, id FROM changing").fetchall() == [{"id": 1, "name": "7"}]
    _change_type(server)
    for _ in range(2):
        session = database.session()
        assert session.execute("SELECT name, id FROM changing").fetchall() == [{"id": 1, "name": 7}]
        assert session.one("SELECT name FROM changing") == {"name": 7}
        assert session.all("SELECT id, name FROM changing") == [{"id": 1, "name": 7}]


def test_a_statement_is_tried_again_after_a_column_changed_its_type(
    server: Postgres, database: Database, table: str
) -> None:
    _assert_is_tried_again(server, database)


class _German(Proxy):
    """Stands for a server with `lc_messages = 'de_DE.UTF-8'`: the one of the tests has English messages only."""

    ENGLISH = b"cached plan must not change result type"
    GERMAN = b"Plan darf Ergebnistyp nicht aendern".ljust(len(ENGLISH))

    def _answers(self, target: socket.socket, caller: socket.socket) -> None:
        while data := target.recv(65536):
            caller.sendall(data.replace(self.ENGLISH, self.GERMAN))


def test_a_statement_is_tried_again_in_every_language_of_the_server(server: Postgres, table: str) -> None:
    url = urlsplit(server.url("postgres"))
    with _German(url.hostname or "", url.port or 0) as german:
        address = url.netloc.rpartition("@")[0] + "@" + urlsplit(german.url).netloc
        database = Database(url._replace(netloc=address).geturl(), "sessions")
        _assert_is_tried_again(server, database)
        database.close()


def test_a_transaction_in_which_a_column_changed_its_type_can_be_tried_again(
    server: Postgres, database: Database, table: str
) -> None:
    for _ in range(10):
        database.session().one("SELECT name FROM changing")
    _change_type(server)

    def read() -> object:
        with database.transaction() as session:
            return session.one("SELECT name FROM changing")

    with pytest.raises(psycopg.OperationalError):
        read()
    assert read() == {"name": 7}


def test_options_in_the_url_are_kept(server: Postgres) -> None:
    url = server.url("postgres") + "?options=-c%20search_path%3Delsewhere%20-c%20statement_timeout%3D1234"
    database = Database(url, "options")
    session = database.session()
    shown = [session.execute(f"SHOW {name}".encode()).fetchone() for name in ("search_path", "lock_timeout")]
    assert shown == [{"search_path": "elsewhere"}, {"lock_timeout": "1s"}]
    assert session.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "1234ms"}
    database.close()


def test_of_several_servers_the_one_that_accepts_writes_is_found(server: Postgres) -> None:
    parts = server.url("postgres").split(f"127.0.0.1:{server.port}")
    database = Database(f"{parts[0]}127.0.0.1:{_free()},127.0.0.1:{server.port}{parts[1]}", "several")
    assert database.session().execute("SELECT 1 AS one").fetchone() == {"one": 1}
    database.close()


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_a_closed_connection_leaves_no_descriptor(server: Postgres) -> None:
    def line(session: Session) -> object:
        return session.line

    database = Database(server.url("postgres"), "descriptors")
    session = database.session()
    assert line(session) is not None
    session.close()
    assert line(session) is None
