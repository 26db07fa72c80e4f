"""Marshmallow schemas as JSON Schema that accepts exactly what validation accepts, with examples."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import fields

from chassis import money
from chassis.http.fields import Currency, Text
from chassis.openapi.references import reached_schemas

NO_CONTROLS = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"
_INT32 = 2**31 - 1
_SCALARS = ("string", "integer", "number", "boolean")
EXAMPLE_ID = "0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70"


def describe_fields(converter: OpenAPIConverter) -> None:
    """Make apispec describe the fields in `http.fields` as they validate."""
    for function in (_text, _number, _labels, _currency, _examples):
        converter.add_attribute_function(function)  # type: ignore[no-untyped-call]


def _text(self: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Control characters are refused in every string. So are lone surrogates, which a regex cannot express."""
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
    """JSON Schema has `examples`, not `example`. Every UUID has the same example."""
    if "example" in ret:
        return {"examples": [ret.pop("example")]}
    return {"examples": [EXAMPLE_ID]} if ret.get("format") == "uuid" else {}


def complete(spec: dict[str, Any], converter: OpenAPIConverter, events: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of the components by name.

    Schemas that only occur in responses and events require all their members and allow others, which may be added in
    the future. Schemas of requests allow the members that validation allows.
    """
    names: dict[str, Any] = spec.get("components", {}).get("schemas", {})
    for (schema, *_), name in converter.refs.items():
        about = {"description": (inspect.getdoc(schema) or "").replace("\n", " ")}
        names[name] = {**about, **names[name], **getattr(schema, "RULES", {})}
    read = reached_schemas([operation.get("requestBody") for operation in _operations(spec)], names)
    written = reached_schemas(
        [[operation["responses"] for operation in _operations(spec)], list(events.values())], names
    )
    for name in written - read:
        names[name].pop("additionalProperties", None)
        names[name]["required"] = list(names[name]["properties"])
        for member in names[name]["properties"].values():
            _open(member)
    for name in read:
        for member in names[name].get("properties", {}).values():
            _say_default(member)
    names["CurrencyCode"] = {
        "type": "string",
        "description": "An ISO 4217 code. New codes may be added.",
        "pattern": "^[A-Z]{3}$",
        "examples": ["EUR"],
    }
    names["Currency"] = {
        "type": "string",
        "description": "An ISO 4217 code of a currency that has a minor unit.",
        "enum": sorted(money.CURRENCIES),
        "examples": ["EUR"],
    }
    return names


def _open(schema: dict[str, Any]) -> None:
    """Let a member of a response have values that are added later: a client of today must not break by them."""
    if schema.get("$ref") == "#/components/schemas/Currency":
        schema["$ref"] = "#/components/schemas/CurrencyCode"
    if "items" in schema:
        _open(schema["items"])
    if "enum" in schema:
        known = [value for value in schema.pop("enum") if value is not None]
        schema["x-extensible-enum"] = known
        about = f"{schema.get('description', '')} Known values: {', '.join(known)}. Others may be added."
        schema["description"] = about.strip()


def _say_default(schema: dict[str, Any]) -> None:
    """Say a default in the description only: generators of clients make a member with `default` required."""
    if "default" in schema:
        default = schema.pop("default")
        shown = ", ".join(default) if isinstance(default, list) else json.dumps(default).strip('"')
        schema["description"] = f"{schema.get('description', '')} By default {shown}.".strip()


def describe_queries(spec: dict[str, Any]) -> None:
    """Describe lists in queries as values separated by commas, and labels as parameters of their own: `labels.a=1`."""
    for operation in _operations(spec):
        for parameter in operation.get("parameters", []):
            schema, name = parameter["schema"], parameter["name"]
            if parameter["in"] == "query" and schema.get("type") == "array":
                parameter |= {"style": "form", "explode": False}
            if parameter["in"] == "query" and schema.get("type") == "object":
                names = {"pattern": f"^{name}[.][^\\u0000-\\u001f\\u007f-\\u009f]{{1,40}}$"}
                examples = [{f"{name}.{key}": value for key, value in each.items()} for each in schema["examples"]]
                parameter |= {"style": "form", "explode": True}
                parameter["schema"] = {**schema, "propertyNames": names, "examples": examples}


def _operations(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for item in spec["paths"].values() for name, part in item.items() if name != "parameters"]


def sample(schema: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
    """Return a value that fits a schema: its example, or one made of the examples of its parts."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return sample(names[schema["$ref"].rpartition("/")[2]], names)
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], names)
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        optional = schema["properties"].keys() - set(schema.get("required", ()))
        return {
            name: sample(member, names)
            for name, member in schema["properties"].items()
            # An optional text or number without an example is left out.
            if name not in optional or member.get("type") not in _SCALARS or member.keys() & {"examples", "enum"}
        }
    return [sample(schema["items"], names)] if "items" in schema else {}


def add_example(holder: dict[str, Any], names: Mapping[str, Any], change: Mapping[str, Any] | None = None) -> bool:
    """Add an example to a request body or response, with the members in `change` replaced.

    Returns whether its schema has required members.
    """
    content = holder["content"]["application/json"]
    content["example"] = {**sample(content["schema"], names), **(change or {})}
    return bool(names[content["schema"]["$ref"].rpartition("/")[2]].get("required"))


def explain_parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a path parameter with a description, which is derived from its name."""
    resource = parameter["name"].removesuffix("_id").replace("_", " ")
    meaning = f"The id of the {resource}." if parameter["name"].endswith("_id") else f"The {resource}'s name."
    examples = {"examples": [EXAMPLE_ID]} if parameter["schema"].get("format") == "uuid" else {}
    return {**parameter, "description": meaning, "schema": {**parameter["schema"], **examples}}


def camel(name: str) -> str:
    """Return a name in camel case, as operationIds are written: find_book becomes findBook."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
