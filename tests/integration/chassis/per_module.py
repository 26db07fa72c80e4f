"""The fixtures `databases` and `pair` with the scope of a module. Its tests use their own ids and keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from ci.postgres import Postgres
from tests.integration.databases import Databases
from tests.integration.pair import Pair


@pytest.fixture(scope="module")
def databases(server: Postgres, templates: Databases) -> Databases:
    """Return a pair of empty databases."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        return templates.copies(administrator, f"_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:
    """Run both services and their relays in this process, on real ports."""
    with Pair(databases) as pair:
        yield pair
