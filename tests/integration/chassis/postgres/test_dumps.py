"""A dump of the data alone is loaded into a database that is migrated and empty, as for a move to another server."""

from __future__ import annotations

import uuid

import psycopg

from chassis.postgres import migrate
from ci.generate import schema
from ci.laptop.postgres import Postgres, run_tool
from tests.support.applications import SERVICES
from tests.support.outbox import settled
from tests.support.pair import ORDER, Pair


def dumped(url: str) -> str:
    """The data of a database as SQL, which sets an empty search_path. Commands of psql are left out."""
    dump = run_tool("pg_dump", "--data-only", "--inserts", "--exclude-table=alembic_version", url)
    assert dump.returncode == 0, dump.stdout
    return "\n".join(line for line in dump.stdout.splitlines() if not line.startswith(("\\", "--")))


def test_the_data_of_both_services_can_be_dumped_and_loaded(server: Postgres, pair: Pair) -> None:
    placed = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    assert placed["status"] == "paid"
    refund = pair.order.post(f"/v1/orders/{placed['id']}/refunds", {"amount": 100, "reason": "late"}, Prefer="wait=10")
    assert refund.json()["status"] == "succeeded"
    settled(pair)
    for service in SERVICES:
        dump = dumped(getattr(pair.databases, service))
        assert placed["id"] in dump
        url = server.create_database(f"loaded_{uuid.uuid4().hex[:12]}")
        migrate.upgrade(url, schema.MIGRATIONS[service])
        with psycopg.connect(url) as connection:
            connection.execute(dump.encode())
        assert sorted(dumped(url).splitlines()) == sorted(dump.splitlines())
