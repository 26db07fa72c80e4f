"""What integration tests stand on: real PostgreSQL, and both services talking HTTP to each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ci.laptop.postgres import Postgres
from tests.integration.databases import Databases
from tests.integration.pair import Pair

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this process; not safe against power cuts, and so twice as fast."""
    # Each pair of services that a test has had leaves connections, and all of them are in this process.
    settings = {"max_connections": "300"}
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False, settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def templates(server: Postgres) -> Databases:
    """Both databases, migrated and empty: what each test's own are copied from."""
    databases = Databases(server.create_database("order"), server.create_database("payment"))
    databases.migrate()
    return databases


@pytest.fixture
def databases(server: Postgres, templates: Databases) -> Iterator[Databases]:
    """A pair of empty databases of the test's own."""
    number = next(_numbers)
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        yield templates.copies(administrator, f"_{os.getpid()}_{number}")


@pytest.fixture
def pair(databases: Databases, tmp_path: Path) -> Iterator[Pair]:
    """Both services and their relays, in this process and on real ports."""
    with Pair(databases) as pair:
        yield pair
