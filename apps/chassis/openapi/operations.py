"""What OpenAPI says of one operation, derived from its path, its method, its scope and the facts of its view."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chassis.http.facts import STANDARD_WEBHOOKS, Facts
from chassis.http.problems import CATALOGUE
from chassis.openapi import parts, schemas


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `says` is its part of the document, which is completed here.

    `changes`: it changes something that has versions, so If-Match is heeded.
    """

    id: str
    path: str
    method: str
    facts: Facts
    says: dict[str, Any]
    changes: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in its path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def takes_key(self) -> bool:
        """Whether it needs an Idempotency-Key."""
        return self.method == "post" and self.path.startswith("/v1/") and self.facts.scope is not None

    def shows_version(self, names: Mapping[str, Any]) -> bool:
        """Whether it shows one thing that has versions."""
        return self.method == "get" and "version" in self._members(names)

    def describe(self, components: dict[str, Any]) -> None:
        """Say everything but the links; what it refers to is added to the components."""
        names = components["schemas"]
        self.says["operationId"] = self.id
        self.says["summary"] = self.says["summary"].rstrip(".").replace("`", "")  # it is plain text, not Markdown
        self._secure(components["securitySchemes"])
        if "requestBody" in self.says:
            self.says["requestBody"]["required"] = schemas.exemplify(self.says["requestBody"], names)
        headers = [{"$ref": f"#/components/parameters/{name}"} for name in self._headers()]
        self.says["parameters"] = [*self.says.get("parameters", []), *headers]
        self.says["responses"] = self._answers(names) | parts.refusals(self._problems(), components["responses"])

    def link(self, others: Iterable[Operation], names: Mapping[str, Any]) -> None:
        """Say what can be done next with what it has answered; once all operations are described."""
        found = {other.id: self._given(other, names) for other in others}
        links = {name: {"operationId": name, "parameters": given} for name, given in found.items() if given}
        for answer in self._successes() if links else ():
            answer["links"] = links

    def _secure(self, schemes: dict[str, Any]) -> None:
        signature = self.facts.signature
        if signature is not None:
            schemes[signature.scheme] = parts.security_scheme(signature)
            self.says["security"] = [{signature.scheme: []}]
        elif self.facts.scope is not None:
            self.says["security"] = [{parts.BEARER: [self.facts.scope]}]
            needs = f"Needs the scope `{self.facts.scope}`."
            self.says["description"] = "\n\n".join(filter(None, [self.says.get("description"), needs]))
        else:
            self.says["security"] = []

    def _headers(self) -> Iterable[str]:
        """The names of the header parameters that it understands."""
        if self.takes_key:
            yield "Idempotency-Key"
        if self.facts.waits:
            yield "Prefer"
        if self.changes:
            yield "If-Match"
        if self.method == "get":
            yield "If-None-Match"
        if self.facts.scope is not None:
            yield "Tandem-Merchant"
        if self.facts.signature is STANDARD_WEBHOOKS:
            yield from parts.WEBHOOK_HEADERS
        yield from ("X-Request-Id", "traceparent")

    def _answers(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """Its successes by status, with headers and examples."""
        declared = self.says["responses"]
        success = next(status for status in declared if status.startswith("2"))
        answers = {success: declared[success]}
        for status in map(str, self.facts.answers):
            answers.setdefault(status, copy.deepcopy(declared[success]))
        members = self._members(names)
        for status, answer in answers.items():
            answer["description"] = parts.SUCCESSES[status]
            wanted = {
                "X-Request-Id": True,
                "Location": "201" in answers or success == "202",
                "ETag": self.method == "get" or "version" in members or self.facts.tagged,
                "Link": "next_cursor" in members,
                "Idempotency-Replayed": self.takes_key,
                "Preference-Applied": self.facts.waits,
                "RateLimit": self.facts.scope is not None,
                "RateLimit-Policy": self.facts.scope is not None,
            }
            headers = [name for name, is_sent in wanted.items() if is_sent]
            answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
            if "content" in answer:
                schemas.exemplify(answer, names, self.facts.answers.get(int(status), {}))
        if self.method == "get":
            answers["304"] = {"$ref": "#/components/responses/not-modified"}
        return dict(sorted(answers.items()))

    def _problems(self) -> list[str]:
        """The names of the problems that it can answer with, those aside that any request can have."""
        found = [*self.facts.problems, "unavailable", "validation"]  # no query is taken but what is described
        if self.facts.signature is not None:
            found += ["malformed-request", "invalid-signature", "content-too-large"]
        elif "requestBody" in self.says:
            found += ["malformed-request", "content-too-large", "unsupported-media-type", "card-number"]
        if self.takes_key:
            found += ["idempotency-key-missing", "idempotency-key-in-use", "idempotency-key-reused"]
        found += ["precondition-failed"] if self.changes else []
        if self.facts.scope is not None:
            found += ["unauthorized", "forbidden", *(name for name, kind in CATALOGUE.items() if kind.status == 429)]
        if self.parameters:
            # The id of a thing, whose absence may have a problem of its own.
            things = tuple(f"{name.removesuffix('_id').replace('_', '-')}-not-found" for name in self.parameters)
            found += ["not-found", *(name for name in CATALOGUE if name.endswith(things))]
        return found

    def _successes(self) -> list[dict[str, Any]]:
        return [answer for status, answer in self.says["responses"].items() if status.startswith("2")]

    def _members(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The members of what it answers with."""
        for answer in self._successes():
            for content in answer.get("content", {}).values():
                found: dict[str, Any] = names[content["schema"]["$ref"].rpartition("/")[2]]["properties"]
                return found
        return {}

    def _given(self, other: Operation, names: Mapping[str, Any]) -> dict[str, str]:
        """The parameters with which another operation is about what this one has answered; empty if it is not."""
        same = {name: f"$request.path.{name}" for name in self.parameters}
        below = other.path.startswith(f"{self.path}/{{") and len(other.parameters) == len(self.parameters) + 1
        members = self._members(names)
        if below and "id" in members:
            return {**same, other.parameters[-1]: "$response.body#/id"}
        if below and "data" in members and other.method == "get":
            return {**same, other.parameters[-1]: "$response.body#/data/0/id"}
        # After an action, the thing itself; after something was added, what there is of its kind.
        around = other.path in (self.path, self.path.rpartition("/")[0])
        return same if self.method == "post" and other.method == "get" and around else {}
