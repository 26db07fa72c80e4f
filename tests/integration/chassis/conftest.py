"""All tests of a module share one pair of services."""

from tests.integration.chassis.per_module import databases, pair

__all__ = ["databases", "pair"]
