"""Events as CloudEvents 1.0, in JSON, and the subjects that they are published under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"

PREFIX = "tandem"
"""The first token of each subject."""

SUBJECTS = f"{PREFIX}.*.order.>"
"""The subjects of all events of all merchants."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event to publish. `body` is a CloudEvent in JSON."""

    id: str
    order_id: str
    subject: str
    body: bytes


def message(merchant: str, event: str, source: str) -> Message:
    """Return the message for an event of the feed, which is JSON text (FeedEventView)."""
    read: dict[str, Any] = orjson.loads(event)
    return Message(
        id=read["id"],
        order_id=read["order_id"],
        subject=f"{PREFIX}.{token(merchant)}.order.{read['type']}",
        body=orjson.dumps(
            {
                "specversion": "1.0",
                "id": read["id"],
                "source": source,
                "type": read["type"],
                "subject": read["order_id"],
                "time": read["created_at"],
                "datacontenttype": "application/json",
                "merchant": merchant,
                "orderversion": read["version"],
                "data": {"order": read["data"], "refund": read["refund"]},
            }
        ),
    )


def token(merchant: str) -> str:
    """Return a merchant's name as one token of a subject: dots separate tokens, so they become `%2E`."""
    return merchant.replace(".", "%2E")
