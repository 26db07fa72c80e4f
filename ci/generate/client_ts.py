"""`make openapi`: write the types and methods of the TypeScript client from docs/openapi/order.json.

`apps/client-ts/src/schema.ts` has a type for each schema that the operations use, and `operations.ts` a method for each
operation. A test checks that they are up to date.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chassis.openapi.references import reached_schemas
from ci import ROOT
from ci.generate import files

DOCUMENT = ROOT / "docs" / "openapi" / "order.json"
FOLDER = ROOT / "apps" / "client-ts" / "src"
HEADER = "// Generated from docs/openapi/order.json by `make openapi`. Do not edit.\n\n"

_NOT_FOR_CALLERS = {"receivePaymentEvent"}  # payment's, which signs it
_METHODS = ("get", "post", "patch", "delete")


class Schemas:
    """The schemas of the document as TypeScript types.

    An extensible enum is open, as docs/api-stability.md says: any other string is a value of it, too.
    """

    def __init__(self, document: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> None:
        self._all: Mapping[str, Any] = document["components"]["schemas"]
        bodies = [operation.get("requestBody") for operation in operations]
        successes = [
            [each for name, each in operation["responses"].items() if name[0] == "2"] for operation in operations
        ]
        asked, answered = reached_schemas(bodies, self._all), reached_schemas(successes, self._all)
        self.used = sorted(name for name in asked | answered if not self.is_empty(name))

    def is_empty(self, name: str) -> bool:
        """Return whether a schema is an object without members."""
        return name in self._all and self._all[name].get("properties") == {}

    def declaration(self, name: str) -> str:
        """Return the declaration of a schema."""
        schema = self._all[name]
        comment = _comment(schema.get("description", ""))
        if "properties" not in schema:
            return f"{comment}export type {name} = {self.type(schema)};\n"
        return f"{comment}export interface {name} {{\n{''.join(self._members(schema))}}}\n"

    def _members(self, schema: Mapping[str, Any]) -> Iterator[str]:
        for name, each in schema["properties"].items():
            optional = "" if name in schema.get("required", ()) else "?"
            yield textwrap.indent(_comment(each.get("description", "")), "  ")
            yield f"  {name}{optional}: {self.type(each)};\n"

    def type(self, schema: Mapping[str, Any]) -> str:
        """Return the type of a schema."""
        if "$ref" in schema:
            return str(schema["$ref"].rpartition("/")[2])
        for word, sign in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")):
            if word in schema:
                return sign.join(self.type(each) for each in schema[word])
        if "x-extensible-enum" in schema:
            values = [json.dumps(each) for each in schema["x-extensible-enum"]]
            return " | ".join([*values, "(string & {})", *(["null"] if "null" in schema["type"] else [])])
        if "enum" in schema:
            return " | ".join(json.dumps(each) for each in schema["enum"])
        kinds = schema.get("type", [])
        names = [self._simple(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        return " | ".join(names) or "unknown"

    def _simple(self, kind: str, schema: Mapping[str, Any]) -> str:
        if kind == "array":
            return f"Array<{self.type(schema['items'])}>"
        if kind == "object":
            return f"Record<string, {self.type(schema.get('additionalProperties') or {})}>"
        return {"integer": "number"}.get(kind, kind)


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, path and description of the operations that callers use."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            operation = item.get(method)
            if operation and path.startswith("/v1/") and operation["operationId"] not in _NOT_FOR_CALLERS:
                yield method, path, operation


def _query(operation: Mapping[str, Any], schemas: Schemas) -> list[str]:
    found = []
    for parameter in operation.get("parameters", ()):
        if "$ref" in parameter or parameter["in"] != "query":
            continue
        sign = "" if parameter.get("required") else "?"
        found.append(f"{parameter['name']}{sign}: {schemas.type(parameter['schema'])}")
    return found


def _is_keyed(operation: Mapping[str, Any]) -> bool:
    return any(each.get("$ref", "").endswith("Idempotency-Key") for each in operation.get("parameters", ()))


def _result(operation: Mapping[str, Any], schemas: Schemas) -> str:
    for status, response in sorted(operation["responses"].items()):
        if status[0] == "2" and response.get("content"):
            return schemas.type(response["content"]["application/json"]["schema"])
    return "void"


def _method(schemas: Schemas, method: str, path: str, operation: Mapping[str, Any]) -> str:
    names = re.findall(r"{(\w+)}", path)
    arguments = [f"{name}: string" for name in names]
    request = [f'method: "{method.upper()}"', f"path: {_template(path)}"]
    body = operation.get("requestBody")
    if body:
        kind = schemas.type(body["content"]["application/json"]["schema"])
        if schemas.is_empty(kind):
            request.append("body: {}")
        else:
            arguments.append(f"body: {kind}" if body.get("required") else f"body: {kind} = {{}}")
            request.append("body")
    query = _query(operation, schemas)
    if query:
        arguments.append(f"query: {{ {'; '.join(query)} }} = {{}}")
        request.append("query")
    if _is_keyed(operation):
        request.append("keyed: true")
    arguments.append("options: Options = {}")
    comment = _comment(operation["summary"] + ".")
    return textwrap.indent(
        f"{comment}{operation['operationId']}({', '.join(arguments)}): Promise<{_result(operation, schemas)}> {{\n"
        f"  return this.send({{ {', '.join(request)} }}, options);\n}}\n",
        "  ",
    )


def _template(path: str) -> str:
    return "`" + re.sub(r"{(\w+)}", r"${segment(\1)}", path) + "`" if "{" in path else f'"{path}"'


def _comment(text: str) -> str:
    lines = textwrap.wrap(text.replace("*/", "* /"), 110)
    if len(lines) < 2:
        return f"/** {lines[0]} */\n" if lines else ""
    return "".join(["/**\n", *(f" * {line}\n" for line in lines), " */\n"])


def texts() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    document = json.loads(DOCUMENT.read_text())
    found = list(operations(document))
    schemas = Schemas(document, [operation for _, _, operation in found])
    methods = "\n".join(_method(schemas, *each) for each in found)
    names = "".join(f"  {name},\n" for name in schemas.used if re.search(rf"\b{name}\b", methods))
    imports = [
        f'import type {{\n{names}}} from "./schema.ts";\n',
        'import { segment, Transport } from "./transport.ts";\n',
        'import type { Options } from "./transport.ts";\n\n',
    ]
    comment = _comment("One method for each operation of the order service.")
    body = f"{comment}export class Operations extends Transport {{\n{methods}}}\n"
    return {
        FOLDER / "schema.ts": HEADER + "\n".join(schemas.declaration(name) for name in schemas.used),
        FOLDER / "operations.ts": HEADER + "".join(imports) + body,
    }


if __name__ == "__main__":
    files.main(texts(), "openapi")
