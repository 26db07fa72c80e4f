"""Integration tests have real databases, and both services talking HTTP to each other."""

import math

import pytest

from chassis.postgres.watchdog import watchdog
from tests.support.fixtures.per_test import databases, pair
from tests.support.fixtures.postgres import server, templates

__all__ = ["databases", "no_earlier_stall", "pair", "server", "templates"]


@pytest.fixture(autouse=True)
def no_earlier_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watchdog forget a stall of the test before, after which half of a test's writes could be 503."""
    monkeypatch.setattr(watchdog, "_crowded_at", -math.inf)
