"""Events as CloudEvents 1.0, for the brokers that they are published to, and the subjects of NATS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
"""Content type of a whole event in JSON (the structured mode of CloudEvents), which NATS gets."""

DATA_CONTENT_TYPE = "application/json"
"""Content type of `data`. In Kafka's messages the attributes are headers (the binary mode of CloudEvents)."""

PREFIX = "tandem"
"""The first token of each subject."""

SUBJECTS = f"{PREFIX}.*.order.>"
"""The subjects of all events of all merchants."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event to publish. `attributes` are those of the CloudEvent; `data` is JSON."""

    id: str
    order_id: str
    subject: str
    attributes: dict[str, str | int]
    data: bytes

    def structured(self) -> bytes:
        """Return the whole CloudEvent in JSON, of the type `CONTENT_TYPE`."""
        return orjson.dumps(
            {**self.attributes, "datacontenttype": DATA_CONTENT_TYPE, "data": orjson.Fragment(self.data)}
        )

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """Return the attributes as headers of a Kafka message whose value is `data`."""
        headers: list[tuple[str, str | bytes | None]] = [
            (f"ce_{name}", str(value)) for name, value in self.attributes.items()
        ]
        return [*headers, ("content-type", DATA_CONTENT_TYPE)]


def message(merchant: str, event: str, source: str) -> Message:
    """Return the message for an event of the feed, which is JSON text (FeedEventView)."""
    read: dict[str, Any] = orjson.loads(event)
    return Message(
        id=read["id"],
        order_id=read["order_id"],
        subject=f"{PREFIX}.{token(merchant)}.order.{read['type']}",
        attributes={
            "specversion": "1.0",
            "id": read["id"],
            "source": source,
            "type": read["type"],
            "subject": read["order_id"],
            "time": read["created_at"],
            "merchant": merchant,
            "orderversion": read["version"],
        },
        data=orjson.dumps({"order": read["data"], "refund": read["refund"]}),
    )


def token(merchant: str) -> str:
    """Return a merchant's name as one token of a subject: dots separate tokens, so they become `%2E`."""
    return merchant.replace(".", "%2E")
