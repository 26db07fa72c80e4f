"""OpenAPI 3.1 of a service: what flask-smorest reads from the schemas, and all that follows from how we do things.

A view says with `facts` only what nobody can know from elsewhere; the rest is derived, so that a new view is
documented as it is written: its scope, its idempotency key, its headers, the problems that can occur, its links.
The document is made when it is first asked for, which costs a process next to nothing at its start.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import marshmallow as ma
from flask import Flask
from flask_smorest import Api

from chassis.openapi import parts, schemas
from chassis.openapi.operations import Facts, Operation
from chassis.openapi.parts import STANDARD_WEBHOOKS, Signature

__all__ = ["STANDARD_WEBHOOKS", "Signature", "Webhook", "document", "facts", "prepare"]

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event that the service sends: its name, its body, and what it is about."""

    name: str
    schema: type[ma.Schema]
    about: str
    signature: Signature = STANDARD_WEBHOOKS


def facts(
    *problems: str,
    answers: Mapping[int, Mapping[str, Any]] | None = None,
    waits: bool = False,
    body: type[ma.Schema] | None = None,
    signature: Signature | None = None,
    tagged: bool = False,
) -> Callable[[View], View]:
    """Say of a view which problems of its own it has, and which answers besides the one it declares.

    `answers` maps a status code to what is different in its example; `waits`: it honours Prefer: wait; `body` is
    the schema of a body that the view reads by itself; `signature`: that is what it asks for in place of a key;
    `tagged`: its answer has an ETag, though it has no version.
    """

    def decorate(view: View) -> View:
        view.facts = Facts(problems, answers or {}, waits, body, signature, tagged)  # type: ignore[attr-defined]
        return view

    return decorate


def prepare(app: Flask, api: Api) -> None:
    """Let flask-smorest describe our fields as they validate."""
    api.ERROR_SCHEMA = None
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    schemas.prepare(api.ma_plugin.converter)
    app.cli.commands.pop("openapi")  # would print what flask-smorest alone knows


def document(
    app: Flask, api: Api, blueprints: Iterable[Any], about: str, webhooks: Iterable[Webhook]
) -> dict[str, Any]:
    """The OpenAPI document of an application, to be made once; `about` says what the service is for."""
    for blueprint in blueprints:
        # flask-smorest does this when it registers a blueprint, at the start of each process.
        blueprint.register_views_in_doc(api, app, api.spec, name=blueprint.name, parameters=None)
        api.spec.tag({"name": blueprint.name, "description": blueprint.description})
    events = {event.name: _webhook(api, event) for event in webhooks}
    read = {name: getattr(view, "facts", Facts()).body for name, view in app.view_functions.items()}
    bodies = {name: _reference(api, schema) for name, schema in read.items() if schema is not None}
    spec = copy.deepcopy(api.spec.to_dict())
    names = schemas.complete(spec, api.ma_plugin.converter, bodies.values(), events)
    operations = list(_operations(app, spec, bodies))
    seen = [operation.path for operation in operations if operation.shows_version(names)]
    operations = [replace(each, changes=each.takes_key and _is_below(each.path, seen)) for each in operations]
    components: dict[str, Any] = {"schemas": {**names, "Problem": parts.PROBLEM}, **parts.components()}
    for operation in operations:
        operation.describe(components)
    for operation in operations:
        operation.link(operations, names)
    for name, event in events.items():
        schemas.exemplify(event["post"]["requestBody"], names, {"type": name})
    paths = {path: _item(item) for path, item in spec["paths"].items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": api.spec.title,
            "version": api.spec.version,
            "description": f"{about}\n\n{parts.ABOUT}",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This service"}],
        "tags": [*spec["tags"], parts.TAG],
        "paths": {**paths, **parts.service_paths({rule.rule for rule in app.url_map.iter_rules()})},
        **({"webhooks": events} if events else {}),
        "components": {kind: dict(sorted(members.items())) for kind, members in components.items()},
    }


def _reference(api: Api, schema: type[ma.Schema]) -> dict[str, Any]:
    found: dict[str, Any] = api.ma_plugin.converter.resolve_nested_schema(schema)
    return found


def _webhook(api: Api, event: Webhook) -> dict[str, Any]:
    return {
        "post": {
            "operationId": schemas.camel(re.sub(r"\W", "_", event.name)),
            "summary": event.about,
            "security": [{event.signature.scheme: []}],
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in parts.WEBHOOK_HEADERS],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _reference(api, event.schema)}},
            },
            "responses": {
                "2XX": {"description": "It has been taken. Any other answer, or none: it is sent again, later."}
            },
        }
    }


def _operations(app: Flask, spec: dict[str, Any], bodies: Mapping[str, Any]) -> Iterable[Operation]:
    """The operations that flask-smorest knows, with what their views say of themselves."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule.rule)
        view = app.view_functions[rule.endpoint]
        blueprint, _, name = rule.endpoint.rpartition(".")
        name = schemas.camel(name if path.startswith("/v1/") else f"{blueprint}_{name}")
        for method, says in spec["paths"].get(path, {}).items():
            if method != "parameters" and method.upper() in (rule.methods or ()):
                if rule.endpoint in bodies:
                    says["requestBody"] = {"content": {"application/json": {"schema": bodies[rule.endpoint]}}}
                scope = getattr(view, "scope", None)
                yield Operation(name, path, method, says, getattr(view, "facts", Facts()), scope)


def _is_below(path: str, others: Iterable[str]) -> bool:
    return any(path.startswith(f"{other}/") for other in others)


def _item(item: dict[str, Any]) -> dict[str, Any]:
    """A path's item with what its parameters mean, and with each operation's members in the usual order."""
    parameters = [schemas.explain(parameter) for parameter in item.pop("parameters", [])]
    order = ("tags", "operationId", "summary", "description", "security", "parameters", "requestBody", "responses")
    described = {method: {name: says[name] for name in order if name in says} for method, says in item.items()}
    return {**({"parameters": parameters} if parameters else {}), **described}
