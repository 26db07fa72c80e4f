"""The publisher as the process that the chart runs: killed at any moment, and stopped by SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from functools import partial
from pathlib import Path

import requests

from chassis.postgres.database import Database
from ci import ROOT
from ci.laptop import launch
from ci.laptop.ports import free_port
from order.publisher import store
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.nats_server import NatsServer, count_messages, received
from tests.support.publishing import assert_in_order, record
from tests.support.settings import environment


class Process:
    """`flask --app order publisher`, with the role of the service's database."""

    def __init__(self, databases: Databases, url: str, folder: Path) -> None:
        self.admin = free_port()
        env = {
            **os.environ,
            **environment(databases.service_url("order"), {"EVENTS_URL": url, "EVENTS_TIMEOUT": "0.5"}),
            "PYTHONPATH": str(ROOT / "apps"),
            "RELAY_ADMIN_PORT": str(self.admin),
            "HOST": "127.0.0.1",
        }
        self._log = (folder / "publisher.log").open("ab")
        argv = launch.with_parent([sys.executable, "-m", "flask", "--app", "order", "publisher"], "KILL")
        self.running = subprocess.Popen(argv, env=env, stdout=self._log, stderr=self._log)

    def end(self, by: signal.Signals) -> int:
        """End the process by a signal. Returns its exit code."""
        self.running.send_signal(by)
        try:
            return self.running.wait(30)
        finally:
            self._log.close()


def has_more_than(nats: NatsServer, count: int) -> bool:
    return count_messages(nats.url) > count


def test_every_event_arrives_in_order_although_the_publisher_is_killed(databases: Databases, tmp_path: Path) -> None:
    ending, ids = threading.Event(), list[str]()

    def write() -> None:
        merchant = f"m-{uuid.uuid4()}"
        while not ending.wait(0.05):
            ids.extend(record(databases, merchant, orders=5, versions=4))

    with NatsServer(tmp_path) as nats:
        writer = threading.Thread(target=write)
        writer.start()
        count = 0
        try:
            for _ in range(4):
                process = Process(databases, nats.url, tmp_path)
                try:
                    eventually(partial(has_more_than, nats, count), "it publishes", 60)
                finally:
                    process.end(signal.SIGKILL)
                count = count_messages(nats.url)
        finally:
            ending.set()
            writer.join()
        session = Database(databases.order, "publisher-test").session()
        process = Process(databases, nats.url, tmp_path)
        try:
            eventually(lambda: store.oldest_seconds(session) == 0.0, "all are published", 60)
            admin = f"http://127.0.0.1:{process.admin}"
            assert requests.get(f"{admin}/livez", timeout=10).status_code == 200
            shown = requests.get(f"{admin}/metrics", timeout=10).text
            assert 'events_unpublished_oldest_seconds{tandem="order"} 0.0' in shown
            assert 'events_published_total{outcome="acknowledged",tandem="order"}' in shown
        finally:
            code = process.end(signal.SIGTERM)
        assert code == 0
        assert store.claim(session, 60) is not None, "a publisher that is stopped gives its lease back"
        session.close()
        events = [event for _, _, event in received(nats.url)]
    assert {event["id"] for event in events} == set(ids)
    assert_in_order(events)
