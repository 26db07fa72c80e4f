"""Random faults from a seed.

Each fault is a function. It names itself with `World.begin` and repairs what it broke.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping

from ci.laptop.postgres import Postgres
from tests.chaos.faults import databases as database
from tests.chaos.faults import network, processes, provider
from tests.chaos.faults.world import World
from tests.support.databases import Databases
from tests.support.proxy import Proxy
from tests.support.stack import Stack

KINDS: list[tuple[Callable[[World], None], int]] = [
    (processes.kill, 30),
    (processes.suspend, 16),
    (processes.clock_ahead, 4),
    (network.cut, 20),
    (network.delay, 8),
    (database.forget_leases, 12),
    (database.expire_authorizations, 8),
    (database.drop_connections, 8),
    (database.stop, 6),
    (database.crash, 6),
    (database.purge, 8),
    (provider.away, 4),
    (provider.lose_answers, 6),
    (provider.decline, 4),
]
"""The kinds of faults and their weights."""


class Faults:
    """Causes one fault after another until `until`, on the monotonic clock. At the end all faults are repaired.

    Each kind occurs once, in random order, before they are drawn by weight.
    """

    def __init__(
        self,
        seed: int,
        stack: Stack,
        servers: Mapping[str, Postgres],
        databases: Databases,
        proxies: list[Proxy],
        until: float,
    ) -> None:
        self._world = World(random.Random(f"{seed}/faults"), stack, servers, databases, proxies, until)

    @property
    def injected(self) -> Counter[str]:
        """How often each fault occurred."""
        return self._world.injected

    @property
    def now(self) -> str:
        """The current fault, or an empty text."""
        return self._world.now

    def run(self) -> None:
        """Cause a fault, repair it, wait a little, and repeat."""
        world = self._world
        kinds, weights = zip(*KINDS, strict=True)
        first = world.random.sample(kinds, len(kinds))
        try:
            while world.rest(0.2, 1.2):
                fault = first.pop() if first else world.random.choices(kinds, weights)[0]
                fault(world)
                world.now = ""
        finally:
            for proxy in world.proxies:
                proxy.mode = "pass"
