"""The contracts are held against the real applications, on real PostgreSQL."""

from tests.integration.chassis.per_module import databases, pair
from tests.integration.conftest import server, templates

__all__ = ["databases", "pair", "server", "templates"]
