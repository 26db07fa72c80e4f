"""What a fault can act on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.proxy import Proxy
from tests.support.stack import Stack


@dataclass
class World:
    """The running system. `servers` has the PostgreSQL server of each service; `until` is on the monotonic clock."""

    random: random.Random
    stack: Stack
    servers: Mapping[str, Postgres]
    databases: Databases
    proxies: list[Proxy]
    until: float
    injected: Counter[str] = field(default_factory=Counter)
    now: str = ""

    def begin(self, what: str) -> None:
        """Count a fault by its name, and show it as the current one."""
        self.now = what
        self.injected[what] += 1

    def rest(self, least: float, most: float) -> bool:
        """Wait for a random number of seconds. Return False when the run is over."""
        time.sleep(max(0.0, min(self.random.uniform(least, most), self.until - time.monotonic())))
        return time.monotonic() < self.until

    def sql(self, service: str, statement: str, *parameters: object) -> int:
        """Execute a statement in a service's database, and return the number of its rows."""
        # As the service's role: another one may not end its sessions.
        with psycopg.connect(self.databases.service_url(service), autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters or None).rowcount
