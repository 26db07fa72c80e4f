"""Real NATS servers with JetStream, as processes, alone or as a cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import nats
import requests
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from ci.laptop import launch
from ci.laptop.nats import program
from ci.laptop.ports import free_port
from order.publisher import cloudevents
from tests.support.broker_process import BrokerProcess
from tests.support.eventually import eventually

T = TypeVar("T")


class NatsServer(BrokerProcess):
    """A server that runs while the `with` block does. Its messages survive `stop`, `kill` and `start`.

    `more` is added to its configuration.
    """

    def __init__(self, folder: Path, name: str = "alone", *, more: str = "") -> None:
        super().__init__(f"NATS {name}", folder / name, seconds=60)
        self.name, self.port, self._monitor, self._more = name, free_port(), free_port(), more

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://127.0.0.1:{self.port}"

    def join(self, name: str, port: int, routes: Sequence[int]) -> None:
        """Make the server part of a cluster, before it is started."""
        peers = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes if route != port)
        self._more += f'\ncluster {{ name: {name}, listen: "127.0.0.1:{port}", routes: [{peers}] }}'

    def start(self) -> None:
        """Start the server. Does not wait until it is ready."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "nats.conf"
        config.write_text(
            f'server_name: {self.name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self._monitor}"\n'
            f'jetstream {{ store_dir: "{self._folder}/store" }}\n{self._more}\n'
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                launch.with_parent([program(), "-c", str(config)], "KILL"), stdout=log, stderr=log
            )

    def is_ready(self) -> bool:
        """Return whether the server accepts clients, and its part of JetStream is up to date."""
        try:
            return requests.get(f"http://127.0.0.1:{self._monitor}/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False


class NatsCluster:
    """Three servers that form a cluster, while the `with` block runs."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        self.servers = [NatsServer(folder, f"n{number}") for number in range(3)]
        for server, port in zip(self.servers, ports, strict=True):
            server.join("tandem", port, ports)

    @property
    def urls(self) -> str:
        """The URLs of all servers, separated by commas."""
        return ",".join(server.url for server in self.servers)

    def __enter__(self) -> Self:
        for server in self.servers:
            server.start()
        try:
            for server in self.servers:
                server.await_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.kill()

    def leader(self, stream: str) -> NatsServer:
        """Return the server that leads a stream."""
        name = eventually(lambda: self._leader(stream), f"the stream {stream} has a leader", 30)
        return next(server for server in self.servers if server.name == name)

    def _leader(self, stream: str) -> str | None:
        try:
            info = stream_info(self.urls, stream)
        except (nats.errors.Error, OSError):
            return None
        return info.cluster.leader if info.cluster else None


def stream_info(urls: str, stream: str) -> StreamInfo:
    """Return what the servers say of a stream."""

    async def ask() -> StreamInfo:
        client = await nats.connect(urls.split(","), connect_timeout=2, max_reconnect_attempts=3)
        try:
            return await client.jetstream(timeout=3).stream_info(stream)
        finally:
            await client.close()

    return _run(ask())


def count_messages(urls: str, stream: str = "TANDEM") -> int:
    """Return how many messages a stream has; 0 if there is no such stream."""
    try:
        return stream_info(urls, stream).state.messages
    except NotFoundError:
        return 0


def received(urls: str, stream: str = "TANDEM", **options: Any) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """Return all messages of a stream, oldest first: subject, headers and the event. Empty without the stream."""

    async def read() -> list[tuple[str, dict[str, str], dict[str, Any]]]:
        client = await nats.connect(urls.split(","), connect_timeout=2, max_reconnect_attempts=3, **options)
        try:
            streams = client.jetstream(timeout=5)
            found: list[tuple[str, dict[str, str], dict[str, Any]]] = []
            try:
                count = (await streams.stream_info(stream)).state.messages
            except NotFoundError:
                count = 0
            if not count:
                return found
            config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
            consumer = await streams.pull_subscribe("tandem.>", stream=stream, config=config)
            while len(found) < count:
                for message in await consumer.fetch(min(500, count - len(found)), timeout=5):
                    found.append((message.subject, dict(message.headers or {}), json.loads(message.data)))
                    await message.ack()
            return found
        finally:
            await client.close()

    return _run(read())


def publish_again(url: str, bodies: Sequence[bytes]) -> None:
    """Publish events without the header by which the broker discards duplicates."""

    async def publish() -> None:
        client = await nats.connect(url, connect_timeout=2, max_reconnect_attempts=3)
        try:
            for body in bodies:
                await client.jetstream().publish("tandem.demo.order.order.placed", body)
        finally:
            await client.close()

    _run(publish())


def create_consumer(url: str, name: str) -> None:
    """Create the stream of the publisher, and a durable consumer of it."""

    async def create() -> None:
        client = await nats.connect(url, connect_timeout=2, max_reconnect_attempts=3)
        try:
            await client.jetstream().add_stream(StreamConfig(name="TANDEM", subjects=[cloudevents.SUBJECTS]))
            await client.jetstream().add_consumer("TANDEM", ConsumerConfig(durable_name=name))
        finally:
            await client.close()

    _run(create())


def _run(work: Coroutine[Any, Any, T]) -> T:
    async def within() -> T:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(within())
