"""Every event arrives at a real Kafka, as a CloudEvent in order, although the server or the publisher fails."""

from __future__ import annotations

import signal
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from chassis.postgres.database import Session
from order.publisher import store
from order.publisher.cloudevents import Message
from order.publisher.kafka import Kafka
from tests.integration.order.feed.test_feed import follow
from tests.integration.order.publisher.test_killed import Process
from tests.integration.order.publisher.test_refusals import last_error, message
from tests.integration.order.webhooks.test_events import place, post
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.publisher import clean, session
from tests.support.kafka_server import TOPIC, KafkaServer, count_messages, received
from tests.support.pair import Pair
from tests.support.publishing import assert_in_order, publishing, record, record_large, settings
from tests.unit.test_asyncapi_document import payload

__all__ = ["clean", "session"]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


def is_published(session: Session) -> bool:
    return store.oldest_seconds(session) == 0.0


def publish(url: str, *messages: Message, **changes: object) -> tuple[set[str], str | None]:
    """Publish with a producer of its own, until the server had time to create the topic."""
    broker = Kafka(settings(url, **changes))
    try:
        for _ in range(5):
            acknowledged, error = broker.publish(messages or [message()])
            if error is None:
                break
        return acknowledged, error
    finally:
        broker.close()


def test_each_step_of_an_order_arrives_as_a_cloud_event_in_one_partition(pair: Pair, kafka: KafkaServer) -> None:
    order = place(pair)
    post(pair, order, "refunds", {"amount": 100})
    with publishing(pair.databases, kafka.url):
        eventually(lambda: len(follow(pair.order, order_id=order["id"])) == 4, "the refund ended")
        eventually(lambda: [one[1] for one in received(kafka.plain)].count(order["id"]) == 4, "all arrived")
    arrived = [each for each in received(kafka.plain) if each[1] == order["id"]]
    assert len({partition for partition, _, _ in arrived}) == 1
    for (_, _, event), fed in zip(arrived, follow(pair.order, order_id=order["id"]), strict=True):
        assert event == {
            "specversion": "1.0",
            "id": fed["id"],
            "source": "/tandem/order",
            "type": fed["type"],
            "subject": order["id"],
            "time": fed["created_at"],
            "content-type": "application/json",
            "merchant": "demo",
            "orderversion": fed["version"],
            "data": {"order": fed["data"], "refund": fed["refund"]},
        }
        described = event | {"datacontenttype": event["content-type"]}
        assert list(payload().iter_errors(described)) == [], "docs/asyncapi describes it"


def test_the_topic_is_created_with_its_partitions_and_no_other_topic_appears(kafka: KafkaServer) -> None:
    assert publish(kafka.url) == ({"id-1"}, None)
    consumer = Consumer({"bootstrap.servers": kafka.plain, "group.id": "look"})
    topics = consumer.list_topics(timeout=10).topics
    consumer.close()
    assert [name for name in topics if not name.startswith("__")] == [TOPIC]
    assert len(topics[TOPIC].partitions) == 3


def test_a_key_is_in_the_partition_that_javas_clients_choose(kafka: KafkaServer) -> None:
    key = str(uuid.uuid4())
    publish(kafka.url, Message("id-key", key, "", {"id": "id-key", "orderversion": 1}, b"{}"))
    (found,) = [one for one, arrived, _ in received(kafka.plain) if arrived == key]
    assert found == (murmur2(key.encode()) & 0x7FFFFFFF) % 3


def murmur2(data: bytes) -> int:
    """Return the hash of org.apache.kafka.common.utils.Utils.murmur2, as an unsigned number."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_an_event_that_kafka_refuses_holds_back_the_later_ones_of_its_order_only(
    databases: Databases, tmp_path: Path
) -> None:
    merchants = [f"m-{uuid.uuid4()}" for _ in range(2)]
    large = record_large(databases, merchants[0], 40_000)
    ids = record(databases, merchants[0], orders=20) + record(databases, merchants[1], orders=20, versions=2)
    with KafkaServer(tmp_path, more="message.max.bytes=20000") as server:
        with publishing(databases, server.url):
            eventually(lambda: {event["id"] for _, _, event in received(server.plain)} >= set(ids), "the others arrive")
            eventually(lambda: "too large" in last_error(databases), "the reason is kept")
        assert large not in {key for _, key, _ in received(server.plain)}


def test_every_event_arrives_in_order_although_kafka_is_killed_and_started_again(
    databases: Databases, session: Session, tmp_path: Path
) -> None:
    ids, ending = list[str](), threading.Event()

    def write() -> None:
        merchant = f"m-{uuid.uuid4()}"
        while not ending.wait(0.1):
            ids.extend(record(databases, merchant, orders=5, versions=4))

    server = KafkaServer(tmp_path)
    with server, publishing(databases, server.url):
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(2):
                had = count_messages(server.plain)
                eventually(lambda had=had: count_messages(server.plain) > had + 100, "events arrive", 60)  # type: ignore[misc]
                server.kill()
                eventually(lambda: last_error(databases) != "None", "the publisher notices", 60)
                assert (store.oldest_seconds(session) or 0) > 0
                server.start()
                server.await_ready()
        finally:
            ending.set()
            writer.join()
        eventually(partial(is_published, session), "all are published", 60)
        arrived = received(server.plain)
    assert {event["id"] for _, _, event in arrived} == set(ids), "every committed event arrived, and no other"
    assert_in_order(event for _, _, event in arrived)
    partitions = defaultdict(set)
    for number, key, event in arrived:
        assert key == event["subject"]
        partitions[key].add(number)
    assert max(map(len, partitions.values())) == 1


def test_every_event_arrives_although_the_publisher_is_killed_and_sigterm_ends_it(
    databases: Databases, session: Session, kafka: KafkaServer, tmp_path: Path
) -> None:
    merchant, ids = f"m-{uuid.uuid4()}", list[str]()
    for by in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        had = count_messages(kafka.plain)
        ids += record(databases, merchant, orders=30, versions=4)
        process = Process(databases, kafka.url, tmp_path)
        try:
            if by == signal.SIGTERM:
                eventually(partial(is_published, session), "all are published", 60)
            eventually(lambda had=had: count_messages(kafka.plain) > had, "it publishes", 60)  # type: ignore[misc]
        finally:
            code = process.end(by)
    assert code == 0
    assert store.claim(session, 60) is not None, "a publisher that is stopped gives its lease back"
    events = [event for _, _, event in received(kafka.plain) if event.get("merchant") == merchant]
    assert {event["id"] for event in events} == set(ids)
    assert_in_order(events)


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        broker = Kafka(settings(f"kafka://127.0.0.1:{listener.getsockname()[1]}/t", timeout=0.5))
        for _ in range(2):
            began = time.monotonic()
            acknowledged, error = broker.publish([message(1), message(2)])
            assert time.monotonic() - began < 3
            assert not acknowledged
            assert error in ("no acknowledgement in time", "Local: Message timed out")
        broker.close()


def test_nobody_listens_and_the_reason_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    acknowledged, error = Kafka(settings(f"kafka://127.0.0.1:{port}/t", timeout=0.5)).publish([message()])
    assert not acknowledged
    assert "Connection refused" in str(error)
