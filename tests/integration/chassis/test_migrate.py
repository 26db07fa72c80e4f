from __future__ import annotations

import psycopg
import pytest

import order
from chassis import migrate
from ci.postgres import Postgres


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_migrated_by_any_url_that_libpq_reads(server: Postgres, scheme: str) -> None:
    url = server.create_database(f"migrated_by_{scheme}").replace("postgresql://", f"{scheme}://", 1)
    assert migrate.upgrade(url, order.MIGRATIONS) == (None, "0001")
    assert migrate.upgrade(url, order.MIGRATIONS) == ("0001", "0001")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
