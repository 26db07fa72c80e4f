"""A view gets what its schema loads, and its decorators record what OpenAPI needs to know."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from flask import Flask, Response
from marshmallow import fields

from chassis.auth.keyring import requires
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts, facts_of
from chassis.http.fields import PageSize, Schema
from chassis.http.problems import Problem

ID = "0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70"


class Thing(Schema):
    name = fields.String(required=True)


class Query(Schema):
    limit = PageSize()


blueprint = Blueprint("things", __name__, description="Things")


@blueprint.post("/things/<uuid:thing_id>")
@blueprint.arguments(Thing)
@facts("not-found", waits=True)
@blueprint.response(201, Thing)
def put_thing(wanted: dict[str, Any], thing_id: UUID) -> Response:
    """Put a thing."""
    return Response(f"{thing_id} is {wanted['name']}")


@blueprint.get("/things")
@requires("things:read")
@blueprint.arguments(Query, location="query")
@blueprint.response(200, Thing)
def list_things(query: dict[str, Any]) -> Response:
    """List things."""
    return Response(str(query["limit"]))


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    made.register_blueprint(blueprint)
    made.config["TESTING"] = True
    return made


def test_a_view_gets_the_body_that_its_schema_loads_and_the_parameters_of_its_path(app: Flask) -> None:
    assert app.test_client().post(f"/things/{ID}", json={"name": "tea"}).text == f"{ID} is tea"


def test_a_body_that_does_not_fit_never_reaches_the_view(app: Flask) -> None:
    with pytest.raises(Problem) as refused:
        app.test_client().post(f"/things/{ID}", json={"name": "tea", "size": 1})
    assert (refused.value.name, refused.value.errors) == (
        "validation",
        [{"pointer": "/size", "detail": "Unknown field."}],
    )


def test_every_decorator_records_what_it_was_given() -> None:
    put, listed = facts_of(put_thing), facts_of(list_things)
    assert put is not None
    assert (put.body, put.query, put.status, put.answer) == (Thing, None, 201, Thing)
    assert (put.problems, put.waits, put.scope) == (("not-found",), True, None)
    assert listed is not None
    assert (listed.body, listed.query, listed.status, listed.scope) == (None, Query, 200, "things:read")
    assert facts_of(test_every_decorator_records_what_it_was_given) is None
