from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

import order
from chassis import migrate
from ci.postgres import Postgres

NEWEST = max(path.stem[:4] for path in Path(order.MIGRATIONS, "versions").glob("[0-9]*.py"))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_migrated_by_any_url_that_libpq_reads(server: Postgres, scheme: str) -> None:
    url = server.create_database(f"migrated_by_{scheme}").replace("postgresql://", f"{scheme}://", 1)
    assert migrate.upgrade(url, order.MIGRATIONS) == (None, NEWEST)
    assert migrate.upgrade(url, order.MIGRATIONS) == (NEWEST, NEWEST)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
