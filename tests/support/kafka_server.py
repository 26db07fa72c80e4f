"""Real Kafka servers in KRaft mode, as processes, alone or as a cluster. `make kafka` fetches the program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ci.laptop import launch
from ci.laptop.ports import free_port
from tests.support import kafka_jars
from tests.support.broker_process import BrokerProcess
from tests.support.eventually import eventually

TOPIC = "tandem"

_JAVA = (
    *("java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{kafka_jars.FOLDER}/*"),
)


def require() -> None:
    """Skip the test if Kafka cannot run here. The reason says how to get it."""
    if reason := kafka_jars.missing():
        pytest.skip(reason)


class KafkaServer(BrokerProcess):
    """A server that runs while the `with` block does. Its messages survive `stop`, `kill` and `start`.

    It has a listener for the publisher, and a plain one for the tests. `more` is added to its configuration, and
    `users` (SCRAM-SHA-512) to its metadata.
    """

    def __init__(
        self, folder: Path, node: int = 1, *, more: str = "", protocol: str = "PLAINTEXT", users: Sequence[str] = ()
    ) -> None:
        require()
        super().__init__(f"Kafka {node}", folder / f"kafka-{node}", seconds=120)
        self.node, self.port, self.plain_port, self.controller_port = node, free_port(), free_port(), free_port()
        self.voters = f"{node}@127.0.0.1:{self.controller_port}"
        self.copies = 1
        self._more, self._protocol, self._users = more, protocol, users

    @property
    def servers(self) -> str:
        """The server's address for the publisher."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the topic of the tests, without TLS and password."""
        return f"kafka://{self.servers}/{TOPIC}"

    @property
    def plain(self) -> str:
        """The server's address for the tests."""
        return f"127.0.0.1:{self.plain_port}"

    def start(self) -> None:
        """Start the server. Does not wait until it is ready."""
        config = self._folder / "server.properties"
        if not config.exists():
            self._folder.mkdir(parents=True)
            config.write_text(self._configuration())
            users = [part for user in self._users for part in ("--add-scram", user)]
            command = [*_JAVA, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(config)]
            subprocess.run([*command, *users], capture_output=True, check=True, timeout=120)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                launch.with_parent([*_JAVA, "kafka.Kafka", str(config)], "KILL"), stdout=log, stderr=log
            )

    def _configuration(self) -> str:
        listeners = {"CLIENT": self.port, "PLAIN": self.plain_port, "CONTROLLER": self.controller_port}
        advertised = f"CLIENT://localhost:{self.port},PLAIN://127.0.0.1:{self.plain_port}"
        return f"""process.roles=broker,controller
node.id={self.node}
controller.quorum.voters={self.voters}
listeners={",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())}
advertised.listeners={advertised}
listener.security.protocol.map=CLIENT:{self._protocol},PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
log.dirs={self._folder}/data
offsets.topic.replication.factor={self.copies}
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=1
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
{self._more}
"""

    def is_ready(self) -> bool:
        """Return whether the server accepts clients, and no broker is missing."""
        try:
            return len(_admin(self.plain).list_topics(timeout=2).brokers) == self.copies
        except KafkaException:
            return False


class KafkaCluster:
    """Three servers that form a cluster, while the `with` block runs."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [KafkaServer(folder, number) for number in (1, 2, 3)]
        voters = ",".join(node.voters for node in self.nodes)
        for node in self.nodes:
            node.voters, node.copies = voters, 3

    @property
    def url(self) -> str:
        """The URL of the topic of the tests."""
        return f"kafka://{','.join(node.servers for node in self.nodes)}/{TOPIC}"

    @property
    def plain(self) -> str:
        """The addresses for the tests."""
        return ",".join(node.plain for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.await_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()

    def leader(self, partition: int = 0) -> KafkaServer:
        """Return the server that leads a partition of the topic."""
        leader = eventually(lambda: self._leader(partition), f"partition {partition} has a leader", 60)
        assert leader is not None
        return leader

    def _leader(self, partition: int) -> KafkaServer | None:
        try:
            found = _admin(self.plain).list_topics(TOPIC, timeout=2).topics[TOPIC].partitions
        except KafkaException:
            return None
        leader = found[partition].leader if partition in found else -1
        return next((node for node in self.nodes if node.node == leader and node._runs()), None)


def count_messages(servers: str, topic: str = TOPIC) -> int:
    """Return how many messages a topic has; 0 if there is no such topic."""
    consumer = Consumer(_client(servers))
    try:
        return sum(_ends(consumer, topic).values())
    finally:
        consumer.close()


def received(servers: str, topic: str = TOPIC) -> list[tuple[int, str, dict[str, Any]]]:
    """Return all messages of a topic, each partition's oldest first: partition, key and the event as a CloudEvent.

    Empty without the topic.
    """
    consumer = Consumer(_client(servers))
    try:
        ends = {partition: end for partition, end in _ends(consumer, topic).items() if end}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        found: list[tuple[int, str, dict[str, Any]]] = []
        deadline = time.monotonic() + 60
        while ends:
            assert time.monotonic() < deadline, f"no messages from partitions {ends}"
            for message in consumer.consume(500, timeout=0.5):
                assert message.error() is None, message.error()
                partition, offset = message.partition() or 0, message.offset() or 0
                found.append((partition, (message.key() or b"").decode(), _event(message)))
                if offset + 1 >= ends.get(partition, 0):
                    ends.pop(partition, None)
        return found
    finally:
        consumer.close()


def _event(message: Any) -> dict[str, Any]:
    headers = {name: value.decode() for name, value in message.headers() or ()}
    event: dict[str, Any] = {name.removeprefix("ce_"): value for name, value in headers.items()}
    return {**event, "orderversion": int(event["orderversion"]), "data": orjson.loads(message.value())}


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """Return the offset at the end of each partition. Waits while a partition has no leader that knows it."""
    ends: dict[int, int] = {}

    def look() -> bool:
        try:
            found = consumer.list_topics(timeout=10).topics.get(topic)
            for partition in found.partitions if found else ():
                offsets = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                ends[partition] = offsets[1] if offsets else 0
        except KafkaException:
            return False
        return True

    eventually(look, f"the ends of the topic {topic}", 60)
    return ends


def _client(servers: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": servers,
        "group.id": "tests",
        "enable.auto.commit": False,
        "log_level": 2,
        "reconnect.backoff.max.ms": 200,
        "auto.offset.reset": "earliest",
    }


def _admin(servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers, "reconnect.backoff.max.ms": 200, "log_level": 2})
