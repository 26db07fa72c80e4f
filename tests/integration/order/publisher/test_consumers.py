"""How far the consumers of a broker are behind is read from the broker, stored, and measured."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats
import pytest
from confluent_kafka import Consumer as Group
from prometheus_client import CollectorRegistry, generate_latest

from chassis.postgres.database import Database, Session
from chassis.telemetry.metrics import DatabaseGauges
from order.publisher import commands, store
from order.publisher.broker import Consumer, ConsumersUnknown, WatchedBroker
from order.publisher.jetstream import JetStream
from order.publisher.kafka import Kafka
from order.publisher.watcher import Watcher
from tests.integration.order.publisher.test_refusals import message
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.kafka_server import TOPIC, KafkaServer
from tests.support.nats_server import NatsServer
from tests.support.publishing import publishing, record, settings


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "publisher-test").connect()
    session.execute("DELETE FROM event_consumers")
    session.execute("DELETE FROM event_publisher")
    yield session
    session.close()


@contextmanager
def watching(databases: Databases, broker: WatchedBroker) -> Iterator[None]:
    """Run a watcher while the block does."""
    watcher = Watcher(Database(databases.service_url("order"), "watcher-test"), broker, pause=0.1)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield
    finally:
        watcher.stop()
        thread.join()


def stored(session: Session) -> dict[str, int]:
    return {row["name"]: row["pending"] for row in store.consumers(session)}


def publish_all(broker: JetStream | Kafka, count: int) -> None:
    """Publish events until the broker has them all."""
    wanted = [message(number) for number in range(count)]
    eventually(lambda: broker.publish(wanted)[1] is None, "the events are published", 30)


def consume(url: str, name: str, events: int, left: int = 0) -> None:
    """Consume events from NATS as a durable consumer; the last `left` of them are not acknowledged."""

    async def work() -> None:
        client = await nats.connect(url)
        try:
            consumer = await client.jetstream().pull_subscribe("tandem.*.order.>", name, stream="TANDEM")
            if events:
                for message in (await consumer.fetch(events, timeout=5))[: events - left]:
                    await message.ack_sync()
        finally:
            await client.close()

    asyncio.run(work())


def test_the_durable_consumers_of_nats_are_stored_with_the_events_they_have_not_acknowledged(
    databases: Databases, session: Session, tmp_path: Path
) -> None:
    with NatsServer(tmp_path) as server:
        broker = JetStream(settings(server.url))
        assert broker.consumers() == [], "there is no stream yet"
        publish_all(broker, 10)
        consume(server.url, "shop", events=6, left=2)
        consume(server.url, "books", events=0)
        with watching(databases, broker):
            eventually(lambda: stored(session) == {"books": 10, "shop": 6}, "both are stored")
            consume(server.url, "books", events=10)
            eventually(lambda: stored(session) == {"shop": 6, "books": 0}, "they are up to date")


def test_a_consumer_that_is_gone_is_forgotten_and_old_ones_are_no_metric(
    databases: Databases, session: Session
) -> None:
    database = Database(databases.order, "publisher-test")
    gauges = DatabaseGauges("order")
    commands.add_gauges(gauges)
    gauges.use(database)
    registry = CollectorRegistry()
    registry.register(gauges)
    store.set_consumers(session, [Consumer("shop", 3), Consumer("books", 1)])
    store.set_consumers(session, [Consumer("shop", 4)])
    sample = b'events_consumer_pending{consumer="shop"} 4.0'
    assert sample in generate_latest(registry)
    assert b"books" not in generate_latest(registry)
    session.execute("UPDATE event_consumers SET at = now() - interval '3 minutes'")
    assert sample not in generate_latest(registry)
    store.set_consumers(session, [])
    assert stored(session) == {}
    database.close()


def test_the_hundred_consumers_that_are_furthest_behind_are_stored(session: Session) -> None:
    store.set_consumers(session, [Consumer(f"c{number}", number) for number in range(150)])
    assert stored(session) == {f"c{number}": number for number in range(50, 150)}
    store.set_consumers(session, [Consumer("x" * 300, 1), Consumer("x" * 250, 2)])
    assert stored(session) == {"x" * 200: 2}


def test_a_user_who_may_not_ask_publishes_all_the_same(databases: Databases, session: Session, tmp_path: Path) -> None:
    more = """authorization { users: [
        {user: "operator", password: "o"},
        {user: "publisher", password: "p", permissions: {publish: ["tandem.*.order.>"], subscribe: ["_INBOX.>"]}}]}"""
    with NatsServer(tmp_path, more=more) as server:
        as_publisher, as_operator = (server.url.replace("//", f"//{who}@") for who in ("publisher:p", "operator:o"))
        creating = JetStream(settings(as_operator))
        publish_all(creating, 1)
        creating.close()
        asking = JetStream(settings(as_publisher, timeout=0.5))
        with pytest.raises(ConsumersUnknown, match="(?i)permissions violation"):
            asking.consumers()
        with watching(databases, asking), publishing(databases, as_publisher):
            record(databases, f"m-{uuid.uuid4()}", orders=5)
            eventually(lambda: store.oldest_seconds(session) == 0.0, "all are published")
        assert stored(session) == {}


def test_the_groups_of_kafka_are_stored_with_the_events_behind_their_offsets(
    databases: Databases, session: Session, tmp_path: Path
) -> None:
    with KafkaServer(tmp_path) as server:
        broker = Kafka(settings(server.url))
        assert broker.consumers() == [], "there is no topic yet"
        publish_all(broker, 10)
        group = Group({"bootstrap.servers": server.plain, "group.id": "shop", "auto.offset.reset": "earliest"})
        group.subscribe([TOPIC])
        got = [eventually(lambda: group.poll(1), "an event", 30) for _ in range(4)]
        assert got[-1] is not None
        group.commit(message=got[-1], asynchronous=False)
        with watching(databases, broker):
            eventually(lambda: stored(session) == {"shop": 6}, "the group is stored", 30)
        group.close()
    with pytest.raises(ConsumersUnknown):
        Kafka(settings(server.url, timeout=0.5)).consumers()
