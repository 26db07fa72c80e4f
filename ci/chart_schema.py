"""The charts' values.schema.json, put together so that the three say the same, and refuse what they do not know.

`charts/chassis/schema.yaml` lists what every service chart takes and `charts/<service>/schema.yaml` what only that one
takes. The umbrella's schema holds both services' schemas, so it names a wrong value even of a service that is off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parents[1] / "charts"
SERVICES = ("order", "payment")


def texts() -> dict[Path, str]:
    """What each values.schema.json has to be, by its path."""
    schemas = {service: _service(service) for service in SERVICES}
    schemas["tandem"] = _umbrella(schemas)
    return {CHARTS / chart / "values.schema.json": _text(chart, schema) for chart, schema in schemas.items()}


def _service(service: str) -> dict[str, Any]:
    """The schema of a service's chart."""
    shared, own = _read("chassis"), _read(service)
    return {"properties": shared["properties"] | own["properties"], "$defs": shared["$defs"]}


def _umbrella(services: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of the chart that installs the services: their values, each below the service's name."""
    shared = _read("chassis")
    properties = {"global": shared["properties"]["global"]}
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
    parts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in (head | _closed(schema)).items()]
    return "{\n  " + ",\n  ".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    """JSON with a line for each member, so that a change is the change of a line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items()) + "\n  }"


def _closed(schema: Any) -> Any:
    """The schema with every object that lists its properties closed to others, unless it says something else."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # Below "properties" and "$defs" keys are names, "properties" among them perhaps; elsewhere they are keywords.
    closed = {
        key: {name: _closed(one) for name, one in value.items()} if key in ("properties", "$defs") else _closed(value)
        for key, value in schema.items()
    }
    if "properties" in schema:
        return {"type": "object", "additionalProperties": False} | closed
    return closed
