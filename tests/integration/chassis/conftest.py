"""All tests of a module share one pair of services."""

from __future__ import annotations

import pytest

from tests.support.fixtures.per_module import databases, pair
from tests.support.pair import Client, Pair

__all__ = ["databases", "pair"]


@pytest.fixture(params=["order", "payment"])
def stranger(request: pytest.FixtureRequest, pair: Pair) -> Client:
    """A client of each service without a key."""
    return Client(getattr(pair, request.param).url, None)
