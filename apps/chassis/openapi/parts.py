"""A service's OpenAPI document in two: what callers send, and the webhooks that they receive.

Generators of clients do not expect both in one document: some fail at `webhooks`, others leave its schemas out.
"""

from __future__ import annotations

from typing import Any

from chassis.openapi.references import reached

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
    about = "The webhooks that this service sends. `/openapi.json` describes the requests that it takes."
    webhooks = {
        "openapi": document["openapi"],
        "info": {**info, "title": f"{info['title']}: webhooks", "description": about},
        # Nothing is sent to these: the linter Redocly and the generator openapi-python-client need the members.
        "servers": document["servers"],
        "paths": {},
        "webhooks": document["webhooks"],
        "components": document["components"],
    }
    return _with_components(requests), _with_components(webhooks)


def _with_components(document: Document) -> Document:
    """Return a document with those of its components only that it refers to."""
    components = document["components"]
    used = reached({name: part for name, part in document.items() if name != "components"}, components)
    kept = {
        kind: {name: member for name, member in members.items() if (kind, name) in used}
        for kind, members in components.items()
    }
    return {**document, "components": {kind: members for kind, members in kept.items() if members}}
