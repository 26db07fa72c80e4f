"""The OpenAPI documents are valid and complete, and their examples match their schemas."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from chassis.openapi.schemas import sample
from ci.generate import openapi
from tests.support.catalogues import CATALOGUES
from tests.support.openapi import Document, faults, operations, resolve

SERVICES = ["order", "payment"]
DOCUMENTS = [f"{service}{part}" for service in SERVICES for part in ("", "-webhooks")]


@cache
def texts() -> dict[str, str]:
    return {path.stem: text for path, text in openapi.texts().items()}


@pytest.fixture(params=SERVICES)
def document(request: pytest.FixtureRequest) -> Document:
    found: Document = json.loads(texts()[request.param])
    return found


def parts(thing: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a JSON value and all values in it, each with its path."""
    yield where, thing
    members = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    for key, value in members:
        yield from parts(value, f"{where}/{key}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_document_is_up_to_date(name: str) -> None:
    assert (openapi.FOLDER / f"{name}.json").read_text() == texts()[name], "to regenerate it: make openapi"


def test_parallel_first_requests_get_the_same_document() -> None:
    for application in openapi.applications().values():
        together = threading.Barrier(8)

        def ask(application: Flask = application, together: threading.Barrier = together) -> tuple[int, str]:
            together.wait(10)
            answer = application.test_client().get("/openapi.json")
            return answer.status_code, answer.get_data(as_text=True)

        with ThreadPoolExecutor(8) as threads:
            answers = [asked.result() for asked in [threads.submit(ask) for _ in range(8)]]
        assert answers[0][0] == 200
        assert len(set(answers)) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_openapi(name: str) -> None:
    document = json.loads(texts()[name])
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_operation_documents_security_parameters_and_errors(document: Document) -> None:
    assert len(operations(document)) == sum(len(set(item) - {"parameters"}) for item in document["paths"].values())
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    for name, (path, method, says) in operations(document).items():
        assert says["summary"], name
        assert set(says["tags"]) <= set(tags), name
        assert "security" in says, name
        if says["tags"] == ["service"]:
            continue
        assert "default" in says["responses"], name
        assert "503" in says["responses"], name
        given = {parameter["name"] for parameter in (resolve(document, given) for given in says["parameters"])}
        assert {"X-Request-Id", "traceparent"} <= given
        with_key = says["security"] and "bearer" in says["security"][0]
        needs_key = method == "post" and path.startswith("/v1/") and bool(with_key)
        assert ("Idempotency-Key" in given) == (needs_key or name == "labelOrder"), name
        if with_key:
            assert says["security"][0]["bearer"][0] in says["description"]
            assert {"401", "403"} <= set(says["responses"]), name
        if method == "get":
            assert "If-None-Match" in given, name
            assert "304" in says["responses"], name
        if "{" in path:
            assert "404" in says["responses"], name


def test_every_body_has_a_schema_and_a_matching_example(document: Document) -> None:
    """A response of success is shown by the examples of its members, so that nothing is said twice."""
    seen = 0
    for name, (_, _, says) in operations(document).items():
        bodies = [says.get("requestBody", {}), *(resolve(document, answer) for answer in says["responses"].values())]
        for body in bodies if says["tags"] != ["service"] else []:
            for media_type, content in body.get("content", {}).items():
                example = content.get("example") or sample(content["schema"], document["components"]["schemas"])
                assert example or content["schema"]["$ref"].endswith("/Nothing"), (name, media_type)
                assert faults(document, content["schema"], example, closed=True) == [], name
                seen += 1
    assert seen > 100


def test_members_of_responses_may_get_new_values(document: Document) -> None:
    """A client that was generated from the document must not break by a status, type or currency of a later release."""
    answered = [
        (where, part)
        for name, schema in document["components"]["schemas"].items()
        if name not in sent(document) | {"Currency", "PaymentEvent"}
        for where, part in parts(schema, name)
        if isinstance(part, dict)
    ]
    assert [where for where, part in answered if "enum" in part or str(part.get("$ref")).endswith("/Currency")] == []
    known = [part for _, part in answered if "x-extensible-enum" in part]
    assert len(known) >= 5
    assert all(value in part["description"] for part in known for value in part["x-extensible-enum"])


def test_members_of_requests_have_no_default_keyword(document: Document) -> None:
    """Generators would make such a member required."""
    assert [name for name in sent(document) if '"default"' in json.dumps(document["components"]["schemas"][name])] == []


def test_every_example_of_a_member_matches_its_schema(document: Document) -> None:
    found = [
        (where, schema)
        for where, schema in parts(document["components"]["schemas"])
        if isinstance(schema, dict) and "examples" in schema and not where.endswith("properties")
    ]
    assert len(found) > 30
    for where, schema in found:
        for example in schema["examples"]:
            assert faults(document, schema, example) == [], where


def sent(document: Document) -> set[str]:
    """Return the names of the schemas of request bodies, without those of events."""
    bodies = [says["requestBody"] for _, _, says in operations(document).values() if "requestBody" in says]
    names = document["components"]["schemas"]
    found = set[str]()
    todo: list[Any] = [body for body in bodies if "PaymentEvent" not in str(body)]
    while todo:
        for where, part in list(parts(todo.pop())):
            name = str(part).rpartition("/")[2]
            if where.endswith("/$ref") and name not in found:
                found.add(name)
                todo.append(names[name])
    return found - {"Currency"}


def test_members_of_requests_have_limits_and_unknown_members_are_rejected(document: Document) -> None:
    assert len(sent(document)) >= 5
    for name in sent(document):
        schema = document["components"]["schemas"][name]
        assert schema["additionalProperties"] is False, name
        for member, says in schema["properties"].items():
            if says.get("type") == "string":
                assert {"maxLength", "enum", "format"} & set(says), (name, member)
            if says.get("type") == "integer":
                assert {"minimum", "maximum"} <= set(says), (name, member)


def test_members_of_responses_are_required_and_more_may_be_added_later(document: Document) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        if name.endswith(("View", "List")):
            assert set(schema["required"]) == set(schema["properties"]), name
            assert "additionalProperties" not in schema, name


def test_links_name_existing_operations_and_parameters(document: Document) -> None:
    known = operations(document)
    linked = set()
    for _, _, says in known.values():
        for answer in says["responses"].values():
            for name, link in answer.get("links", {}).items():
                path = known[link["operationId"]][0]
                assert set(link["parameters"]) == set(re.findall(r"{(\w+)}", path)), name
                linked.add(link["operationId"])
    made = {"placeOrder": "order_id", "createPayment": "payment_id"}
    created, parameter = next((name, found) for name, found in made.items() if name in known)
    wanted = {name for name, (path, _, _) in known.items() if path.startswith("/v1/") and f"{{{parameter}}}" in path}
    direct = {name for name in wanted if known[name][0].count("{") == 1}
    assert direct <= set(known[created][2]["responses"]["201"]["links"])
    assert wanted <= linked


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_component_is_used_and_there(name: str) -> None:
    document = json.loads(texts()[name])
    used = {str(part) for where, part in parts(document) if where.endswith("/$ref")}
    for where, part in parts(document):
        if where.endswith("/security"):
            used |= {f"#/components/securitySchemes/{scheme}" for needs in part for scheme in needs}
    there = {f"#/components/{kind}/{name}" for kind, members in document["components"].items() for name in members}
    assert there == used


@pytest.mark.parametrize("service", SERVICES)
def test_a_document_lists_the_problems_of_its_own_service_only(service: str) -> None:
    document, catalogue = json.loads(texts()[service]), CATALOGUES[service]
    about = document["components"]["schemas"]["Problem"]["properties"]["type"]["description"]
    assert ", ".join(catalogue) in about
    (parameter,) = document["paths"]["/problems/{name}"]["get"]["parameters"]
    assert parameter["schema"]["enum"] == list(catalogue)
    for _, _, says in operations(document).values():
        for status, answer in says["responses"].items():
            named = re.findall(r"`([a-z-]+)`", answer.get("description", "")) if "$ref" in answer else []
            assert all(catalogue[problem].status == int(status) for problem in named)
            assert named or status in ("304", "default") or status < "400" or says["tags"] == ["service"], status
    (other,) = CATALOGUES.keys() - {service}
    for foreign in CATALOGUES[other].keys() - catalogue.keys():
        assert f"/problems/{foreign}" not in texts()[service]
        assert f"`{foreign}`" not in texts()[service]


def test_signed_events_are_documented_by_both_services() -> None:
    documents = {name: json.loads(text) for name, text in texts().items()}
    event = documents["payment-webhooks"]["webhooks"]["payment.updated"]["post"]
    example = event["requestBody"]["content"]["application/json"]["example"]
    assert (
        faults(documents["payment-webhooks"], event["requestBody"]["content"]["application/json"]["schema"], example)
        == []
    )
    _, _, taken = operations(documents["order"])["receivePaymentEvent"]
    assert faults(documents["order"], taken["requestBody"]["content"]["application/json"]["schema"], example) == []
    assert event["security"] == taken["security"] == [{"webhookSignature": []}]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_schema_has_a_member_of_its_own_name(name: str) -> None:
    """openapi-python-client would write a class whose method uses one variable for both."""
    schemas = json.loads(texts()[name])["components"]["schemas"]
    members = {name: schema.get("properties", {}) for name, schema in schemas.items()}
    assert [name for name in schemas if re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() in members[name]] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_object_with_members_has_a_name(name: str) -> None:
    """Generators would invent one, such as ProblemErrorsInner. They make no type of a condition (if, then, else)."""
    document = json.loads(texts()[name])
    names = [f"/components/schemas/{name}" for name in document["components"]["schemas"]]
    found = [
        where for where, part in parts(document) if isinstance(part, dict) and isinstance(part.get("properties"), dict)
    ]
    named = (*names, *(f"{name}/{word}" for name in names for word in ("if", "then", "else")))
    assert [where for where in found if where not in named and not where.endswith("/properties")] == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_of_webhooks_has_the_members_that_tools_require(service: str) -> None:
    """openapi-python-client requires paths, and Redocly servers."""
    document = json.loads(texts()[f"{service}-webhooks"])
    assert document["paths"] == {}
    assert document["servers"] != []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_pattern_describes_the_whole_string(name: str) -> None:
    """Some generated clients match a pattern from the start of the string, as Python's re.match does."""
    found = [
        part["pattern"] for _, part in parts(json.loads(texts()[name])) if isinstance(part, dict) and "pattern" in part
    ]
    assert [pattern for pattern in found if not re.fullmatch(r"\^.*\$", pattern)] == []
