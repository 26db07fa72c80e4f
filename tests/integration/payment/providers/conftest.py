"""Each provider with its environment, new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import Databases
from tests.support.providers.worlds import SimulatorWorld, StripeWorld, World, stripe_behind_proxy


@pytest.fixture
def stripe_world() -> Iterator[StripeWorld]:
    """The stand-in for Stripe behind a proxy that can break the network."""
    with stripe_behind_proxy() as world:
        yield world


@pytest.fixture
def simulator_world(databases: Databases) -> SimulatorWorld:
    """The simulator with an empty record."""
    databases.query("payment", "TRUNCATE simulator.operations")
    return SimulatorWorld(databases)


@pytest.fixture(params=["simulator", "stripe"])
def world(request: pytest.FixtureRequest) -> World:
    """Each provider in turn. A new provider is added here."""
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found
