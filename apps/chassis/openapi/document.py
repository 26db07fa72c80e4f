"""The OpenAPI 3.1 document of a service, built with apispec from its routes and from what its views record.

The decorators of a view (`http.facts`) record only what cannot be derived. Everything else follows from the path, the
method and the schemas: the scope, the idempotency key, the headers, the problems that any such request can have, and
the links. The document is built at the first request for it, so it costs a process almost nothing at its start.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from werkzeug.routing import Rule

from chassis.http.blueprint import Blueprint
from chassis.http.facts import STANDARD_WEBHOOKS, Facts, Signature, facts_of
from chassis.http.problems import Catalogue
from chassis.openapi import schemas
from chassis.openapi.components import WEBHOOK_HEADERS, components, parameter_references, security_scheme
from chassis.openapi.operations import Operation
from chassis.openapi.refusals import problem_schemas
from chassis.openapi.service_paths import SCHEMAS, TAG, service_paths

METHODS = ("get", "put", "post", "delete", "patch")

_PARAMETER = re.compile(r"<(?:([^:<>]+):)?(\w+)>")
_PARAMETER_SCHEMAS = {"uuid": {"type": "string", "format": "uuid"}, "string": {"type": "string", "minLength": 1}}
_MEMBERS = (
    "tags",
    "operationId",
    "deprecated",
    "summary",
    "description",
    "security",
    "parameters",
    "requestBody",
    "responses",
)


ABOUT = """\
**Authentication.** Every operation that needs a scope takes `Authorization: Bearer` with an API key, or with an access
token of the issuer that the operator of this service trusts. A key or token belongs to a merchant and has scopes. A
resource of another merchant is answered with 404. If the operator has set rate limits, `RateLimit` says how much of
the quota is left; beyond it the response is 429.

**Retries.** Every POST under `/v1` needs an `Idempotency-Key`: a new key for each new operation, and the same key when
a request is retried, whatever happened to the first one. A retry does nothing twice; it answers with the current state.

**Errors** are `application/problem+json` (RFC 9457). Their `type` is the address of a page of this service that says
what to do; `errors` points to each invalid field. A response of 503 says when to retry: the request has either taken
effect completely or not at all.

**Formats.** Amounts are integers in minor units: 450 is 4.50 EUR. Numbers are JSON integers, without fraction or
exponent. Times are RFC 3339 in UTC, ids are UUIDs. A body is one JSON object of at most 256 KiB in UTF-8, without
unknown fields or duplicate keys, and without control characters, lone surrogates or card numbers in any string; a
missing body counts as `{}`. Every response has an `X-Request-Id` and, as `Tandem-Version`, the release that has made
it. Responses of 1 KiB or more are compressed for clients that send `Accept-Encoding: gzip`. Every path that supports
GET supports HEAD, and every path supports OPTIONS.
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event that the service sends: its type, the schema of its body, and a summary."""

    name: str
    schema: type[ma.Schema]
    about: str
    signature: Signature = STANDARD_WEBHOOKS


def document(
    app: Flask,
    blueprints: Iterable[Blueprint],
    title: str,
    about: str,
    webhooks: Iterable[Webhook],
    problems: Catalogue,
) -> dict[str, Any]:
    """Build the OpenAPI document of an application, with its webhooks, which `parts.divide` separates.

    `about` is the first paragraph of its description.
    """
    plugin = MarshmallowPlugin()
    spec = APISpec(title, "v1", "3.1.0", plugins=[plugin])
    assert plugin.converter is not None
    assert plugin.resolver is not None
    schemas.describe_fields(plugin.converter)
    for blueprint in blueprints:
        spec.tag({"name": blueprint.name, "description": blueprint.description})
    for rule, method, facts in _views(app):
        described = _describe(facts, app.view_functions[rule.endpoint], rule)
        spec.path(path=_path(rule), operations={method: described}, parameters=_path_parameters(rule))
    webhooks = list(webhooks)
    events = {event.name: _webhook(event) for event in webhooks}
    for item in events.values():
        plugin.resolver.resolve_operations(item)  # type: ignore[no-untyped-call]
    built = spec.to_dict()
    schemas.describe_queries(built)
    names = schemas.complete(built, plugin.converter, events)
    operations = [
        Operation(_operation_id(rule), _path(rule), method, facts, built["paths"][_path(rule)][method])
        for rule, method, facts in _views(app)
    ]
    versioned = [operation.path for operation in operations if operation.shows_version(names)]
    operations = [replace(each, changes=_changes(each, versioned)) for each in operations]
    shared: dict[str, Any] = {"schemas": {**names, **SCHEMAS, **problem_schemas(problems)}, **components()}
    for operation in operations:
        operation.describe(shared, problems)
    for operation in operations:
        operation.link(operations, names)
    for event in webhooks:
        schemas.add_example(events[event.name]["post"]["requestBody"], names, {"type": event.name})
        shared["securitySchemes"][event.signature.scheme] = security_scheme(event.signature)
    paths = {path: _path_item(item) for path, item in built["paths"].items()}
    return {
        "openapi": built["openapi"],
        "info": {
            **built["info"],
            "description": f"{about}\n\n{ABOUT}",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This service"}],
        "tags": [*built["tags"], TAG],
        "paths": {**paths, **service_paths({rule.rule for rule in app.url_map.iter_rules()}, problems)},
        **({"webhooks": events} if events else {}),
        "components": {kind: dict(sorted(members.items())) for kind, members in shared.items()},
    }


def _views(app: Flask) -> Iterator[tuple[Rule, str, Facts]]:
    """Yield the rule, method and facts of each view that has recorded facts, in the order of registration."""
    for rule in app.url_map.iter_rules():
        facts = facts_of(app.view_functions[rule.endpoint])
        if facts is not None:
            for method in METHODS:
                if method.upper() in (rule.methods or ()):
                    yield rule, method, facts


def _path(rule: Rule) -> str:
    """Return the rule's path as OpenAPI writes it: /books/<uuid:book_id> becomes /books/{book_id}."""
    return _PARAMETER.sub(r"{\2}", rule.rule)


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {"in": "path", "name": name, "required": True, "schema": _PARAMETER_SCHEMAS[converter or "string"]}
        for converter, name in _PARAMETER.findall(rule.rule)
    ]


def _operation_id(rule: Rule) -> str:
    """Return the view's name. Outside /v1 the blueprint's name precedes it: a view in /v1 may have the same name."""
    blueprint, _, view = rule.endpoint.rpartition(".")
    return schemas.camel(view if rule.rule.startswith("/v1/") else f"{blueprint}_{view}")


def _describe(facts: Facts, view: Callable[..., Any], rule: Rule) -> dict[str, Any]:
    """Return the operation of a view as apispec takes it, with marshmallow schemas where OpenAPI has its own."""
    summary, _, description = (inspect.getdoc(view) or "").partition("\n\n")
    answer = {"description": "", **_json(facts.answer)} if facts.answer else {"description": ""}
    return {
        "tags": [rule.endpoint.rpartition(".")[0]],
        "summary": summary,
        **({"description": description} if description else {}),
        **({"parameters": [{"in": "query", "schema": facts.query}]} if facts.query else {}),
        **({"requestBody": {"required": True, **_json(facts.body)}} if facts.body else {}),
        "responses": {str(facts.status): answer},
    }


def _json(schema: type[ma.Schema]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _webhook(event: Webhook) -> dict[str, Any]:
    return {
        "post": {
            "operationId": schemas.camel(re.sub(r"\W", "_", event.name)),
            "summary": event.about,
            "security": [{event.signature.scheme: []}],
            "parameters": parameter_references(*WEBHOOK_HEADERS),
            "requestBody": {"required": True, **_json(event.schema)},
            "responses": {
                "2XX": {"description": "The event was received. After any other response, or none, it is sent again."}
            },
        }
    }


def _changes(operation: Operation, versioned: Iterable[str]) -> bool:
    """Return whether an operation changes a resource at one of the `versioned` paths."""
    if operation.facts.keyed:
        return operation.path in versioned
    return operation.takes_key and any(operation.path.startswith(f"{path}/") for path in versioned)


def _path_item(item: dict[str, Any]) -> dict[str, Any]:
    """Return a path item with its parameters explained and the members of each operation in the usual order."""
    parameters = [schemas.explain_parameter(parameter) for parameter in item.pop("parameters", [])]
    operations = {method: {name: part[name] for name in _MEMBERS if name in part} for method, part in item.items()}
    return {**({"parameters": parameters} if parameters else {}), **operations}
