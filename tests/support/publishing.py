"""The publisher in a thread of this process or as one of its own, and events that no order has to be placed for."""

from __future__ import annotations

import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from chassis.postgres.database import Database
from order.publisher import commands
from order.publisher.broker import Broker
from order.publisher.config import Settings, parse_kafka
from order.publisher.loop import Publisher
from tests.support.databases import Databases
from tests.support.nats_server import NatsServer, create_consumer
from tests.support.stack import Process, Stack

INSERT = """INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
            VALUES (%s, %s, %s, 'order.placed', 'pending_payment', 'merchant') RETURNING id"""


def settings(url: str, **changes: Any) -> Settings:
    """Return the publisher's settings for a broker, with a short timeout."""
    kafka = parse_kafka(url) if url.startswith("kafka") else None
    values: dict[str, Any] = {
        "servers": () if kafka else tuple(filter(None, url.split(","))),
        "kafka": kafka,
        "credentials": None,
        "client_certificate": "",
        "client_key": "",
        "stream": "TANDEM",
        "replicas": 1,
        "partitions": 3,
        "source": "/tandem/order",
        "timeout": 2.0,
        **changes,
    }
    return Settings(**values)


@contextmanager
def publishing(databases: Databases, broker: Broker | str, lease: float = 20.0) -> Iterator[Publisher]:
    """Run a publisher while the block does; `broker` may be a URL."""
    if isinstance(broker, str):
        broker = commands.connect(settings(broker))
    database = Database(databases.service_url("order"), "publisher-test")
    publisher = Publisher(database, broker, source="/tandem/order", lease=lease, poll=0.1)
    thread = threading.Thread(target=publisher.run, name="publisher-test")
    thread.start()
    try:
        yield publisher
    finally:
        publisher.stop()
        thread.join()


def record(databases: Databases, merchant: str, orders: int = 1, versions: int = 1, first: int = 1) -> list[str]:
    """Record events of new orders of a merchant, each in its own transaction. Returns their ids."""
    ids = [str(uuid.uuid4()) for _ in range(orders)]
    with psycopg.connect(databases.order, autocommit=True) as connection:
        found = [
            connection.execute(INSERT, (merchant, order, version)).fetchone()
            for version in range(first, first + versions)
            for order in ids
        ]
    return [str(row[0]) for row in found if row]


def record_large(databases: Databases, merchant: str, size: int) -> str:
    """Record two events of a new order of a merchant: one of more than `size` characters, then a small one.

    Returns the order's id.
    """
    order = str(uuid.uuid4())
    with psycopg.connect(databases.order) as connection:
        for version, method in ((1, "x" * size), (2, "pm_ok")):
            connection.execute(
                """INSERT INTO order_events (merchant, order_id, version, type, to_status, actor, state)
                   VALUES (%s, %s, %s, 'order.paid', 'paid', 'merchant', jsonb_build_object('payment_method', %s::text))
                """,
                (merchant, order, version, method),
            )
    return order


def assert_in_order(events: Iterable[dict[str, Any]]) -> None:
    """Check that the first arrivals of each order's events have the versions 1, 2, 3 and so on."""
    versions: defaultdict[str, list[int]] = defaultdict(list)
    seen: set[str] = set()
    for event in events:
        if event["id"] not in seen:
            seen.add(event["id"])
            versions[event["subject"]].append(event["orderversion"])
    assert {order: got for order, got in versions.items() if got != list(range(1, len(got) + 1))} == {}


def process(stack: Stack, nats: NatsServer, folder: Path) -> Process:
    """Return the publisher of a stack as a process, which is not started yet. Its metrics are with those of order."""
    env = {**stack.processes["order-relay"].env, "EVENTS_URL": nats.url, "EVENTS_TIMEOUT": "0.5"}
    command = [sys.executable, "-m", "flask", "--app", "order", "publisher"]
    return Process("order-publisher", command, env, folder / "order-publisher.log")


@contextmanager
def to_nats(stack: Stack, folder: Path) -> Iterator[NatsServer]:
    """Run NATS, with a consumer that gets nothing, and the publisher of a stack while the block does."""
    with NatsServer(folder) as nats:
        create_consumer(nats.url, "shop")
        publisher = process(stack, nats, folder)
        publisher.start()
        try:
            yield nats
        finally:
            publisher.kill()
