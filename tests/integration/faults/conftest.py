"""Real processes for the tests of faults."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from ci.laptop.postgres import Postgres
from tests.integration.databases import Databases
from tests.integration.faults.stack import Stack


@pytest.fixture(scope="module")
def stack(server: Postgres, templates: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both services as real processes, on databases of their own; one set for all tests of a module."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        databases = templates.copies(administrator, f"_stack_{uuid.uuid4().hex[:12]}")
    with Stack(databases, tmp_path_factory.mktemp("stack")) as stack:
        yield stack
