from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import order
import payment
from chassis.postgres import migrate
from ci.laptop.postgres import Postgres
from tests.support.eventually import eventually

REVISIONS = {
    migrations: sorted(path.stem.partition("_")[0] for path in Path(migrations, "versions").glob("[0-9]*.py"))
    for migrations in (order.MIGRATIONS, payment.MIGRATIONS)
}
NEWEST = {migrations: revisions[-1] for migrations, revisions in REVISIONS.items()}


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_migrated_by_any_url_that_libpq_reads(server: Postgres, scheme: str) -> None:
    url = server.create_database(f"migrated_by_{scheme}").replace("postgresql://", f"{scheme}://", 1)
    newest = NEWEST[order.MIGRATIONS]
    assert migrate.upgrade(url, order.MIGRATIONS) == (None, newest)
    assert migrate.upgrade(url, order.MIGRATIONS) == (newest, newest)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def together(*calls: Callable[[], object]) -> list[BaseException]:
    """Run these at the same time; what they raised."""
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
def test_several_that_migrate_at_once_do_it_once(server: Postgres, migrations: str) -> None:
    url = server.create_database(f"migrated_{uuid.uuid4().hex[:12]}")
    seen: list[tuple[str | None, str | None]] = []
    assert together(*[lambda: seen.append(migrate.upgrade(url, migrations))] * 4) == []
    newest = NEWEST[migrations]
    assert sorted(seen, key=str) == sorted([(None, newest), *[(newest, newest)] * 3], key=str)


def test_an_index_that_was_cut_off_is_built_anew_while_others_write(server: Postgres) -> None:
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
        with pytest.raises(psycopg.errors.QueryCanceled):  # it waits for the writer, and leaves what is invalid
            administrator.execute("CREATE INDEX CONCURRENTLY orders_newest ON orders (merchant, status)")
        assert administrator.execute(invalid).fetchone() == (1,)
        migration = threading.Thread(target=migrate.upgrade, args=(url, order.MIGRATIONS, "0003"))
        migration.start()
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND wait_event_type = 'Lock' AND datname = %s"
        )
        name = url.rpartition("/")[2].partition("?")[0]
        eventually(
            lambda: administrator.execute(waits, ("%INDEX%", name)).fetchone() == (1,), "it waits for the writer"
        )
        other.execute(row)
        writer.commit()
        migration.join(60)
        assert administrator.execute(invalid).fetchone() == (0,)
        assert administrator.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
