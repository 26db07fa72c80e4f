"""A JetStream cluster of three servers loses the leader of the stream while events are published."""

from __future__ import annotations

import threading
import uuid
from functools import partial
from pathlib import Path

from chassis.postgres.database import Database
from order.publisher import store
from order.publisher.jetstream import JetStream
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.nats_server import NatsCluster, count_messages, received
from tests.support.publishing import assert_in_order, publishing, record, settings


def await_more(cluster: NatsCluster) -> None:
    """Wait until the stream has a hundred more events."""
    had = count_messages(cluster.urls)
    eventually(lambda: count_messages(cluster.urls) > had + 100, "events arrive", 60)


def test_every_event_arrives_in_order_although_the_leader_is_killed_twice(databases: Databases, tmp_path: Path) -> None:
    merchants = [f"m-{uuid.uuid4()}" for _ in range(4)]
    ending, ids = threading.Event(), list[str]()

    def write(merchant: str) -> None:
        while not ending.wait(0.1):
            ids.extend(record(databases, merchant, orders=5, versions=4))

    session = Database(databases.order, "publisher-test").session()
    with NatsCluster(tmp_path) as cluster:
        broker = JetStream(settings(cluster.urls, replicas=3))
        with publishing(databases, broker):
            writers = [threading.Thread(target=write, args=(merchant,)) for merchant in merchants]
            for writer in writers:
                writer.start()
            try:
                for _ in range(2):
                    leader = cluster.leader("TANDEM")
                    await_more(cluster)
                    leader.kill()
                    eventually(partial(cluster.leader, "TANDEM"), "a new leader", 30)
                    await_more(cluster)
                    leader.start()
                    leader.await_ready()
            finally:
                ending.set()
                for writer in writers:
                    writer.join()
            eventually(lambda: store.oldest_seconds(session) == 0.0, "all are published", 60)
        arrived = [event for _, _, event in received(cluster.urls)]
    session.close()
    assert {event["id"] for event in arrived} == set(ids), "every committed event arrived, and no other"
    assert_in_order(arrived)
