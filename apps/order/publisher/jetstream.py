"""Publishes messages to NATS JetStream, and awaits the acknowledgement of each."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header, StreamConfig

from chassis.http import authorities
from order.publisher import cloudevents
from order.publisher.broker import Consumer, ConsumersUnknown
from order.publisher.cloudevents import Message
from order.publisher.config import Settings

T = TypeVar("T")

IN_FLIGHT = 128
"""How many messages may wait for their acknowledgement at the same time."""

FAILURES = (nats.errors.Error, OSError, ValueError)
"""What the client raises if the broker is away, is too slow (TimeoutError is an OSError), or refuses."""

# Without reconnects of the client's own: it would send, after one, what was given up before.
_OPTIONS: dict[str, Any] = {"allow_reconnect": False, "ping_interval": 5, "max_outstanding_pings": 2}


class _Client(Client):
    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # The library uses TLS if the server's INFO message requires it. That message is not encrypted, so an attacker
        # could change it, and the library would send the credentials in clear text.
        server = self._current_server
        if initial_connection and server and server.uri.scheme == "tls" and not info.get("tls_required"):
            raise nats.errors.Error("nats: the server does not use TLS")
        await super()._process_info(info, initial_connection)


class JetStream:
    """A connection to JetStream, opened when it is needed and dropped after each failure.

    The client library is asynchronous, so it runs in an event loop of its own, in a thread. It responds to the broker's
    pings there, also while nothing is published.
    """

    def __init__(self, settings: Settings) -> None:
        """The thread starts with the first call of `publish`."""
        self._settings = settings
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusal = ""

    def publish(self, messages: Sequence[Message]) -> tuple[set[str], str | None]:
        """Publish messages. Returns the ids of those that were acknowledged, and the reason if some were not.

        Messages of one order are published one after the other, each when the one before is acknowledged. After a
        failure, no further message of the order is published. So a stream never has an event before an earlier one of
        its order. Takes about four times the setting `EVENTS_TIMEOUT` at most.
        """
        return self._run(self._publish(messages))

    def consumers(self) -> list[Consumer]:
        """Return up to 256 durable consumers of the stream. Raises ConsumersUnknown.

        Events are pending that were not delivered, or delivered and not acknowledged.
        """
        return self._run(self._consumers())

    def close(self) -> None:
        """Close the connection, and stop the thread."""
        if self._loop is not None:
            self._run(self._drop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="jetstream", daemon=True).start()
        running: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return running.result()

    async def _publish(self, messages: Sequence[Message]) -> tuple[set[str], str | None]:
        acknowledged: set[str] = set()
        try:
            stream = await self._connected()
        except FAILURES as error:
            await self._drop()
            return acknowledged, self._reason(error)
        orders: dict[str, list[Message]] = {}
        for message in messages:
            orders.setdefault(message.order_id, []).append(message)
        room, failures = asyncio.Semaphore(IN_FLIGHT), list[BaseException]()

        async def publish_in_order(of_order: Sequence[Message]) -> None:
            try:
                for message in of_order:
                    async with room:
                        await self._send(stream, message)
                    acknowledged.add(message.id)
            except FAILURES as error:
                failures.append(error)

        try:
            # A round ends while its lease is held, and what it has by then counts.
            async with asyncio.timeout(2 * self._settings.timeout):
                await asyncio.gather(*map(publish_in_order, orders.values()))
        except TimeoutError as error:
            failures.append(error)
        if failures:
            if any(isinstance(failure, nats.js.errors.NoStreamResponseError) for failure in failures):
                await self._create_stream(stream)
            await self._drop()
            return acknowledged, self._reason(failures[0])
        return acknowledged, None

    async def _consumers(self) -> list[Consumer]:
        try:
            stream = await self._connected()
            async with asyncio.timeout(self._settings.timeout):
                found = await stream.consumers_info(self._settings.stream)
        except nats.js.errors.NotFoundError:
            return []  # the stream is not created yet
        except FAILURES as error:
            await self._drop()
            raise ConsumersUnknown(self._reason(error)) from error
        return [
            Consumer(each.config.durable_name, (each.num_pending or 0) + (each.num_ack_pending or 0))
            for each in found
            if each.config.durable_name
        ]

    async def _send(self, stream: JetStreamContext, message: Message) -> None:
        await stream.publish(
            message.subject,
            message.structured(),
            timeout=self._settings.timeout,
            stream=self._settings.stream,
            headers={Header.MSG_ID: message.id, "Content-Type": cloudevents.CONTENT_TYPE},
        )

    async def _connected(self) -> JetStreamContext:
        """Return the context of a connection. Raises one of `FAILURES` if no server accepts one in time."""
        if self._client is None or not self._client.is_connected:
            await self._drop()
            await self._connect()
        assert self._client is not None
        return self._client.jetstream(timeout=self._settings.timeout)

    async def _connect(self) -> None:
        servers, failure = list(self._settings.servers), None
        random.shuffle(servers)
        seconds, credentials = self._settings.timeout / len(servers), self._settings.credentials
        for server in servers:
            client = _Client()
            try:
                async with asyncio.timeout(seconds):
                    await client.connect(
                        [server],
                        name="tandem-publisher",
                        error_cb=self._refused,
                        user_jwt_cb=credentials.user_jwt if credentials else None,
                        signature_cb=credentials.sign if credentials else None,
                        tls=self._tls(),
                        **_OPTIONS,
                    )
            except FAILURES as error:
                failure = error
                await self._close(client)
            else:
                self._client = client
                return
        assert failure is not None
        raise failure

    def _tls(self) -> ssl.SSLContext:
        # Also for nats://, because the server may require TLS.
        context = ssl.create_default_context(cafile=authorities.bundle())
        if self._settings.client_certificate:
            descriptor, path = tempfile.mkstemp(prefix="client-certificate-")  # the ssl module reads a file only
            try:
                with open(descriptor, "w") as file:
                    file.write(f"{self._settings.client_certificate}\n{self._settings.client_key}\n")
                context.load_cert_chain(path)
            finally:
                os.unlink(path)
        return context

    async def _create_stream(self, stream: JetStreamContext) -> None:
        """Create the stream if it does not exist. A failure is noted, and the next round fails again."""
        config = StreamConfig(
            name=self._settings.stream, subjects=[cloudevents.SUBJECTS], num_replicas=self._settings.replicas
        )
        try:
            async with asyncio.timeout(self._settings.timeout):
                try:
                    await stream.stream_info(self._settings.stream)
                except nats.js.errors.NotFoundError:
                    await stream.add_stream(config)
        except FAILURES as error:
            self._refusal = self._reason(error)

    async def _refused(self, error: Exception) -> None:
        """Note an error that the server sent. The call that caused it fails later, because there is no response."""
        self._refusal = str(error)

    def _reason(self, error: BaseException) -> str:
        refusal, self._refusal = self._refusal, ""
        text = str(error) or type(error).__name__
        return text if not refusal or refusal == text else f"{text} ({refusal})"

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await self._close(client)

    async def _close(self, client: Client) -> None:
        """Close a connection, also one that was not opened completely."""
        try:
            async with asyncio.timeout(1):
                await client.close()
        except FAILURES as error:
            self._refusal = str(error)
