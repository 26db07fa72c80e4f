"""`make asyncapi`: write docs/asyncapi/order.json, which describes the events that a broker gets, as AsyncAPI 3.

Its schemas are those of the OpenAPI document of the order service. A test checks that the file is up to date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chassis.openapi.references import reached_schemas
from ci import ROOT
from ci.generate import files, openapi
from order.publisher import cloudevents

FOLDER = ROOT / "docs" / "asyncapi"

Json = dict[str, Any]


def texts() -> dict[Path, str]:
    """Return the text of the document by its path."""
    return {FOLDER / "order.json": json.dumps(document(), indent=2, ensure_ascii=False) + "\n"}


def document() -> Json:
    """Return the AsyncAPI document of the order service."""
    described: Any = openapi.document(openapi.applications()["order"])
    schemas = described["components"]["schemas"]
    event = schemas["FeedEventView"]["properties"]
    payload = _payload(event)
    used = reached_schemas(payload, schemas)
    address = cloudevents.SUBJECTS.replace("*", "{merchant}").replace(">", "{type}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tandem order events",
            "version": described["info"]["version"],
            "description": "Every step of every order, published to NATS JetStream as a CloudEvent: at least once, and"
            " each order's events in order. See docs/events.md.",
            "license": {"name": described["info"]["license"]["name"]},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "nats": {
                "host": "nats.example.com:4222",
                "protocol": "nats",
                "description": "The broker that EVENTS_URL names.",
            }
        },
        "channels": {
            "orderEvents": {
                "address": address,
                "description": "The events of one merchant and type. `tandem.*.order.>` subscribes to all.",
                "parameters": {
                    "merchant": {"description": "The merchant that owns the order, with `%2E` for each dot."},
                    "type": {
                        "description": event["type"]["description"],
                        "examples": event["type"]["x-extensible-enum"],
                    },
                },
                "messages": {"orderEvent": {"$ref": "#/components/messages/orderEvent"}},
            }
        },
        "operations": {
            "publishOrderEvent": {
                "action": "send",
                "summary": "Publish a step of an order.",
                "channel": {"$ref": "#/channels/orderEvents"},
                "messages": [{"$ref": "#/channels/orderEvents/messages/orderEvent"}],
            }
        },
        "components": {
            "messages": {
                "orderEvent": {
                    "name": "orderEvent",
                    "title": "A step of an order",
                    "contentType": "application/cloudevents+json",
                    "headers": {
                        "type": "object",
                        "properties": {
                            "Nats-Msg-Id": {
                                "description": "The id of the event, by which the broker discards duplicates.",
                                **{key: value for key, value in event["id"].items() if key != "description"},
                            },
                            "Content-Type": {"const": cloudevents.CONTENT_TYPE},
                        },
                    },
                    "payload": {"$ref": "#/components/schemas/OrderCloudEvent"},
                }
            },
            "schemas": {"OrderCloudEvent": payload, **{name: schemas[name] for name in sorted(used)}},
        },
    }


def _payload(event: Json) -> Json:
    """Return the schema of the CloudEvent; `event` are the properties of an event of the feed."""
    properties = {
        "specversion": {"const": "1.0", "description": "Version of CloudEvents."},
        "id": {**event["id"], "description": "The event's id, by which a consumer finds duplicates."},
        "source": {"type": "string", "description": "The setting EVENTS_SOURCE.", "examples": ["/tandem/order"]},
        "type": event["type"],
        "subject": event["order_id"],
        "time": event["created_at"],
        "datacontenttype": {"const": "application/json"},
        "merchant": {"type": "string", "description": "The merchant that owns the order.", "examples": ["demo"]},
        "orderversion": event["version"],
        "data": {
            "type": "object",
            "properties": {"order": event["data"], "refund": event["refund"]},
            "required": ["order", "refund"],
        },
    }
    return {
        "description": "A CloudEvent 1.0 in JSON: one step of an order.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


if __name__ == "__main__":
    files.main(texts(), "asyncapi")
