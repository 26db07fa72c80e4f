"""A Kafka cluster of three servers loses the leader of a partition while events are published."""

from __future__ import annotations

import threading
import uuid
from functools import partial
from pathlib import Path

from chassis.postgres.database import Database
from order.publisher import commands, store
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.kafka_server import KafkaCluster, count_messages, received
from tests.support.publishing import assert_in_order, publishing, record, settings


def await_more(cluster: KafkaCluster) -> None:
    """Wait until the topic has a hundred more events."""
    had = count_messages(cluster.plain)
    eventually(lambda: count_messages(cluster.plain) > had + 100, "events arrive", 90)


def test_every_event_arrives_in_order_although_the_leader_is_killed(databases: Databases, tmp_path: Path) -> None:
    merchants = [f"m-{uuid.uuid4()}" for _ in range(4)]
    ending, ids = threading.Event(), list[str]()

    def write(merchant: str) -> None:
        while not ending.wait(0.2):
            ids.extend(record(databases, merchant, orders=5, versions=4))

    session = Database(databases.order, "publisher-test").session()
    with KafkaCluster(tmp_path) as cluster:
        broker = commands.connect(settings(cluster.url, replicas=3))
        with publishing(databases, broker):
            writers = [threading.Thread(target=write, args=(merchant,)) for merchant in merchants]
            for writer in writers:
                writer.start()
            try:
                await_more(cluster)
                leader = cluster.leader()
                leader.kill()
                eventually(partial(cluster.leader), "a new leader", 60)
                await_more(cluster)
                leader.start()
                await_more(cluster)
            finally:
                ending.set()
                for writer in writers:
                    writer.join()
            eventually(lambda: store.oldest_seconds(session) == 0.0, "all are published", 120)
        arrived = [event for _, _, event in received(cluster.plain)]
    session.close()
    assert {event["id"] for event in arrived} == set(ids), "every committed event arrived, and no other"
    assert_in_order(arrived)
