"""One pair of services for all tests of a module."""

from tests.support.fixtures.per_module import databases, pair

__all__ = ["databases", "pair"]
