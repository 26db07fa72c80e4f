"""The role that serves can do what a service needs, and nothing to the schema, to the triggers, or to histories."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

import order
import payment
from chassis.postgres import migrate, roles
from ci.laptop.postgres import ADMINISTRATOR, Postgres
from tests.support.applications import SERVICES, make
from tests.support.databases import Databases
from tests.support.pair import ORDER, Pair

MIGRATIONS = {"order": order.MIGRATIONS, "payment": payment.MIGRATIONS}
KEPT = {
    "order": order.commands.KEPT,
    "payment": (*payment.commands.KEPT, "simulator.operations"),
}
HISTORIES = {"order": "order_events", "payment": "ledger_entries"}


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def tables(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'simulator') ORDER BY 1"""
    )
    return [name for (name,) in rows.fetchall()]


ALONE = ("ALTER SYSTEM", "CREATE DATABASE", "CREATE SUBSCRIPTION", "CREATE TABLESPACE")
"""Statements that PostgreSQL does not execute in a transaction."""


def refusal(connection: psycopg.Connection, statement: str) -> str | None:
    """Return why PostgreSQL refuses a statement as a matter of privileges, or None if it does not."""
    try:
        with nullcontext() if statement.startswith(ALONE) else connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        return str(error)
    return None


SCHEMA_CHANGES = (
    "DROP TABLE {table}",
    "DROP TABLE {table} CASCADE",
    "TRUNCATE {table}",
    "ALTER TABLE {table} ADD COLUMN more text",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE TRIGGER USER",
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "ALTER TABLE {table} RENAME TO other",
    "CREATE TRIGGER more BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION append_only()",
    "CREATE RULE more AS ON DELETE TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX ON {table} ((1))",
    "GRANT ALL ON {table} TO PUBLIC",
)


@pytest.mark.adversarial
@pytest.mark.parametrize("service", SERVICES)
def test_the_serving_role_changes_no_table(databases: Databases, service: str) -> None:
    with connected(databases.service_url(service)) as connection:
        names = tables(connection)
        assert len(names) > 5
        for name in names:
            for statement in SCHEMA_CHANGES:
                found = refusal(connection, statement.format(table=name))
                if "GRANT ALL" in statement and found is None:  # PostgreSQL only warns, and grants nothing
                    rows = connection.execute("SELECT has_table_privilege('public', %s, 'UPDATE')", (name,))
                    assert rows.fetchone() == (False,)
                    continue
                assert found, (statement, name)


@pytest.mark.adversarial
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id int)",
        "CREATE TEMPORARY TABLE more (id int)",
        "CREATE TABLE pg_temp.more (id int)",
        "SELECT 1 INTO TEMPORARY more",
        "CREATE VIEW more AS SELECT 1",
        "CREATE SEQUENCE more",
        "CREATE TYPE more AS (id int)",
        "CREATE DOMAIN more AS int",
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "CREATE STATISTICS more ON merchant, id FROM outbox",
        "CREATE PUBLICATION more FOR ALL TABLES",
        "CREATE SUBSCRIPTION more CONNECTION 'host=127.0.0.1' PUBLICATION more",
        "CREATE EVENT TRIGGER more ON ddl_command_start EXECUTE FUNCTION append_only()",
        "CREATE FOREIGN DATA WRAPPER more",
        "CREATE TABLESPACE more LOCATION '/tmp'",
        "CREATE DATABASE more",
        "CREATE SCHEMA more",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_temp.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER FUNCTION append_only() SET search_path = other",
        "ALTER FUNCTION append_only() RENAME TO other",
        "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "DROP FUNCTION append_only() CASCADE",
        "CREATE EXTENSION pg_trgm",
        "CREATE EXTENSION dblink",
        "LOAD 'auto_explain'",
        "CREATE ROLE more",
        "DROP SCHEMA public CASCADE",
        "SET session_replication_role = replica",
        "SET LOCAL session_replication_role = local",
        "SELECT set_config('session_replication_role', 'replica', false)",
        "DO $$BEGIN EXECUTE 'SET session_replication_role = replica'; END$$",
        "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
        "ALTER ROLE CURRENT_USER CREATEROLE",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "ALTER ROLE CURRENT_USER REPLICATION",
        "GRANT pg_write_all_data TO CURRENT_USER",
        "GRANT pg_execute_server_program TO CURRENT_USER",
        "SET ROLE pg_write_all_data",
        "REASSIGN OWNED BY {owner} TO CURRENT_USER",
        "DROP OWNED BY {owner}",
        "SET ROLE {owner}",
        "SET SESSION AUTHORIZATION {owner}",
        "SET ROLE postgres",
        "GRANT {owner} TO CURRENT_USER",
        "ALTER ROLE {owner} PASSWORD 'guessed'",
        "ALTER DATABASE {database} OWNER TO CURRENT_USER",
        "ALTER DATABASE {database} SET synchronous_commit = off",
        "ALTER SCHEMA public RENAME TO other",
        "ALTER SYSTEM SET fsync = off",
        "COPY outbox TO PROGRAM 'cat'",
        "COPY outbox FROM PROGRAM 'cat'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY outbox TO '/tmp/outbox'",
        "COPY outbox FROM '/etc/passwd'",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/one')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_read_binary_file('PG_VERSION')",
        "SELECT pg_switch_wal()",
        "SELECT pg_create_physical_replication_slot('more')",
        "SELECT pg_reload_conf()",
        "SELECT pg_stat_reset()",
        "CHECKPOINT",
        "REINDEX TABLE outbox",
        "ALTER TABLE outbox ALTER sequence RESTART",
        "SELECT setval(pg_get_serial_sequence('outbox', 'sequence'), 1)",
        "SELECT nextval(pg_get_serial_sequence('outbox', 'sequence'))",
        "UPDATE pg_trigger SET tgenabled = 'D'",
        "UPDATE pg_proc SET prosrc = 'x'",
        "UPDATE alembic_version SET version_num = '0001'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_the_serving_role_has_no_ddl_and_becomes_no_other_role(
    databases: Databases, service: str, statement: str
) -> None:
    owner, database = service, urlsplit(databases.order if service == "order" else databases.payment).path[1:]
    with connected(databases.service_url(service)) as connection:
        assert refusal(connection, statement.format(owner=f'"{owner}"', database=f'"{database}"')), statement


@pytest.mark.adversarial
def test_the_serving_role_neither_updates_nor_deletes_ledger_and_history(pair: Pair) -> None:
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    for service, history in HISTORIES.items():
        assert pair.databases.query(service, f"SELECT count(*) AS rows FROM {history}")[0]["rows"] > 0
        with connected(pair.databases.service_url(service)) as connection:
            for statement in (
                f"UPDATE {history} SET merchant = 'other'",
                f"UPDATE {history} SET at = at WHERE false",
                f"DELETE FROM {history}",
                f"DELETE FROM {history} WHERE false",
                f"INSERT INTO {history} SELECT * FROM {history} ON CONFLICT ON CONSTRAINT {history}_pkey"
                " DO UPDATE SET merchant = 'other'",
                f"TRUNCATE {history}",
                f"SELECT FROM {history} FOR UPDATE",
                f"LOCK TABLE {history} IN ACCESS EXCLUSIVE MODE",
                f"MERGE INTO {history} h USING (SELECT 1) one ON true WHEN MATCHED THEN DELETE",
            ):
                assert refusal(connection, statement), statement


@pytest.mark.adversarial
def test_the_serving_role_deletes_no_order_and_no_payment(pair: Pair) -> None:
    pair.order.post("/v1/orders", ORDER, Prefer="wait=10")
    for service, names in KEPT.items():
        with connected(pair.databases.service_url(service)) as connection:
            for name in names:
                for statement in (
                    f"DELETE FROM {name}",
                    f"DELETE FROM {name} WHERE false",
                    f"WITH gone AS (DELETE FROM {name} RETURNING *) SELECT FROM gone",
                    f"MERGE INTO {name} x USING (SELECT 1) one ON true WHEN MATCHED THEN DELETE",
                ):
                    assert refusal(connection, statement), statement


@pytest.mark.adversarial
def test_the_serving_role_cannot_use_up_the_positions_of_events(databases: Databases) -> None:
    """It may call the function that advances them, which runs with the rights of the owner."""
    with connected(databases.order) as owner, owner.transaction(force_rollback=True):
        owner.execute(
            """CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql STABLE
               AS 'SELECT (1::bigint << 62) - 1'"""
        )
        owner.execute("SELECT advance_order_events()")
        with pytest.raises(psycopg.errors.CheckViolation), owner.transaction():
            owner.execute("SELECT advance_order_events()")
        owner.execute("SELECT order_events_base() + pg_current_xact_id()::text::bigint")


@pytest.mark.adversarial
@pytest.mark.parametrize("service", SERVICES)
def test_functions_with_the_rights_of_their_owner_have_a_search_path_of_their_own(
    databases: Databases, service: str
) -> None:
    with connected(databases.service_url(service)) as connection:
        rows = connection.execute(
            """SELECT proname, array_to_string(proconfig, ';')
               FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
               WHERE prosecdef AND nspname NOT IN ('pg_catalog', 'information_schema')"""
        ).fetchall()
    assert rows == ([("advance_order_events", "search_path=public, pg_temp")] if service == "order" else [])


@pytest.mark.adversarial
def test_the_serving_role_changes_no_attempt_at_a_webhook_but_purges_them(databases: Databases) -> None:
    merchant, endpoint, delivery = "purged", str(uuid.uuid4()), str(uuid.uuid4())
    named = {"merchant": merchant, "endpoint": endpoint, "delivery": delivery}
    with connected(databases.service_url("order")) as connection:
        connection.execute(
            """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, created_at, settled_at)
               VALUES (%(merchant)s, %(endpoint)s, %(delivery)s, 'webhook.test', '{}', 'delivered',
                       now() - interval '10 years', now())""",
            named,
        )
        connection.execute(
            """INSERT INTO webhook_attempts (merchant, endpoint_id, delivery_id, number, status_code, seconds, at)
               VALUES (%(merchant)s, %(endpoint)s, %(delivery)s, 1, 500, 0.1, now())""",
            named,
        )
        for statement in (
            "UPDATE webhook_attempts SET status_code = 200",
            "DELETE FROM webhook_attempts",
            "TRUNCATE webhook_attempts",
            "SELECT FROM webhook_attempts FOR UPDATE",
        ):
            assert refusal(connection, statement), statement
        with connected(databases.order) as owner, pytest.raises(psycopg.errors.CheckViolation):
            owner.execute("UPDATE webhook_attempts SET status_code = 200")
        assert make(databases, "order").test_cli_runner().invoke(args=["purge"]).exit_code == 0
        rows = connection.execute("SELECT count(*) FROM webhook_attempts WHERE merchant = %(merchant)s", named)
        assert rows.fetchone() == (0,)


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_with_the_append_only_trigger_is_a_history_to_the_serving_role(
    databases: Databases, service: str
) -> None:
    with connected(databases.service_url(service)) as connection:
        rows = connection.execute(
            """SELECT tgrelid::regclass::text, has_table_privilege(tgrelid, 'INSERT'),
                      has_table_privilege(tgrelid, 'UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
               FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid WHERE p.proname = 'append_only' AND tgtype & 1 = 1"""
        ).fetchall()
    assert (HISTORIES[service], True, False) in rows
    assert {row[1:] for row in rows} == {(True, False)}


@pytest.mark.parametrize("service", SERVICES)
def test_commands_work_as_the_serving_role(databases: Databases, service: str) -> None:
    app = make(databases, service)
    run = app.test_cli_runner().invoke
    role = urlsplit(databases.service_url(service)).username
    assert app.extensions["tandem"].database.session().execute("SELECT current_user").fetchone() == {
        "current_user": role
    }
    for command in (
        ["purge"],
        ["keys", "create", "--merchant", "demo", "--scope", f"{service}s:read"],
        ["keys", "rotate", "1"],
        ["keys", "revoke", "1"],
        ["keys", "list"],
    ):
        done = run(args=command)
        assert done.exit_code == 0, (command, done.output, done.exception)


# --- flask migrate


@pytest.fixture
def fresh(server: Postgres) -> tuple[str, str, str]:
    """The name of a new database, and its URLs: of the owner and of the service's role."""
    name = f"roles_{uuid.uuid4().hex[:12]}"
    return name, server.create_database(name), server.create_service_role(name)


def migrated(
    databases: Databases, service: str, service_url: str, monkeypatch: pytest.MonkeyPatch, owner_url: str | None
) -> tuple[int, str]:
    if owner_url:
        monkeypatch.setenv("MIGRATION_DATABASE_URL", owner_url)
    app = make(databases, service, url=service_url)
    done = app.test_cli_runner().invoke(args=["migrate", "--wait", "2"])
    return done.exit_code, done.output


@pytest.mark.parametrize("service", SERVICES)
def test_migrate_grants_the_role_of_database_url_what_a_service_needs(
    databases: Databases, fresh: tuple[str, str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner, serving = fresh
    with pytest.raises(psycopg.OperationalError):  # the role may not even connect before
        psycopg.connect(serving)
    for _ in range(2):
        code, output = migrated(databases, service, serving, monkeypatch, owner)
        assert (code, "warning: the role" in output) == (0, False), output
    app = make(databases, service, url=serving)
    assert app.test_client().get("/readyz").status_code == 200
    with connected(owner) as connection:
        assert connection.execute("SELECT DISTINCT tableowner = current_user FROM pg_tables").fetchall() != [(False,)]


def test_one_role_migrates_and_serves_without_a_migration_url(
    databases: Databases, fresh: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner, _ = fresh
    code, output = migrated(databases, "order", owner, monkeypatch, None)
    assert (code, "warning: the role" in output) == (0, False), output
    assert make(databases, "order", url=owner).test_client().get("/readyz").status_code == 200


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_of_one_role_gets_two_without_an_interruption(
    databases: Databases, fresh: tuple[str, str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role of before keeps the tables, and goes on serving while the pods of the next release start."""
    _, owner, serving = fresh
    migrate.upgrade(owner, MIGRATIONS[service])
    before = make(databases, service, url=owner)
    assert before.test_client().get("/readyz").status_code == 200
    assert migrated(databases, service, serving, monkeypatch, owner)[0] == 0
    for app in (before, make(databases, service, url=serving)):
        assert app.test_client().get("/readyz").status_code == 200
    with connected(serving) as connection:
        assert refusal(connection, f"DELETE FROM {HISTORIES[service]}")


def test_privileges_that_somebody_added_are_taken_back(
    databases: Databases, fresh: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner, serving = fresh
    assert migrated(databases, "payment", serving, monkeypatch, owner)[0] == 0
    role = sql.Identifier(str(urlsplit(serving).username))
    with connected(owner) as connection:
        connection.execute(sql.SQL("GRANT ALL ON ledger_entries, alembic_version TO {}").format(role))
        connection.execute(sql.SQL("GRANT UPDATE (amount) ON ledger_entries TO {}").format(role))
    assert migrated(databases, "payment", serving, monkeypatch, owner)[0] == 0
    with connected(serving) as connection:
        assert refusal(connection, "UPDATE ledger_entries SET amount = 1 WHERE false")
        assert refusal(connection, "DELETE FROM alembic_version WHERE false")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("GRANT {owner} TO {role}", "may act as their owner"),
        (
            """GRANT "order" TO {role}; CREATE SCHEMA more; CREATE TABLE more.things ();
               ALTER TABLE more.things OWNER TO "order";""",
            'may act as their owner "order";',
        ),
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
        ("ALTER ROLE {role} CREATEROLE", "may create roles"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may create objects in the schema public"),
        ("GRANT pg_write_all_data TO {role}", "may change the history order_events"),
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may switch triggers off"),
        ("ALTER ROLE {role} SET synchronous_commit = off", "has the setting synchronous_commit=off"),
        ("ALTER ROLE {role} IN DATABASE {owner} SET search_path = other", "has the setting search_path=other"),
        (
            "ALTER DATABASE {owner} SET synchronous_commit = off",
            "has the setting synchronous_commit=off, which is that of the database;",
        ),
    ],
)
def test_migrate_warns_of_what_the_serving_role_may_do_beyond_its_needs(
    databases: Databases,
    fresh: tuple[str, str, str],
    server: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    said: str,
) -> None:
    name, owner, serving = fresh
    role = str(urlsplit(serving).username)
    assert migrated(databases, "order", serving, monkeypatch, owner)[0] == 0
    with psycopg.connect(server.url(ADMINISTRATOR), dbname=name, autocommit=True) as administrator:
        administrator.execute(given.format(owner=f'"{name}"', role=f'"{role}"').encode())
    code, output = migrated(databases, "order", serving, monkeypatch, owner)
    assert code == 0
    assert f'warning: the role "{role}"' in output
    assert said in output


def test_a_setting_of_the_database_that_the_role_has_otherwise_is_no_danger(
    databases: Databases, fresh: tuple[str, str, str], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, owner, serving = fresh
    role = sql.Identifier(str(urlsplit(serving).username))
    with psycopg.connect(server.url(ADMINISTRATOR), dbname=name, autocommit=True) as administrator:
        database = sql.Identifier(name)
        administrator.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(database))
        administrator.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = on").format(role))
    code, output = migrated(databases, "order", serving, monkeypatch, owner)
    assert (code, "warning: the role" in output) == (0, False), output


SAID = "warning: PostgreSQL has the setting {}: a crash of its machine loses acknowledged {}s; turn it on"


@pytest.mark.parametrize("service", SERVICES)
def test_migrate_warns_of_settings_of_the_server_that_lose_commits(
    databases: Databases, fresh: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    _, owner, serving = fresh
    for url, owner_url in ((serving, owner), (owner, None)):
        monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
        code, output = migrated(databases, service, url, monkeypatch, owner_url)
        assert code == 0
        for setting in ("fsync=off", "full_page_writes=off", "synchronous_commit=off"):
            assert SAID.format(setting, service) in output


@pytest.mark.parametrize("is_named_twice", [False, True])
def test_migrate_warns_of_a_setting_of_the_one_role_that_migrates_and_serves(
    databases: Databases,
    fresh: tuple[str, str, str],
    server: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    is_named_twice: bool,
) -> None:
    name, owner, _ = fresh
    with psycopg.connect(server.url(ADMINISTRATOR), dbname=name, autocommit=True) as administrator:
        role = sql.Identifier(str(urlsplit(owner).username))
        administrator.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = local").format(role))
    code, output = migrated(databases, "order", owner, monkeypatch, owner if is_named_twice else None)
    assert (code, SAID.format("synchronous_commit=local", "order") in output) == (0, True), output


def test_migrate_warns_of_no_setting_that_the_role_has_otherwise_and_of_no_durable_server(
    databases: Databases, fresh: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Postgres
) -> None:
    name, owner, serving = fresh
    role = sql.Identifier(str(urlsplit(serving).username))
    with psycopg.connect(server.url(ADMINISTRATOR), dbname=name, autocommit=True) as administrator:
        administrator.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = on").format(role))
    assert "synchronous_commit" not in migrated(databases, "order", serving, monkeypatch, owner)[1]
    monkeypatch.delenv("MIGRATION_DATABASE_URL")
    with Postgres(tmp_path) as durable:
        code, output = migrated(databases, "order", durable.create_database("durable"), monkeypatch, None)
    assert (code, "warning" in output) == (0, False), output


def test_migrate_stops_before_it_changes_anything_if_the_serving_role_is_missing(
    databases: Databases, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = server.create_database(f"roles_{uuid.uuid4().hex[:12]}")
    code, output = migrated(databases, "order", owner.replace("//roles_", "//nobody_"), monkeypatch, owner)
    assert code == 1
    assert "does not exist in the database: create it" in output
    assert "nobody_" in output
    with connected(owner) as connection:
        assert tables(connection) == []


def test_database_url_has_to_name_its_role_if_another_one_migrates(
    databases: Databases, fresh: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner, serving = fresh
    parts = urlsplit(serving)
    unnamed = parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()
    code, output = migrated(databases, "order", unnamed, monkeypatch, owner)
    assert (code, "DATABASE_URL must name its role" in output) == (2, True)


def test_the_role_of_a_url_is_found_however_it_is_written() -> None:
    assert roles.of_url("postgresql://a%40b:secret@localhost/x") == "a@b"
    assert roles.of_url("postgresql://localhost/x?user=c") == "c"
    assert roles.of_url("postgresql://localhost/x") == ""
