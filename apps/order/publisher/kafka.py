"""Publishes messages to a topic of Apache Kafka, and awaits the acknowledgement of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from chassis.http import authorities
from order.publisher.broker import Consumer, ConsumersUnknown
from order.publisher.cloudevents import Message
from order.publisher.config import KafkaSettings, Settings

BATCH = 16 * 1024
"""Bytes of the messages in one request for a partition. A larger message is alone in its request.

So a message that is larger than the topic allows is refused alone.
"""

GROUPS = 100
"""How many groups of consumers are asked for, at most."""

FAILURES = (KafkaException, BufferError, ValueError)
"""What the client raises if a setting is invalid or it cannot accept a message."""

_NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)


class Kafka:
    """A producer for Kafka, created when it is needed. It connects again by itself.

    The producer is idempotent: what it sends again by itself is stored once. A message is acknowledged when all
    replicas that are in sync have it. A message that is given up can still arrive: it is published again in the next
    round, so this is a duplicate, and no later event of its order was published before.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is sent before the first call of `publish`."""
        assert settings.kafka is not None
        self._settings, self._kafka = settings, settings.kafka
        self._producer: Producer | None = None
        self._refusal = ""

    def publish(self, messages: Sequence[Message]) -> tuple[set[str], str | None]:
        """Publish messages. Returns the ids of those that were acknowledged, and the reason if some were not.

        Messages of one order are published one after the other, each when the one before is acknowledged. After a
        failure, no further message of the order is published. So a partition never has an event before an earlier one
        of its order. Takes about four times the setting `EVENTS_TIMEOUT` at most.
        """
        try:
            if self._producer is None:
                self._producer = Producer(self._producer_configuration())
            sending = _Sending(self._producer, self._kafka.topic, messages)
            sending.run(2 * self._settings.timeout)
        except FAILURES as error:
            self._producer = None
            return set(), self._reason(_error(error))
        if not sending.failures:
            return sending.acknowledged, None
        if any(error.code() in _NO_TOPIC for error in sending.failures):
            self._create_topic()
            self.close()  # the producer would not look for the topic again for some time
        if any(error.fatal() or error.code() == KafkaError._FATAL for error in sending.failures):
            self.close()
        return sending.acknowledged, self._reason(sending.failures[0])

    def consumers(self) -> list[Consumer]:
        """Return up to 100 groups that have offsets in the topic. Raises ConsumersUnknown.

        Events are pending that are behind the offset of a group; of a partition without one, all that the topic has.
        """
        try:
            return self._consumers(AdminClient(self._client_configuration()))
        except (*FAILURES, TimeoutError) as error:
            raise ConsumersUnknown(self._reason(_error(error))) from error

    def _consumers(self, admin: AdminClient) -> list[Consumer]:
        seconds = self._settings.timeout
        topic = admin.list_topics(self._kafka.topic, timeout=seconds).topics.get(self._kafka.topic)
        partitions = [TopicPartition(self._kafka.topic, each) for each in (topic.partitions if topic else ())]
        if not partitions:
            return []  # the topic is not created yet
        ends = self._ends(partitions)
        groups = admin.list_consumer_groups(request_timeout=seconds).result(seconds).valid[:GROUPS]
        asked = [
            admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group.group_id, partitions)], request_timeout=seconds
            )[group.group_id]
            for group in groups
        ]
        found = []
        for each in asked:
            group = each.result(seconds)
            offsets = {one.partition: one.offset for one in group.topic_partitions}
            if any(offset >= 0 for offset in offsets.values()):
                behind = (last - max(first, offsets.get(partition, -1)) for partition, (first, last) in ends.items())
                found.append(Consumer(group.group_id, sum(max(0, count) for count in behind)))
        return found

    def _ends(self, partitions: list[TopicPartition]) -> dict[int, tuple[int, int]]:
        """Return the first and the last offset of each partition. Raises one of `FAILURES`."""
        # It has to name a group, but does not join it.
        consumer = KafkaConsumer(self._client_configuration() | {"group.id": "tandem-publisher"})
        try:
            return {
                each.partition: consumer.get_watermark_offsets(each, timeout=self._settings.timeout) or (0, 0)
                for each in partitions
            }
        finally:
            consumer.close()

    def close(self) -> None:
        """Drop the producer. Messages that are not acknowledged yet are given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def _client_configuration(self) -> dict[str, Any]:
        """Return the configuration that every client needs."""
        kafka, milliseconds = self._kafka, int(1000 * self._settings.timeout)
        configuration: dict[str, Any] = {
            "bootstrap.servers": kafka.servers,
            "client.id": "tandem-publisher",
            "security.protocol": _protocol(kafka),
            "socket.timeout.ms": min(max(10, milliseconds), 300_000),
            "socket.connection.setup.timeout.ms": max(1000, milliseconds),
            "reconnect.backoff.max.ms": 1000,
            "allow.auto.create.topics": False,  # the brokers' defaults for a topic keep one copy
            "error_cb": self._refused,
            "log_level": 2,  # without each attempt to connect, which the library would write to stderr
        }
        if kafka.user:
            configuration |= {
                "sasl.mechanism": kafka.mechanism,
                "sasl.username": kafka.user,
                "sasl.password": kafka.password,
            }
        if kafka.tls:
            configuration["ssl.ca.location"] = authorities.bundle()
            if self._settings.client_certificate:
                configuration["ssl.certificate.pem"] = self._settings.client_certificate
                configuration["ssl.key.pem"] = self._settings.client_key
        return configuration

    def _producer_configuration(self) -> dict[str, Any]:
        return self._client_configuration() | {
            "enable.idempotence": True,  # includes acks=all
            # Until the acknowledgement, with retries.
            "message.timeout.ms": max(10, int(1000 * self._settings.timeout)),
            "topic.metadata.propagation.max.ms": 0,  # a topic that is missing is reported at once
            "partitioner": "murmur2_random",  # the same partition of a key as Java's clients choose
            "linger.ms": 1,
            "batch.size": BATCH,
        }

    def _create_topic(self) -> None:
        """Create the topic. A failure is noted, and the next round fails again."""
        settings = self._settings
        config = {"min.insync.replicas": "2"} if settings.replicas > 2 else {}
        topic = NewTopic(self._kafka.topic, settings.partitions, settings.replicas, config=config)
        try:
            # Kept until the result is there: the call ends with its client.
            admin = AdminClient(self._client_configuration())
            creating: Future[None] = admin.create_topics(
                [topic], request_timeout=settings.timeout, operation_timeout=settings.timeout
            )[self._kafka.topic]
            creating.result(settings.timeout)
        except (*FAILURES, TimeoutError) as error:
            failure = _error(error)
            if failure.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                self._refusal = failure.str()

    def _refused(self, error: KafkaError) -> None:
        """Note an error of a connection. The messages that wait for it fail later, by their deadline."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # says less than the error before it
            self._refusal = error.str()

    def _reason(self, error: KafkaError) -> str:
        refusal, self._refusal = self._refusal, ""
        text = error.str()
        return text if not refusal or refusal == text else f"{text} ({refusal})"


class _Sending:
    """One round: messages of each order one after the other, those of different orders at the same time.

    `poll` calls the callbacks of the library in the thread that calls it, so nothing here needs a lock.
    """

    def __init__(self, producer: Producer, topic: str, messages: Sequence[Message]) -> None:
        self.acknowledged: set[str] = set()
        self.failures: list[KafkaError] = []
        self._producer, self._topic = producer, topic
        self._orders: dict[str, deque[Message]] = {}
        for message in messages:
            self._orders.setdefault(message.order_id, deque()).append(message)
        self._waiting: set[str] = set()

    def run(self, seconds: float) -> None:
        """Publish until all messages are acknowledged or have failed, but no longer than `seconds`."""
        deadline = time.monotonic() + seconds
        for order in self._orders:
            self._next(order)
        while self._waiting and (left := deadline - time.monotonic()) > 0:
            self._producer.poll(left)
        if self._waiting:
            self.failures.append(KafkaError(KafkaError._TIMED_OUT, "no acknowledgement in time"))
        self._orders.clear()  # an acknowledgement that comes after the round starts nothing

    def _next(self, order: str) -> None:
        """Send the next message of an order, if it has one."""
        messages = self._orders.get(order)
        if not messages:
            return
        message = messages.popleft()

        def delivered(error: KafkaError | None, _: object) -> None:
            self._waiting.discard(message.id)
            if error is not None:
                self.failures.append(error)
            else:
                self.acknowledged.add(message.id)
                self._next(order)

        try:
            self._producer.produce(
                self._topic,
                value=message.data,
                key=message.order_id.encode(),
                headers=message.headers(),
                on_delivery=delivered,
            )
            self._waiting.add(message.id)
        except FAILURES as error:
            self.failures.append(_error(error))


def _protocol(kafka: KafkaSettings) -> str:
    return ("sasl_" if kafka.user else "") + ("ssl" if kafka.tls else "plaintext")


def _error(error: Exception) -> KafkaError:
    """Return the error that an exception of the library has, or one with its text."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    return KafkaError(KafkaError._FAIL, str(error) or type(error).__name__)
