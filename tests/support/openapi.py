"""Compares a service's responses with its OpenAPI document."""

from __future__ import annotations

import copy
import re
from typing import Any

import requests
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

Document = dict[str, Any]


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Any:
    """Check a pattern as ECMA-262 does: `$` matches only the end. In Python it also matches before a final newline."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
METHODS = ("get", "post", "put", "patch", "delete")


def resolve(document: Document, thing: Any) -> Any:
    """Return the target of a reference within the document. Anything else is returned unchanged."""
    while isinstance(thing, dict) and str(thing.get("$ref", "")).startswith("#/"):
        found: Any = document
        for token in thing["$ref"].removeprefix("#/").split("/"):
            found = found[token]
        thing = found
    return thing


def operations(document: Document) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return path, method and description of each operation, by its operationId."""
    found = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                found[item[method]["operationId"]] = (path, method, item[method])
    return found


def faults(document: Document, schema: Any, value: Any, *, closed: bool = False) -> list[str]:
    """Return why a value does not match a schema. With `closed`, unknown members of objects are errors too."""
    schemas = document["components"]["schemas"]
    if closed:
        schemas = copy.deepcopy(schemas)
        for named in schemas.values():
            if "properties" in named:
                named["additionalProperties"] = False
    whole = {"components": {"schemas": schemas}, "allOf": [schema]}
    checker = Validator(whole, format_checker=FormatChecker(["uuid", "date-time"]))
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def is_compact(body: bytes) -> bool:
    """Return whether JSON has no white space outside of strings, and no escape that UTF-8 does not need."""
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', body)
    return not re.search(rb"\s", outside) and b"\\u" not in body.replace(rb"\\", b"")


def check(document: Document, operation: str, answer: requests.Response) -> None:
    """Assert that a response is one that the operation documents, with that body and those headers."""
    path, method, says = operations(document)[operation]
    assert answer.request.method == method.upper()
    pattern = re.sub(r"{\w+}", "[^/]+", path)
    assert re.fullmatch(pattern, str(answer.request.path_url).partition("?")[0]), (operation, answer.url)
    assert str(answer.status_code) in says["responses"], f"{operation}: undocumented: {answer.text}"
    response = says["responses"][str(answer.status_code)]
    described = resolve(document, response)
    for name, header in described.get("headers", {}).items():
        header = resolve(document, header)
        assert name in answer.headers or not header["required"], f"{operation} {answer.status_code} lacks {name}"
        assert faults(document, header["schema"], answer.headers.get(name, "")) == [] or name not in answer.headers
    if "content" not in described:
        assert answer.content == b""
        return
    assert is_compact(answer.content), answer.content
    schema = described["content"][answer.headers["Content-Type"].partition(";")[0]]["schema"]
    assert faults(document, schema, answer.json(), closed=True) == [], f"{operation}: {answer.text}"
    if answer.status_code >= 400:
        problem = answer.json()["type"].rpartition("/")[2]
        assert f"`{problem}`" in response["description"], f"{operation} {answer.status_code}: undocumented: {problem}"
