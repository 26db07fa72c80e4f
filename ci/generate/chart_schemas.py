"""The charts' values.schema.json, generated from schema.yaml. Unknown values are rejected.

`charts/chassis/schema.yaml` holds the values that both service charts take, `charts/<service>/schema.yaml` those of one
service. The umbrella chart's schema includes both services' schemas, so it also rejects a wrong value of a service
that is disabled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ci import ROOT

CHARTS = ROOT / "charts"
SERVICES = ("order", "payment")


def texts() -> dict[Path, str]:
    """Return each values.schema.json by its path."""
    schemas = {service: _service(service) for service in SERVICES}
    schemas["tandem"] = _umbrella(schemas)
    return {CHARTS / chart / "values.schema.json": _text(chart, schema) for chart, schema in schemas.items()}


def _service(service: str) -> dict[str, Any]:
    shared, own = _read("chassis"), _read(service)
    return {"properties": shared["properties"] | own["properties"], "$defs": shared["$defs"]}


def _umbrella(services: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of the umbrella chart, which takes each service's values under the service's name."""
    shared = _read("chassis")
    properties = {name: shared["properties"][name] for name in ("global", "chassis")}
    definitions = dict(shared["$defs"])
    for service, schema in services.items():
        properties[service] = {"$ref": f"#/$defs/{service}"}
        definitions[service] = {"required": ["enabled"], "properties": schema["properties"]}
    return {"properties": properties, "$defs": definitions}


def _read(chart: str) -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load((CHARTS / chart / "schema.yaml").read_text())
    return schema


def _text(chart: str, schema: dict[str, Any]) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Values of the {chart} chart"}
    members = [f"{json.dumps(key)}: {_lines(value)}" for key, value in (head | _closed(schema)).items()]
    return "{\n  " + ",\n  ".join(members) + "\n}\n"


def _lines(value: Any) -> str:
    """Return JSON with one line for each member of an object, so that diffs stay small."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items()) + "\n  }"


def _closed(schema: Any) -> Any:
    """Return the schema with `additionalProperties: false` in each object that lists properties and does not set it."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # The keys below "properties" and "$defs" are names, and one may be "properties". Elsewhere keys are keywords.
    closed = {
        key: {name: _closed(one) for name, one in value.items()} if key in ("properties", "$defs") else _closed(value)
        for key, value in schema.items()
    }
    if "properties" in schema:
        return {"type": "object", "additionalProperties": False} | closed
    return closed
