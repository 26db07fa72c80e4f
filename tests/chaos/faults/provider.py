"""Faults of the simulated provider: away, slow, losing responses, declining."""

from __future__ import annotations

import requests

from payment.providers.faults import Faults as Injected
from tests.chaos.faults.databases import purge_database
from tests.chaos.faults.world import World
from tests.support.eventually import eventually
from tests.support.pair import Client
from tests.support.settings import INTERNAL_KEY


def away(world: World) -> None:
    """Lose all requests for longer than leases last and than a purge keeps keys; purge payment meanwhile."""
    world.begin("provider: away")
    switch(world, Injected(lost_requests_percent=100))
    world.rest(4.0, 6.0)
    purge_database(world, "payment")
    world.now = "provider: away"
    world.rest(0.5, 2.0)
    switch(world, Injected())


def lose_answers(world: World) -> None:
    """Lose most responses of the provider, after it has acted."""
    world.begin("provider: responses lost")
    switch(world, Injected(lost_answers_percent=80))
    world.rest(1.0, 3.0)
    switch(world, Injected())


def decline(world: World) -> None:
    """Decline all new charges, with slow responses."""
    world.begin("provider: declines charges, slowly")
    switch(world, Injected(decline=True, delay_ms=300))
    world.rest(0.5, 2.0)
    switch(world, Injected())


def switch(world: World, wanted: Injected) -> None:
    """Set the simulator's faults over the API, as an operator would."""
    client = Client(world.stack.payment.url, INTERNAL_KEY)
    body = {name: getattr(wanted, name) for name in Injected.__dataclass_fields__}

    def done() -> bool:
        try:
            return client.request("PUT", "/v1/simulator/faults", json=body).status_code == 200
        except requests.RequestException:
            return False

    eventually(done, "the simulator's faults are set", 60)
