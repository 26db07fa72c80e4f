"""One operation in OpenAPI, completed with what follows from its path, its method, its scope and its view's facts."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chassis.http.facts import STANDARD_WEBHOOKS, Facts
from chassis.http.problems import Catalogue
from chassis.openapi import schemas
from chassis.openapi.components import (
    BEARER,
    OPTIONAL_KEY,
    WEBHOOK_HEADERS,
    header_references,
    parameter_references,
    security_scheme,
)
from chassis.openapi.refusals import refusals

_SUCCESSES = {
    "200": "The current state",
    "201": "Created, now or by an earlier request with the same key; this is its current state",
    "202": "In progress: this is the current state, which will change",
    "204": "Done; the response is empty",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `described` is its operation object in the document, which `describe` completes.

    `changes`: it changes a resource that has versions, so it supports If-Match.
    """

    id: str
    path: str
    method: str
    facts: Facts
    described: dict[str, Any]
    changes: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in its path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def takes_key(self) -> bool:
        """Whether it needs an Idempotency-Key."""
        is_post = self.method == "post" and self.path.startswith("/v1/")
        return is_post and self.facts.scope is not None and not self.facts.keyed

    def shows_version(self, names: Mapping[str, Any]) -> bool:
        """Return whether it shows one resource that has versions."""
        return self.method == "get" and "version" in self._members(names)

    def describe(self, components: dict[str, Any], problems: Catalogue) -> None:
        """Complete everything but the links; responses and security schemes are added to the components."""
        names = components["schemas"]
        self.described["operationId"] = self.id
        if self.facts.deprecated is not None:
            self.described["deprecated"] = True
        self.described["summary"] = self.described["summary"].rstrip(".").replace("`", "")  # plain text, not Markdown
        self._secure(components["securitySchemes"])
        if "requestBody" in self.described:
            self.described["requestBody"]["required"] = schemas.add_example(self.described["requestBody"], names)
        if self.facts.keyed:
            key = components["parameters"]["Idempotency-Key"]
            components["parameters"][OPTIONAL_KEY] = {**key, "required": False}
        headers = parameter_references(*self._headers())
        self.described["parameters"] = [*self.described.get("parameters", []), *headers]
        refused = refusals(self._problems(problems), problems, components["responses"])
        self.described["responses"] = self._answers(names) | refused

    def link(self, others: Iterable[Operation], names: Mapping[str, Any]) -> None:
        """Add links to the operations that can follow. All operations must have been described before."""
        found = {other.id: self._given(other, names) for other in others}
        links = {name: {"operationId": name, "parameters": given} for name, given in found.items() if given}
        for answer in self._successes() if links else ():
            answer["links"] = links

    def _secure(self, schemes: dict[str, Any]) -> None:
        signature = self.facts.signature
        if signature is not None:
            schemes[signature.scheme] = security_scheme(signature)
            self.described["security"] = [{signature.scheme: []}]
        elif self.facts.scope is not None:
            self.described["security"] = [{BEARER: [self.facts.scope]}]
            needs = f"Needs the scope `{self.facts.scope}`."
            self.described["description"] = "\n\n".join(filter(None, [self.described.get("description"), needs]))
        else:
            self.described["security"] = []

    def _headers(self) -> Iterable[str]:
        """Yield the names of the request headers that it supports."""
        if self.takes_key:
            yield "Idempotency-Key"
        if self.facts.keyed:
            yield OPTIONAL_KEY
        if self.facts.waits:
            yield "Prefer"
        if self.changes:
            yield "If-Match"
        if self.method == "get":
            yield "If-None-Match"
        if self.facts.scope is not None:
            yield "Tandem-Merchant"
        if self.facts.signature is STANDARD_WEBHOOKS:
            yield from WEBHOOK_HEADERS
        yield from ("X-Request-Id", "traceparent")

    def _answers(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Its successful responses by status, with headers."""
        declared = self.described["responses"]
        success = next(status for status in declared if status.startswith("2"))
        answers = {success: declared[success]}
        for status in map(str, self.facts.answers):
            answers.setdefault(status, copy.deepcopy(declared[success]))
        members = self._members(names)
        for status, answer in answers.items():
            answer["description"] = _SUCCESSES[status]
            possible = {
                "X-Request-Id": True,
                "Location": "201" in answers or success == "202",
                "ETag": self.method == "get" or "version" in members or self.facts.tagged,
                "Link": "next_cursor" in members,
                "Idempotency-Replayed": self.takes_key or self.facts.keyed,
                "Preference-Applied": self.facts.waits,
                "RateLimit": self.facts.scope is not None,
                "RateLimit-Policy": self.facts.scope is not None,
            }
            answer["headers"] = header_references(*(name for name, is_sent in possible.items() if is_sent))
        if self.method == "get":
            answers["304"] = {"$ref": "#/components/responses/not-modified"}
        return dict(sorted(answers.items()))

    def _problems(self, catalogue: Catalogue) -> list[str]:
        """Return the names of the problems that it can answer with, except those that any request can have."""
        found = [*self.facts.problems, "unavailable", "validation"]  # any unknown query parameter is refused
        if self.facts.signature is not None:
            found += ["malformed-request", "invalid-signature", "content-too-large"]
        elif "requestBody" in self.described:
            found += ["malformed-request", "content-too-large", "unsupported-media-type", "card-number"]
        if self.takes_key or self.facts.keyed:
            found += ["idempotency-key-missing", "idempotency-key-in-use", "idempotency-key-reused"]
        if self.changes:
            found += ["precondition-failed"]
        if self.facts.scope is not None:
            found += ["unauthorized", "forbidden", "too-many-requests"]
        if self.parameters:
            # A resource that a parameter names may have a problem of its own for being absent: thing-not-found.
            absent = [f"{name.removesuffix('_id').replace('_', '-')}-not-found" for name in self.parameters]
            found += ["not-found", *(name for name in absent if name in catalogue)]
        return found

    def _successes(self) -> list[dict[str, Any]]:
        return [answer for status, answer in self.described["responses"].items() if status.startswith("2")]

    def _members(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Return the members of its successful response's body."""
        for answer in self._successes():
            for content in answer.get("content", {}).values():
                found: dict[str, Any] = names[content["schema"]["$ref"].rpartition("/")[2]]["properties"]
                return found
        return {}

    def _given(self, other: Operation, names: Mapping[str, Any]) -> dict[str, str]:
        """Return the path parameters of another operation that can follow this one; {} if it cannot."""
        same = {name: f"$request.path.{name}" for name in self.parameters}
        below = other.path.startswith(f"{self.path}/{{") and len(other.parameters) == len(self.parameters) + 1
        members = self._members(names)
        if below and "id" in members:
            return {**same, other.parameters[-1]: "$response.body#/id"}
        if below and "data" in members and other.method == "get":
            return {**same, other.parameters[-1]: "$response.body#/data/0/id"}
        # After an action, the resource itself; after an item was added to a list, the list.
        around = other.path in (self.path, self.path.rpartition("/")[0])
        return same if self.method == "post" and other.method == "get" and around else {}
