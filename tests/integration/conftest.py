"""Integration tests have real databases, and both services talking HTTP to each other."""

from tests.support.fixtures.per_test import databases, pair
from tests.support.fixtures.postgres import server, templates

__all__ = ["databases", "pair", "server", "templates"]
