"""Migrations where a host has limits, other schemas, encodings and owners: they work, or a sentence says why not."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import Result
from psycopg import sql

import order
from chassis.postgres import migrate
from ci.laptop.postgres import Postgres
from tests.support.applications import SERVICES, make
from tests.support.databases import Databases
from tests.support.eventually import eventually

BEFORE_AN_INDEX = "0002"
"""A revision of order; the next one builds an index."""


def name_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@contextmanager
def administrator(server: Postgres, url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url("postgres"), dbname=name_of(url), autocommit=True) as connection:
        yield connection


def migrated(databases: Databases, service: str, url: str) -> Result:
    """Run `flask migrate` on the database of this URL."""
    return make(databases, service, url=url).test_cli_runner().invoke(args=["migrate", "--wait", "5"])


def assert_is_refused(result: Result, said: str) -> None:
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), (result.output, result.exception)
    assert said in result.output
    assert len(result.output.splitlines()) == 1


@pytest.fixture
def url(server: Postgres) -> str:
    """The URL of an empty database, whose role has the same name and no other database."""
    return server.create_database(f"hosted_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def role(url: str) -> sql.Identifier:
    """The role that owns the database."""
    return sql.Identifier(name_of(url))


@pytest.fixture
def host(server: Postgres, url: str) -> Iterator[psycopg.Connection]:
    """A connection of the administrator to the database."""
    with administrator(server, url) as connection:
        yield connection


@contextmanager
def migrating_behind_a_writer(
    databases: Databases, server: Postgres, url: str, longer_than: str
) -> Iterator[tuple[psycopg.Connection, list[Result]]]:
    """Migrate until an index waits for a writer, and has waited for longer than the interval. Then run the block.

    Yields a connection of the administrator, and the list to which the result is added at the latest after the block.
    """
    migrate.upgrade(url, order.MIGRATIONS, BEFORE_AN_INDEX)
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(migrated(databases, "order", url)))
    waits = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%%' AND wait_event_type = 'Lock'
               AND datname = %s AND now() - query_start > %s::interval"""
    with administrator(server, url) as connection, administrator(server, url) as writer, writer.transaction():
        writer.execute(
            """INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture)
               VALUES ('m', gen_random_uuid(), 'pending_payment', 'EUR', 1, '[]', 'pm_ok', 'automatic')"""
        )
        thread.start()
        eventually(
            lambda: connection.execute(waits, (name_of(url), longer_than)).fetchone() == (1,), "the migration waits"
        )
        yield connection, results
    thread.join(60)


def test_the_limits_of_a_role_for_requests_do_not_end_a_migration(
    databases: Databases, server: Postgres, host: psycopg.Connection, url: str, role: sql.Identifier
) -> None:
    for limit in ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"):
        host.execute(sql.SQL("ALTER ROLE {} SET {} = '300ms'").format(role, sql.Identifier(limit)))
    with migrating_behind_a_writer(databases, server, url, "0.6 s") as (_, results):
        pass
    assert (results[0].exit_code, results[0].exception) == (0, None), results[0].output


def test_a_migration_that_loses_its_connection_says_so_and_can_be_repeated(
    databases: Databases, server: Postgres, url: str
) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%%' AND datname = %s"
    with migrating_behind_a_writer(databases, server, url, "0 s") as (connection, results):
        connection.execute(end, (name_of(url),))
        eventually(lambda: results, "the migration has ended")
    assert_is_refused(results[0], "the database does not respond: terminating connection")
    assert migrated(databases, "order", url).exit_code == 0


@pytest.mark.parametrize("service", SERVICES)
def test_an_event_trigger_of_the_host_is_quoted(
    databases: Databases, host: psycopg.Connection, url: str, service: str
) -> None:
    host.execute(
        """CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql
           AS 'BEGIN RAISE EXCEPTION ''tables are made by the host''; END'"""
    )
    host.execute("CREATE EVENT TRIGGER forbid ON ddl_command_end EXECUTE FUNCTION forbid()")
    said = "PostgreSQL refuses a statement of the migration: tables are made by the host"
    assert_is_refused(migrated(databases, service, url), said)


@pytest.mark.parametrize("service", SERVICES)
def test_a_table_of_another_program_with_the_same_name_is_named(databases: Databases, url: str, service: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(f"{service}s")))
    said = f'PostgreSQL refuses a statement of the migration: relation "{service}s" already exists'
    assert_is_refused(migrated(databases, service, url), said)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_with_another_encoding_is_refused(
    databases: Databases, server: Postgres, url: str, service: str, encoding: str
) -> None:
    name = sql.Identifier(name_of(url))
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(name))
        create = "CREATE DATABASE {0} OWNER {0} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C' ENCODING {1}"
        connection.execute(sql.SQL(create).format(name, sql.Literal(encoding)))
    assert_is_refused(migrated(databases, service, url), f"this database has the encoding {encoding}; create it with")


@pytest.mark.parametrize("service", SERVICES)
def test_a_search_path_without_a_schema_is_refused(
    databases: Databases, host: psycopg.Connection, url: str, role: sql.Identifier, service: str
) -> None:
    host.execute(sql.SQL("ALTER ROLE {} SET search_path = missing").format(role))
    said = f"the search_path of {name_of(url)} names no schema that exists; let it begin with that of the tables"
    assert_is_refused(migrated(databases, service, url), said)


@pytest.mark.parametrize("service", SERVICES)
def test_the_tables_are_in_the_first_schema_of_the_search_path(
    databases: Databases, host: psycopg.Connection, url: str, role: sql.Identifier, service: str
) -> None:
    host.execute(sql.SQL('CREATE SCHEMA "A host" AUTHORIZATION {}').format(role))
    within = f"{url}?options=-csearch_path%3D%22A%5C%20host%22"
    assert migrated(databases, service, within).exit_code == 0
    with psycopg.connect(within) as connection:
        assert connection.execute(
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'outbox'"
        ).fetchall() == [('"A host"',)]
        if service == "order":  # as `order resync` does, with the rights of the owner
            connection.execute("SELECT advance_order_events()")
            return
        connection.execute("SET search_path = ''")  # as a dump of the data does
        foreign_key = "ledger_entries_merchant_operation_id_fkey"
        connection.execute(f'ALTER TABLE "A host".ledger_entries DROP CONSTRAINT {foreign_key}')
        connection.execute(
            """INSERT INTO "A host".ledger_entries
                   (merchant, id, operation_id, payment_id, account, direction, amount, currency)
               VALUES ('m', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'provider', 'debit', 1, 'EUR')"""
        )
        with pytest.raises(psycopg.errors.CheckViolation, match="do not sum to zero"):
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.rollback()


@pytest.mark.parametrize("service", SERVICES)
def test_tables_of_another_owner_are_refused(
    databases: Databases, host: psycopg.Connection, url: str, role: sql.Identifier, service: str
) -> None:
    """As after a dump was loaded by another role: the service's role would get no privileges on them."""
    assert migrated(databases, service, url).exit_code == 0
    host.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
    host.execute(sql.SQL("ALTER DATABASE {0} OWNER TO {0}").format(role))
    host.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
    said = f"belongs to the role postgres, not to {name_of(url)}; change the owner of all tables, or load"
    assert_is_refused(migrated(databases, service, url), said)


def test_a_role_whose_name_is_a_word_of_sql_is_quoted_once(databases: Databases) -> None:
    said = (
        'belongs to the role "order", not to order_service; change the owner of all tables, or load the dump as order'
    )
    assert_is_refused(migrated(databases, "order", databases.service_url("order")), said)


def test_of_several_servers_the_one_that_accepts_writes_is_migrated(
    databases: Databases, server: Postgres, url: str, tmp_path: Path
) -> None:
    parts = urlsplit(url)
    name = sql.Identifier(name_of(url))
    with Postgres(tmp_path, durable=False, settings={"default_transaction_read_only": "on"}) as other:
        with psycopg.connect(other.url("postgres"), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(parts.password))
            connection.execute(create)
            connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(name))
        servers = url.replace(f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port},127.0.0.1:{server.port}")
        result = migrated(databases, "order", servers)
        assert result.exit_code == 0, result.output
