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
    data, payload["properties"]["data"] = payload["properties"]["data"], {"$ref": "#/components/schemas/OrderEventData"}
    address = cloudevents.SUBJECTS.replace("*", "{merchant}").replace(">", "{type}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tandem order events",
            "version": described["info"]["version"],
            "description": "Every step of every order, published to NATS JetStream or Apache Kafka as a CloudEvent: at"
            " least once, and each order's events in order. See docs/events.md.",
            "license": {"name": described["info"]["license"]["name"]},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "nats": {
                "host": "nats.example.com:4222",
                "protocol": "nats",
                "description": "NATS, if EVENTS_URL names it.",
            },
            "kafka": {
                "host": "kafka.example.com:9092",
                "protocol": "kafka",
                "description": "Apache Kafka, if EVENTS_URL names it.",
            },
        },
        "channels": {
            "orderEvents": {
                "address": address,
                "servers": [{"$ref": "#/servers/nats"}],
                "description": "The events of one merchant and type. `tandem.*.order.>` subscribes to all.",
                "parameters": {
                    "merchant": {"description": "The merchant that owns the order, with `%2E` for each dot."},
                    "type": {
                        "description": event["type"]["description"],
                        "examples": event["type"]["x-extensible-enum"],
                    },
                },
                "messages": {"orderEvent": {"$ref": "#/components/messages/orderEvent"}},
            },
            "orderEventsTopic": {
                "address": "{topic}",
                "servers": [{"$ref": "#/servers/kafka"}],
                "description": "All events of all merchants. The events of one order are in one partition.",
                "parameters": {"topic": {"description": "The topic that EVENTS_URL names."}},
                "messages": {"orderEvent": {"$ref": "#/components/messages/orderEventInKafka"}},
            },
        },
        "operations": {
            "publishOrderEvent": {
                "action": "send",
                "summary": "Publish a step of an order.",
                "channel": {"$ref": "#/channels/orderEvents"},
                "messages": [{"$ref": "#/channels/orderEvents/messages/orderEvent"}],
            },
            "publishOrderEventToTopic": {
                "action": "send",
                "summary": "Publish a step of an order to Kafka.",
                "channel": {"$ref": "#/channels/orderEventsTopic"},
                "messages": [{"$ref": "#/channels/orderEventsTopic/messages/orderEvent"}],
            },
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
                },
                "orderEventInKafka": _kafka_message(event),
            },
            "schemas": {
                "OrderCloudEvent": payload,
                "OrderEventData": data,
                **{name: schemas[name] for name in sorted(used)},
            },
        },
    }


def _kafka_message(event: Json) -> Json:
    """Return the message of Kafka: the attributes of the CloudEvent are headers (binary mode)."""
    attributes = {name: schema for name, schema in _payload(event)["properties"].items() if name != "data"}
    content_type = attributes.pop("datacontenttype")
    attributes["orderversion"] = {"type": "string", "description": attributes["orderversion"]["description"]}
    headers = {f"ce_{name}": schema for name, schema in attributes.items()} | {"content-type": content_type}
    return {
        "name": "orderEventInKafka",
        "title": "A step of an order",
        "contentType": cloudevents.DATA_CONTENT_TYPE,
        "headers": {"type": "object", "properties": headers, "required": list(headers)},
        "payload": {"$ref": "#/components/schemas/OrderEventData"},
        "bindings": {"kafka": {"key": event["order_id"], "bindingVersion": "0.5.0"}},
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
