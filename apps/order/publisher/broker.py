"""What a broker is to the publisher: NATS JetStream and Apache Kafka have this interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from order.publisher.cloudevents import Message


class ConsumersUnknown(Exception):
    """The broker did not say which consumers there are. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer of the events, and how many of them it has not acknowledged."""

    name: str
    pending: int


class Broker(Protocol):
    """Where events are published."""

    def publish(self, messages: Sequence[Message]) -> tuple[set[str], str | None]:
        """Publish messages. Returns the ids of those that were acknowledged, and the reason if some were not."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class WatchedBroker(Protocol):
    """A broker that says how far its consumers are behind."""

    def consumers(self) -> list[Consumer]:
        """Return the consumers that the broker remembers. Raises ConsumersUnknown."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
