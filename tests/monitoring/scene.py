"""Both services and a publisher under usual load, watched by a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci.laptop.postgres import Postgres
from tests.monitoring.load import Load
from tests.monitoring.prometheus import SERVICES, Prometheus
from tests.support import publishing
from tests.support.databases import Databases
from tests.support.nats_server import NatsServer
from tests.support.stack import Stack


@dataclass(frozen=True)
class Scene:
    """What runs: the database server, the services, their load, the broker, and Prometheus."""

    server: Postgres
    stack: Stack
    load: Load
    nats: NatsServer
    scraped: Prometheus


@contextmanager
def running(folder: Path) -> Iterator[Scene]:
    """Run everything in a folder of its own while the block runs."""
    server = Postgres(folder / "postgres", durable=False)
    server.start()
    try:
        databases = Databases.create(server)
        databases.migrate()
        (folder / "stack").mkdir()
        with (
            Stack(databases, folder / "stack", reads=True) as stack,
            publishing.to_nats(stack, folder / "stack") as nats,
            Load(stack) as load,
            Prometheus(folder, dict(zip(SERVICES, stack.admin_ports, strict=True))) as scraped,
        ):
            yield Scene(server, stack, load, nats, scraped)
    finally:
        server.stop()
