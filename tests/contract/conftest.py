"""The contracts are held against the real applications, on real PostgreSQL."""

from tests.support.fixtures.per_module import databases, pair
from tests.support.fixtures.postgres import server, templates

__all__ = ["databases", "pair", "server", "templates"]
