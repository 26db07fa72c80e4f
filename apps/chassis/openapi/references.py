"""Which components a part of an OpenAPI document needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Components = Mapping[str, Mapping[str, Any]]
"""Components by kind (`schemas`, `responses`, ...) and name."""


def reached(start: Any, components: Components) -> set[tuple[str, str]]:
    """Return kind and name of all components that a part refers to, directly or through other components.

    Security schemes count, which `security` refers to by their names alone.
    """
    found: set[tuple[str, str]] = set()
    todo = [start]
    while todo:
        part = todo.pop()
        if isinstance(part, Mapping):
            for kind, name in _references(part):
                if name in components.get(kind, {}) and (kind, name) not in found:
                    found.add((kind, name))
                    todo.append(components[kind][name])
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    return found


def reached_schemas(start: Any, schemas: Mapping[str, Any]) -> set[str]:
    """Return the names of all schemas that a part refers to, directly or through other schemas."""
    return {name for _, name in reached(start, {"schemas": schemas})}


def _references(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of the components that an object itself refers to."""
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/components/"):
        kind, _, name = reference.removeprefix("#/components/").partition("/")
        yield kind, name
    if isinstance(part.get("security"), list):
        for needs in part["security"]:
            yield from (("securitySchemes", name) for name in needs)
