from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic.migration import MigrationContext

import order
import payment
from chassis.postgres import migrate
from ci.laptop.postgres import Postgres
from tests.support.applications import make
from tests.support.databases import Databases
from tests.support.eventually import eventually

REVISIONS = {
    migrations: sorted(path.stem.partition("_")[0] for path in Path(migrations, "versions").glob("[0-9]*.py"))
    for migrations in (order.MIGRATIONS, payment.MIGRATIONS)
}
NEWEST = {migrations: revisions[-1] for migrations, revisions in REVISIONS.items()}


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_migrations_accept_every_url_of_libpq(server: Postgres, scheme: str) -> None:
    url = server.create_database(f"migrated_by_{scheme}").replace("postgresql://", f"{scheme}://", 1)
    newest = NEWEST[order.MIGRATIONS]
    assert migrate.upgrade(url, order.MIGRATIONS) == (None, newest)
    assert migrate.upgrade(url, order.MIGRATIONS) == (newest, newest)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)


class Interrupted(Exception):
    """The process that migrates has died."""


# What the migrations have made: columns, indexes, constraints, triggers and functions.
MADE = """
SELECT 'column', format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', format('%s %s %s', conrelid::regclass, pg_get_constraintdef(oid), convalidated)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1, 2
"""


@pytest.mark.parametrize("migrations", [order.MIGRATIONS, payment.MIGRATIONS], ids=["order", "payment"])
def test_a_migration_that_was_interrupted_after_any_of_its_commits_can_be_repeated(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, migrations: str
) -> None:
    urls = [server.create_database(f"migrated_{uuid.uuid4().hex[:12]}") for _ in range(2)]
    assert migrate.upgrade(urls[0], migrations)[1] == NEWEST[migrations]
    whole, place, died = MigrationContext.autocommit_block, [""], set[str]()

    def die_once(where: str) -> None:
        if where not in died:
            died.add(where)
            raise Interrupted

    @contextmanager
    def block(context: MigrationContext) -> Iterator[None]:
        revision = context.get_current_revision()
        number = int(place[0].partition(" ")[2]) + 1 if place[0].startswith(f"{revision} ") else 1
        place[0] = where = f"{revision} {number}"
        with whole(context):
            die_once(f"{where} begins")  # what came before is committed
            yield
        die_once(f"{where} ends")

    monkeypatch.setattr(MigrationContext, "autocommit_block", block)
    after = None
    while after is None:
        place[0] = ""
        try:
            _, after = migrate.upgrade(urls[1], migrations)
        except Interrupted:
            continue
    assert len(died) > len(REVISIONS[migrations]) / 2
    made = []
    for url in urls:
        with psycopg.connect(url) as connection:
            made.append(connection.execute(MADE).fetchall())
    assert made[1] == made[0]


def together(*calls: Callable[[], object]) -> list[BaseException]:
    """Run these calls concurrently, and return the exceptions that they raised."""
    raised: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


@pytest.mark.parametrize("migrations", [order.MIGRATIONS, payment.MIGRATIONS], ids=["order", "payment"])
def test_concurrent_migrations_run_once(server: Postgres, migrations: str) -> None:
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    seen: list[tuple[str | None, str | None]] = []
    assert together(*[lambda: seen.append(migrate.upgrade(url, migrations))] * 4) == []
    newest = NEWEST[migrations]
    assert sorted(seen, key=str) == sorted([(None, newest), *[(newest, newest)] * 3], key=str)


def test_an_interrupted_index_build_is_repeated_without_blocking_writes(server: Postgres) -> None:
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    before = REVISIONS[order.MIGRATIONS][REVISIONS[order.MIGRATIONS].index("0003") - 1]
    migrate.upgrade(url, order.MIGRATIONS, before)
    row = """INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture)
             VALUES ('m', gen_random_uuid(), 'pending_payment', 'EUR', 1, '[]', 'pm_ok', 'automatic')"""
    invalid = "SELECT count(*) FROM pg_index WHERE indexrelid = 'orders_newest'::regclass AND NOT indisvalid"
    with (
        psycopg.connect(url, autocommit=True) as administrator,
        psycopg.connect(url) as writer,
        psycopg.connect(url, autocommit=True) as other,
    ):
        writer.execute(row)
        administrator.execute("SET statement_timeout = 300")
        with pytest.raises(psycopg.errors.QueryCanceled):  # the build waits for the writer, and leaves an invalid index
            administrator.execute("CREATE INDEX CONCURRENTLY orders_newest ON orders (merchant, status)")
        assert administrator.execute(invalid).fetchone() == (1,)
        migration = threading.Thread(target=migrate.upgrade, args=(url, order.MIGRATIONS, "0003"))
        migration.start()
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND wait_event_type = 'Lock' AND datname = %s"
        )
        name = url.rpartition("/")[2].partition("?")[0]
        eventually(
            lambda: administrator.execute(waits, ("%INDEX%", name)).fetchone() == (1,),
            "the migration waits for the writer",
        )
        other.execute(row)
        writer.commit()
        migration.join(60)
        assert administrator.execute(invalid).fetchone() == (0,)
        assert administrator.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)


def test_the_exchange_of_a_primary_key_does_not_block_writes_behind_a_long_transaction(server: Postgres) -> None:
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    revisions = REVISIONS[order.MIGRATIONS]
    migrate.upgrade(url, order.MIGRATIONS, revisions[revisions.index("0016") - 1])
    row = """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload)
             VALUES (gen_random_uuid(), 'm', gen_random_uuid(), 't', '{}')"""
    with (
        psycopg.connect(url) as reader,
        psycopg.connect(url, autocommit=True) as writer,
    ):
        writer.execute("SET lock_timeout = '3s'")
        reader.execute("SELECT count(*) FROM outbox")  # holds a lock until it commits
        migration = threading.Thread(target=migrate.upgrade, args=(url, order.MIGRATIONS, "0016"))
        migration.start()
        eventually(
            lambda: writer.execute("SELECT to_regclass('outbox_next_pkey') IS NOT NULL").fetchone() == (True,),
            "the new index is built",
        )
        waits = """SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                   WHERE c.relname = 'outbox' AND l.mode = 'AccessExclusiveLock' AND NOT granted"""
        for _ in range(3):
            eventually(lambda: writer.execute(waits).fetchone() == (1,), "the migration waits for the reader")
            writer.execute(row)
        reader.commit()
        migration.join(60)
        assert writer.execute("SELECT version_num FROM alembic_version").fetchone() == ("0016",)
        key = """SELECT pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE conrelid = 'outbox'::regclass AND contype IN ('p', 'u')"""
        assert writer.execute(key).fetchall() == [("PRIMARY KEY (id, merchant)",)]


@pytest.mark.parametrize(("migrations", "revision"), [(order.MIGRATIONS, "0016"), (payment.MIGRATIONS, "0010")])
def test_a_repeated_exchange_of_keys_changes_nothing(server: Postgres, migrations: str, revision: str) -> None:
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"
    before = REVISIONS[migrations][REVISIONS[migrations].index(revision) - 1]
    migrate.upgrade(url, migrations, revision)
    with psycopg.connect(url, autocommit=True) as connection:
        once = connection.execute(indexes).fetchall()
        connection.execute("UPDATE alembic_version SET version_num = %s", (before,))  # as if it was interrupted
        migrate.upgrade(url, migrations, revision)
        assert connection.execute(indexes).fetchall() == once


@pytest.mark.parametrize(
    ("service", "other", "table"), [("payment", order.MIGRATIONS, "payments"), ("order", payment.MIGRATIONS, "orders")]
)
def test_a_service_leaves_the_database_of_another_one_alone(
    databases: Databases, server: Postgres, service: str, other: str, table: str
) -> None:
    """The newest revision of order is unknown to payment, and some revisions have a number in both."""
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    migrate.upgrade(url, other)
    app = make(databases, service, url=url)
    done = app.test_cli_runner().invoke(args=["migrate"])
    assert done.exit_code == 2
    said = f"DATABASE_URL: this database has the schema of another program, and no table {table}; name the database of"
    assert said in done.output
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (NEWEST[other],)
    ready = app.test_client().get("/readyz")
    assert (ready.status_code, ready.json and ready.json["database"]) == (503, "is that of another program")
