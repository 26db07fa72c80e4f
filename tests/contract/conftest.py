"""The contracts are verified against the real applications with real databases."""

from tests.support.fixtures.per_module import databases, pair
from tests.support.fixtures.postgres import server, templates

__all__ = ["databases", "pair", "server", "templates"]
