"""The charts' values.schema.json, generated from schema.yaml. Unknown values are rejected.

`charts/chassis/schema.yaml` holds the values that both service charts take, `charts/<service>/schema.yaml` those of one
service. The umbrella chart's schema includes both services' schemas, so it also rejects a wrong value of a service
that is disabled.

`null` removes the default of a value. Lists, objects and texts that may be empty are then empty. Everything else is
required, so that the error names it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from ci import ROOT
from ci.generate import chart_readmes

CHARTS = ROOT / "charts"
SERVICES = ("order", "payment")


def texts() -> dict[Path, str]:
    """Return each values.schema.json by its path."""
    umbrella = _umbrella({service: _service(service) for service in SERVICES})
    schemas = {service: _complete(service) for service in SERVICES} | {"tandem": umbrella}
    return {CHARTS / chart / "values.schema.json": _text(chart, schema) for chart, schema in schemas.items()}


def _service(service: str) -> dict[str, Any]:
    shared, own = _read("chassis"), _read(service)
    return {"properties": shared["properties"] | own["properties"], "$defs": shared["$defs"]}


def _complete(service: str) -> dict[str, Any]:
    """Return the schema of a service's values together with the defaults, which a disabled service does not have."""
    schema = _service(service)
    text = (CHARTS / service / "values.yaml").read_text()
    documented = [path.split(".") for path, _, _ in chart_readmes.documented(text)]
    _require(schema, yaml.safe_load(text), documented, schema["$defs"])
    return schema


def _require(schema: dict[str, Any], defaults: dict[str, Any], values: list[list[str]], shared: dict[str, Any]) -> None:
    """Add `required` to the schema of a section and of those in it. `values` are the paths of documented values."""
    required = []
    properties = _resolved(schema, shared)["properties"]
    for name, default in defaults.items():
        below = [path[1:] for path in values if path[0] == name]
        is_section = [] not in below
        if is_section and name != "global":
            _require(properties[name], default, below, shared)
        if is_section or not _may_be_empty(_resolved(properties[name], shared), default):
            required.append(name)
    if required:
        schema["required"] = required


def _resolved(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = shared[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    return resolved


def _may_be_empty(schema: dict[str, Any], default: Any) -> bool:
    if isinstance(default, str):
        allowed = "" in schema.get("enum", [""]) and not schema.get("minLength")
        return allowed and re.search(schema.get("pattern", ""), "") is not None
    return isinstance(default, dict) or (isinstance(default, list) and not schema.get("minItems"))


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
