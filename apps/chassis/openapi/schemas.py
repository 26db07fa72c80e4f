"""What marshmallow's schemas are in JSON Schema: just what validation takes and refuses, with examples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import fields

from chassis import money
from chassis.http.fields import Currency, Text

NO_CONTROLS = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
_INT32 = 2**31 - 1
EXAMPLE_ID = "0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70"


def prepare(converter: OpenAPIConverter) -> None:
    """Teach apispec what our fields do."""
    for function in (_text, _number, _labels, _currency, _examples):
        converter.add_attribute_function(function)  # type: ignore[no-untyped-call]


def _text(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """The reader of bodies refuses control characters in every string (lone surrogates too, which no regex says)."""
    return {"pattern": NO_CONTROLS} if isinstance(field, Text) and "pattern" not in ret else {}


def _number(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    return {"format": "int64"} if isinstance(field, fields.Integer) and ret.get("maximum", 2**63) > _INT32 else {}


def _labels(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(field, fields.Dict):
        return {}
    sizes = {f"{end}Properties": ret.pop(f"{end}Length") for end in ("min", "max") if f"{end}Length" in ret}
    names = self.field2property(field.key_field) if isinstance(field.key_field, Text) else None
    return {**sizes, **({"propertyNames": names} if names else {})}


def _currency(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(field, Currency):
        return {}
    ret.pop("type")
    return {"$ref": "#/components/schemas/Currency"}


def _examples(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema has no `example`, but `examples`; of an identifier everybody knows what it looks like."""
    if "example" in ret:
        return {"examples": [ret.pop("example")]}
    return {"examples": [EXAMPLE_ID]} if ret.get("format") == "uuid" else {}


def complete(spec: dict[str, Any], converter: OpenAPIConverter, events: Mapping[str, Any]) -> dict[str, Any]:
    """The components' schemas by name.

    What is only ever answered has all its members, and may have more one day; what is sent to us is closed where
    validation closes it.
    """
    names: dict[str, Any] = spec.get("components", {}).get("schemas", {})
    for (schema, *_), name in converter.refs.items():
        names[name] = {"description": (inspect.getdoc(schema) or "").replace("\n", " "), **names[name]}
    sent = _reached([item.get("requestBody") for item in _methods(spec)], names)
    answered = _reached([[item["responses"] for item in _methods(spec)], list(events.values())], names)
    for name in answered - sent:
        names[name].pop("additionalProperties", None)
        names[name]["required"] = list(names[name]["properties"])
    names["Currency"] = {
        "type": "string",
        "description": "A currency's code of ISO 4217 that has a minor unit.",
        "enum": sorted(money.CURRENCIES),
        "examples": ["EUR"],
    }
    return names


def _methods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [says for item in spec["paths"].values() for method, says in item.items() if method != "parameters"]


def _reached(start: Any, names: Mapping[str, Any]) -> set[str]:
    """The names of all schemas that something refers to, over others too."""
    found: set[str] = set()
    todo = [start]
    while todo:
        thing = todo.pop()
        if isinstance(thing, dict):
            name = str(thing.get("$ref", "")).removeprefix("#/components/schemas/")
            if name in names and name not in found:
                found.add(name)
                todo.append(names[name])
        todo += thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else []
    return found


def sample(schema: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
    """A value that the schema describes: its example, or one made of its parts' examples."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return sample(names[schema["$ref"].rpartition("/")[2]], names)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], names)
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {name: sample(member, names) for name, member in schema["properties"].items()}
    return [sample(schema["items"], names)] if "items" in schema else {}


def exemplify(holder: dict[str, Any], names: Mapping[str, Any], change: Mapping[str, Any] | None = None) -> bool:
    """Give a body its example, changed in some members; whether that body has members that must be there."""
    content = holder["content"]["application/json"]
    content["example"] = {**sample(content["schema"], names), **(change or {})}
    return bool(names[content["schema"]["$ref"].rpartition("/")[2]].get("required"))


def explain(parameter: dict[str, Any]) -> dict[str, Any]:
    """A path's parameter with what it means, which its name says."""
    thing = parameter["name"].removesuffix("_id").replace("_", " ")
    of = f"The id of the {thing}." if parameter["name"].endswith("_id") else f"The {thing}'s name."
    shown = {"examples": [EXAMPLE_ID]} if parameter["schema"].get("format") == "uuid" else {}
    return {**parameter, "description": of, "schema": {**parameter["schema"], **shown}}


def camel(name: str) -> str:
    """A name as operationIds are written: place_order is placeOrder."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
