"""The AsyncAPI document is up to date, and describes the events as they are published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from ci.generate import asyncapi
from order.publisher import cloudevents
from order.transition import TYPES


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(iter(asyncapi.texts().values())))
    return found


def references(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        if isinstance(thing.get("$ref"), str):
            yield thing["$ref"]
        for value in thing.values():
            yield from references(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from references(value)


def test_the_committed_document_is_up_to_date() -> None:
    for path, text in asyncapi.texts().items():
        assert path.read_text() == text, "to regenerate it: make asyncapi"


def test_every_reference_leads_to_a_part_of_the_document() -> None:
    found = set(references(document()))
    assert len(found) > 5
    for reference in found:
        part = document()
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    used = {reference.rsplit("/", 1)[1] for reference in found if "/schemas/" in reference}
    assert used == document()["components"]["schemas"].keys()


def test_the_channel_is_the_subject_of_every_type() -> None:
    channel = document()["channels"]["orderEvents"]
    assert channel["parameters"]["type"]["examples"] == list(TYPES)
    event = {"id": "1", "type": "order.paid", "order_id": "2", "version": 1, "created_at": "", "data": {}, "refund": {}}
    subject = cloudevents.message("demo", json.dumps(event), "/tandem/order").subject
    assert subject == channel["address"].format(merchant="demo", type="order.paid")


def test_the_schema_of_the_payload_is_valid_and_closed_to_events_without_an_id() -> None:
    validator = payload()
    validator.check_schema(validator.schema)
    assert any("'id' is a required property" in error.message for error in validator.iter_errors({}))


def payload() -> Draft202012Validator:
    """Return the validator of a message's body."""
    return Draft202012Validator(
        {"$ref": "#/components/schemas/OrderCloudEvent", "components": document()["components"]}
    )
