"""Breaking changes between two OpenAPI documents of a service: what docs/api-stability.md promises not to do within v1.

    breaking(released, current)  # ["POST /v1/orders: request: /currency: now required", ...]

A request that was valid must stay valid, and a response must keep what it had. So requests are compared for what is
refused now, and responses (and webhooks, which clients receive) for what is missing now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci import ROOT

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

RELEASED = ROOT / "docs" / "openapi" / "released"
"""The folder with the documents of the last release."""

METHODS = ("get", "put", "post", "delete", "patch")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "const")


def released() -> dict[Path, Document]:
    """Return the documents of the last release by their paths below its folder."""
    return {path.relative_to(RELEASED): json.loads(path.read_text()) for path in sorted(RELEASED.glob("*.json"))}


def breaking(old: Document, new: Document) -> list[str]:
    """Return the breaking changes from an old document to a new one, one sentence each; none if there are none."""
    return list(_Comparison(old, new).run())


class _Comparison:
    """The comparison of two documents."""

    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new

    def run(self) -> Iterator[str]:
        """Yield the breaking changes."""
        for path, item in self._old.get("paths", {}).items():
            for method in METHODS:
                if method in item:
                    where = f"{method.upper()} {path}"
                    other = self._new.get("paths", {}).get(path, {})
                    if method not in other:
                        yield f"{where}: removed"
                    else:
                        yield from self._operation(where, (item, item[method]), (other, other[method]))
        for name, item in self._old.get("webhooks", {}).items():
            other = self._new.get("webhooks", {}).get(name)
            if other is None:
                yield f"webhook {name}: removed"
            else:
                yield from self._received(f"webhook {name}", item["post"]["requestBody"], other["post"]["requestBody"])

    def _operation(self, where: str, old: tuple[Document, Document], new: tuple[Document, Document]) -> Iterator[str]:
        yield from self._parameters(where, self._by_name(self._old, old), self._by_name(self._new, new))
        before, after = old[1], new[1]
        yield from self._security(where, before, after)
        yield from self._body(where, before.get("requestBody"), after.get("requestBody"))
        for status, answer in before["responses"].items():
            if not status.startswith("2"):
                continue
            if status not in after["responses"]:
                yield f"{where}: response {status}: removed"
            else:
                yield from self._answer(f"{where}: response {status}", answer, after["responses"][status])

    def _by_name(self, document: Document, found: tuple[Document, Document]) -> dict[tuple[str, str], Document]:
        """Return the parameters of a path and of its operation by place and name."""
        each = [self._resolve(document, parameter) for part in found for parameter in part.get("parameters", [])]
        return {(parameter["in"], parameter["name"]): parameter for parameter in each}

    def _parameters(self, where: str, old: Mapping[Any, Document], new: Mapping[Any, Document]) -> Iterator[str]:
        for (place, name), before in old.items():
            after = new.get((place, name))
            if after is None:
                yield f"{where}: {place} parameter {name}: removed"
                continue
            if after.get("required") and not before.get("required"):
                yield f"{where}: {place} parameter {name}: now required"
            yield from self._request(f"{where}: {place} parameter {name}", before["schema"], _one(before, after))
        for (place, name), after in new.items():
            if after.get("required") and (place, name) not in old:
                yield f"{where}: {place} parameter {name}: new and required"

    def _security(self, where: str, old: Document, new: Document) -> Iterator[str]:
        needed = [json.dumps(each, sort_keys=True) for each in new.get("security", [])]
        for each in old.get("security", []):
            if needed and json.dumps(each, sort_keys=True) not in needed:
                yield f"{where}: no longer allowed with {json.dumps(each, sort_keys=True)}"
        if needed and not old.get("security"):
            yield f"{where}: now needs a key"

    def _body(self, where: str, old: Document | None, new: Document | None) -> Iterator[str]:
        if new is None:
            if old is not None:
                yield f"{where}: request: no longer has a body"
            return
        if new.get("required") and not (old or {}).get("required"):
            yield f"{where}: request: the body is now required"
        for kind, content in (old or {}).get("content", {}).items():
            if kind not in new["content"]:
                yield f"{where}: request: {kind}: removed"
            else:
                yield from self._request(f"{where}: request", content["schema"], new["content"][kind]["schema"])

    def _answer(self, where: str, old: Document, new: Document) -> Iterator[str]:
        old, new = self._resolve(self._old, old), self._resolve(self._new, new)
        for header in old.get("headers", {}):
            if header not in new.get("headers", {}):
                yield f"{where}: header {header}: removed"
        yield from self._received(where, old, new)

    def _received(self, where: str, old: Document, new: Document) -> Iterator[str]:
        for kind, content in old.get("content", {}).items():
            if kind == "*/*":
                continue  # any type was possible
            if kind not in new.get("content", {}):
                yield f"{where}: {kind}: removed"
            elif "schema" in content:
                yield from self._response(where, content["schema"], new["content"][kind].get("schema", {}))

    def _request(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        """Yield what a request may no longer hold."""
        olds, news = self._alternatives(self._old, old), self._alternatives(self._new, new)
        for before in olds:
            found = [list(self._narrowed(where, before, after)) for after in news]
            yield from min(found, key=len)

    def _response(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        """Yield what a response no longer holds, or holds in another form."""
        olds, news = self._alternatives(self._old, old), self._alternatives(self._new, new)
        for after in news:
            found = [list(self._changed(where, before, after)) for before in olds]
            yield from min(found, key=len)

    def _narrowed(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if not _types(old) <= _types(new):
            yield f"{where}: the type was {_named(old)} and is {_named(new)}"
            return
        if "enum" in new and not ("enum" in old and _values(old) <= _values(new)):
            gone = sorted(_values(old) - _values(new)) if "enum" in old else "any other"
            yield f"{where}: no longer accepts {gone}"
        for name in _LOWER:
            if name in new and new[name] > old.get(name, 0 if name.endswith(("th", "ms", "es")) else float("-inf")):
                yield f"{where}: {name} was {old.get(name)} and is {new[name]}"
        for name in _UPPER:
            if name in new and new[name] < old.get(name, float("inf")):
                yield f"{where}: {name} was {old.get(name)} and is {new[name]}"
        for name in _EXACT:
            if name in new and new[name] != old.get(name) and "enum" not in old:
                yield f"{where}: {name} was {old.get(name)} and is {new[name]}"
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in set(new.get("required", [])) - set(old.get("required", [])):
            yield f"{where}: /{name}: now required"
        for name, member in before.items():
            if name in after:
                yield from self._request(f"{where}: /{name}", member, after[name])
            elif new.get("additionalProperties") is False:
                yield f"{where}: /{name}: removed"
        for name in ("items", "propertyNames", "additionalProperties"):
            yield from self._part(where, name, old.get(name, True), new.get(name, True))

    def _part(self, where: str, name: str, old: Any, new: Any) -> Iterator[str]:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from self._request(f"{where}: {name}", old, new)
        elif old is not False and new is not True and old != new and new != {}:
            yield f"{where}: {name}: narrower than before"

    def _changed(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if not _types(new) <= _types(old):
            yield f"{where}: the type was {_named(old)} and is {_named(new)}"
            return
        if "format" in old and new.get("format") != old["format"]:
            yield f"{where}: format was {old['format']} and is {new.get('format')}"
        for name in set(old.get("required", [])) - set(new.get("required", [])):
            yield f"{where}: /{name}: no longer always there"
        for name, member in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{where}: /{name}: removed"
            else:
                yield from self._response(f"{where}: /{name}", member, new["properties"][name])
        for name in ("items", "additionalProperties"):
            if isinstance(old.get(name), Mapping) and isinstance(new.get(name), Mapping):
                yield from self._response(f"{where}: {name}", old[name], new[name])

    def _alternatives(self, document: Document, schema: Schema) -> list[Schema]:
        """Return the schemas that a value may fit, one of them, without references."""
        schema = self._resolve(document, schema)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return [found for each in schema[name] for found in self._alternatives(document, each)]
        if isinstance(schema.get("allOf"), list):
            merged: dict[str, Any] = {}
            for each in schema["allOf"]:
                merged |= self._resolve(document, each)
            schema = {**merged, **{name: value for name, value in schema.items() if name != "allOf"}}
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return [{**schema, "type": kind} for kind in kinds]
        return [schema]

    @staticmethod
    def _resolve(document: Document, part: Any) -> Any:
        while "$ref" in part:
            found: Any = document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name.replace("~1", "/").replace("~0", "~")]
            part = found
        return part


def _one(old: Document, new: Document) -> Schema:
    """Return the schema that a single value of a parameter must fit: a list separated by commas may have one item."""
    schema: Schema = new["schema"]
    if schema.get("type") == "array" and old["schema"].get("type") != "array" and new.get("explode") is False:
        items: Schema = schema["items"]
        return items
    return schema


def _types(schema: Schema) -> set[str]:
    known = {"string", "integer", "number", "boolean", "object", "array", "null"}
    if "type" not in schema:
        return {_type_of(value) for value in schema["enum"]} if "enum" in schema else known
    return {schema["type"]} | ({"integer"} if schema["type"] == "number" else set())


def _type_of(value: Any) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", type(None): "null", list: "array", dict: "object"}
    return kinds.get(type(value), "number")


def _named(schema: Schema) -> str:
    return " or ".join(sorted(_types(schema)))


def _values(schema: Schema) -> set[str]:
    return {json.dumps(value) for value in schema["enum"]}
