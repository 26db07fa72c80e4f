"""The tables of merchants are distributed by merchant in an order that foreign keys allow.

Functions with the names of Citus's stand in for it, and record how they are called. `make citus` uses a real server.
"""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import psycopg
import pytest

from chassis.postgres import migrate
from ci.generate import schema
from ci.laptop.postgres import ADMINISTRATOR, Postgres
from tests.support import citus
from tests.unit.test_merchant_in_sql import SHARED

STAND_IN = """
CREATE TABLE pg_dist_partition (logicalrelid regclass, number int GENERATED ALWAYS AS IDENTITY, partkey text);
CREATE FUNCTION create_distributed_table(t regclass, c text) RETURNS void LANGUAGE sql AS
    'INSERT INTO pg_dist_partition (logicalrelid, partkey) VALUES (t, c)';
CREATE FUNCTION create_reference_table(t regclass) RETURNS void LANGUAGE sql AS
    'INSERT INTO pg_dist_partition (logicalrelid) VALUES (t)';
"""


@pytest.mark.skipif(citus.URL != "", reason="CITUS_URL is set: the functions are real")
@pytest.mark.parametrize("service", ["order", "payment"])
def test_each_table_of_a_merchant_is_distributed_by_merchant_after_those_it_refers_to(
    server: Postgres, service: str
) -> None:
    name = f"{service}_{uuid.uuid4().hex[:12]}"
    migrate.upgrade(server.create_database(name), schema.MIGRATIONS[service])
    url = urlsplit(server.url(ADMINISTRATOR))._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(STAND_IN)
        citus.distribute(url)
        citus.distribute(url)
        rows = connection.execute("SELECT logicalrelid::text, partkey FROM pg_dist_partition ORDER BY number")
        made: dict[str, str | None] = dict(rows.fetchall())
        tables = {
            table for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        }
        references = connection.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        ).fetchall()
    tables -= citus.LOCAL | {"pg_dist_partition"}
    assert made == {table: None if table in SHARED else "merchant" for table in tables}
    places = list(made)
    assert references
    assert all(places.index(referring) > places.index(referred) for referring, referred in references)
