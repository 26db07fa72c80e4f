"""Real processes for the tests of faults."""

from tests.support.fixtures.processes import stack

__all__ = ["stack"]
