"""The blueprint of an API's views: it parses what they read, and records what they read and answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar

import flask
import marshmallow as ma

from chassis.http import fast_load, inspection
from chassis.http.facts import record
from chassis.http.parsing import load_body, load_query

View = TypeVar("View", bound=Callable[..., flask.Response])


class Blueprint(flask.Blueprint):
    """A flask.Blueprint whose views say which schemas they read and answer with.

        @blueprint.post("/books")
        @requires("books:write")
        @blueprint.arguments(NewBook)
        @blueprint.response(201, BookView)
        def add_book(wanted: dict[str, Any]) -> Response:

    Its name and `description` become the tag of its operations in the OpenAPI document.
    """

    def __init__(self, name: str, import_name: str, *, description: str, url_prefix: str | None = None) -> None:
        super().__init__(name, import_name, url_prefix=url_prefix)
        self.description = description

    def arguments(
        self, schema: type[ma.Schema], location: Literal["body", "query"] = "body"
    ) -> Callable[[View], Callable[..., flask.Response]]:
        """Validate the body or the query of a request, and pass what it holds to the view as its first argument.

        The view raises what `parsing.load_body` or `parsing.load_query` raise. One loader serves all requests: making
        one costs as much as everything else it does for a request.
        """
        load, rule = fast_load.loader(schema()), inspection.rule_of(schema())
        read = load_query if location == "query" else load_body

        def decorate(view: View) -> Callable[..., flask.Response]:
            setattr(record(view), location, schema)

            @wraps(view)
            def parsed(**path: Any) -> flask.Response:
                return view(read(load, rule), **path)

            return parsed

        return decorate

    def response(self, status: int, schema: type[ma.Schema] | None = None) -> Callable[[View], View]:
        """Record the status code and the schema of the view's usual response, for OpenAPI. The view makes it itself."""

        def decorate(view: View) -> View:
            known = record(view)
            known.status, known.answer = status, schema
            return view

        return decorate
