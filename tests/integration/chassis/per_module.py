"""The fixtures `databases` and `pair` for one module instead of one test: its tests use ids and keys of their own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from ci.laptop.postgres import Postgres
from tests.integration.databases import Databases
from tests.integration.pair import Pair


@pytest.fixture(scope="module")
def databases(server: Postgres, templates: Databases) -> Databases:
    """A pair of databases that start empty."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        return templates.copies(administrator, f"_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:
    """Both services and their relays, in this process and on real ports."""
    with Pair(databases) as pair:
        yield pair
