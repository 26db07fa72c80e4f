"""A service's OpenAPI document in two: what callers send, and the webhooks that they receive.

Generators of clients do not expect both in one document: some fail at `webhooks`, others leave its schemas out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

WEBHOOKS = "/webhooks.json"
"""The path of the document with the webhooks."""


def divide(document: Document) -> tuple[Document, Document | None]:
    """Return the document of the requests, and that of the webhooks if there are any.

    Each has the components that it needs and no others.
    """
    requests = {kind: part for kind, part in document.items() if kind != "webhooks"}
    if "webhooks" not in document:
        return _with_components(requests), None
    info = document["info"]
    about = f"The webhooks that this service sends. What it answers to is described in `/openapi.json`. {info['title']}"
    webhooks = {
        "openapi": document["openapi"],
        "info": {**info, "title": f"{info['title']}: webhooks", "description": about},
        "webhooks": document["webhooks"],
        "components": document["components"],
    }
    return _with_components(requests), _with_components(webhooks)


def _with_components(document: Document) -> Document:
    """Return a document with those of its components only that it refers to."""
    components = document["components"]
    used: set[tuple[str, str]] = set()
    todo: list[Any] = [{name: part for name, part in document.items() if name != "components"}]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            for found in _named(part, components) - used:
                used.add(found)
                todo.append(components[found[0]][found[1]])
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    kept = {
        kind: {name: member for name, member in members.items() if (kind, name) in used}
        for kind, members in components.items()
    }
    return {**document, "components": {kind: members for kind, members in kept.items() if members}}


def _named(part: Mapping[str, Any], components: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the kinds and names of the components that an object refers to itself."""
    found = set()
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/components/"):
        kind, name = reference.removeprefix("#/components/").split("/", 1)
        found.add((kind, name))
    if isinstance(part.get("security"), list):
        found |= {("securitySchemes", name) for needs in part["security"] for name in needs}
    return {(kind, name) for kind, name in found if name in components.get(kind, {})}
