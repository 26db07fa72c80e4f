"""Fixtures of the fault tests: both services as real processes."""

from tests.support.fixtures.processes import stack

__all__ = ["stack"]
