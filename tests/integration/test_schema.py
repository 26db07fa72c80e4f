"""docs/schema: the files are what the migrations make, and everything in them is explained."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from chassis.postgres import migrate
from ci.generate import schema
from ci.postgres import Postgres, run_tool

SERVICES = ["order", "payment"]


@pytest.fixture(scope="module")
def migrated(server: Postgres) -> dict[str, str]:
    """The URLs of databases that are migrated and empty."""
    urls = {service: server.create_database(f"{service}_{uuid.uuid4().hex[:12]}") for service in SERVICES}
    for service, url in urls.items():
        migrate.upgrade(url, schema.MIGRATIONS[service])
    return urls


def committed(service: str) -> str:
    return (schema.FOLDER / f"{service}.sql").read_text()


def dumped(url: str) -> list[str]:
    """What pg_dump says of a schema, without the token that is new each time."""
    lines = run_tool("pg_dump", "--schema-only", "--no-owner", url).stdout.splitlines()
    return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("service", SERVICES)
def test_the_committed_file_is_what_the_migrations_make(migrated: dict[str, str], service: str) -> None:
    assert committed(service) == schema.text(service, migrated[service]), "`make schema` writes it anew"


@pytest.mark.parametrize("service", SERVICES)
def test_the_file_makes_the_same_database(server: Postgres, migrated: dict[str, str], service: str) -> None:
    url = server.create_database(f"loaded_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(url) as connection:
        connection.execute(committed(service).encode())
    dump = dumped(url)
    assert "CREATE TABLE public.outbox (" in dump
    assert dump == dumped(migrated[service])


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_and_column_has_a_comment(migrated: dict[str, str], service: str) -> None:
    with psycopg.connect(migrated[service]) as connection:
        bare = connection.execute(
            """SELECT attrelid::regclass::text, attname FROM pg_attribute
               JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
               WHERE relkind = 'r' AND nspname IN ('public', 'simulator') AND attnum > 0 AND NOT attisdropped
                 AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, attnum) IS NULL)"""
        ).fetchall()
    assert bare == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_has_its_chapter(service: str) -> None:
    assert "\n-- Others -" not in committed(service)
