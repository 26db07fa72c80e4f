"""Databases on a Citus server, with the tables of merchants distributed by merchant.

CITUS_URL names the server's database for administration, for a superuser. The server is for tests only: roles called
`order` and `payment` get other passwords. Databases remain until somebody deletes them.
"""

from __future__ import annotations

import os
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql

from ci.laptop.postgres import ADMINISTRATOR, Postgres, service_role
from tests.support.databases import Databases
from tests.unit.test_merchant_in_sql import SHARED

URL = os.environ.get("CITUS_URL", "")
LOCAL = {"alembic_version"}
"""Tables that remain on the coordinator. So do those of other schemas: they are not the product's."""

_TABLES = """
SELECT c.relname AS name, array_remove(array_agg(f.confrelid::regclass::text), NULL) AS refers
FROM pg_class c LEFT JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT starts_with(c.relname, 'pg_')
GROUP BY 1
"""


class Server(Postgres):
    """The server of CITUS_URL. It is not started and not stopped."""

    def __init__(self, state: Path, url: str = URL) -> None:
        """`state` is a folder for passwords."""
        super().__init__(state, durable=False)
        self.state.mkdir(exist_ok=True)
        self._url = urlsplit(url)

    def start(self) -> None:
        """Do nothing."""

    def stop(self, *_: object) -> None:
        """Do nothing."""

    def url(self, name: str) -> str:
        """Return the connection URL of a database for the role that owns it."""
        return self._url.geturl() if name == ADMINISTRATOR else self._for(name, name)

    def service_url(self, name: str) -> str:
        """Return the connection URL of a database for the role of its service."""
        return self._for(service_role(name), name)

    def administrator_of(self, name: str) -> str:
        """Return the URL of a database for the superuser."""
        return self._url._replace(path=f"/{name}").geturl()

    def _for(self, role: str, database: str) -> str:
        at = self._url.netloc.rpartition("@")[2]
        return self._url._replace(netloc=f"{role}:{self._password(role)}@{at}", path=f"/{database}").geturl()


class Distributed(Databases):
    """Databases of which a copy is made anew, because a distributed table cannot be copied with its database."""

    def copies(self, administrator: Connection[Any], suffix: str) -> Databases:
        """Create empty databases for the same roles, migrated and distributed."""
        urls = {}
        for service in ("order", "payment"):
            name = f"{service}{suffix}"
            create = sql.SQL("CREATE DATABASE {} OWNER {}")
            administrator.execute(create.format(sql.Identifier(name), sql.Identifier(service)))
            urls[service] = urlsplit(getattr(self, service))._replace(path=f"/{name}").geturl()
            urls[f"{service}_service"] = urlsplit(self.service_url(service))._replace(path=f"/{name}").geturl()
        made = Distributed(**urls)
        made.migrate()
        for service in ("order", "payment"):
            distribute(urlsplit(URL)._replace(path=f"/{service}{suffix}").geturl())
        return made


def templates(server: Server) -> Databases:
    """Create both databases, migrated and distributed."""
    created = Databases.create(server)
    created.migrate()
    for service in ("order", "payment"):
        distribute(server.administrator_of(service))
    return Distributed(created.order, created.payment, created.order_service, created.payment_service)


def distribute(url: str) -> None:
    """Distribute the tables of merchants by merchant. `url` is that of a superuser. It may be repeated."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regproc('create_distributed_table') IS NULL").fetchone() == (True,):
            connection.execute("CREATE EXTENSION citus")
        connection.execute("SET citus.enable_unsafe_triggers = on")
        connection.execute("SET citus.shard_count = 4")
        known = {row[0] for row in connection.execute("SELECT logicalrelid::text FROM pg_dist_partition")}
        for name in ordered(connection):
            if name in known | LOCAL:
                continue
            if name in SHARED:
                connection.execute("SELECT create_reference_table(%s)", [name])
            else:
                connection.execute("SELECT create_distributed_table(%s, 'merchant')", [name])


def ordered(connection: Connection[Any]) -> list[str]:
    """Return the tables of the schema public, each after those that its foreign keys name."""
    return list(TopologicalSorter(dict(connection.execute(_TABLES).fetchall())).static_order())
