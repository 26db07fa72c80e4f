"""A service's Flask application: everything about HTTP that is the same in both services."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import uuid_utils
from flask import Flask, Response, current_app, g, json, request
from flask_smorest import Api
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis import __version__, admin, cards, docs, health, logs, metrics, openapi, pages, wire
from chassis.config import Settings
from chassis.database import DOWN, Database
from chassis.guard import Guard
from chassis.problems import Problem, from_status, unavailable

log = logs.get_logger()

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e\t]{1,512}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


@dataclass(slots=True)
class Service:
    """What a request finds in `current_app.extensions["tandem"]`."""

    name: str
    settings: Any
    database: Database
    health: health.Health
    gauges: metrics.DatabaseGauges
    admin: admin.Application
    request_log: logs.RequestLog
    guard: Guard
    parts: dict[str, Any]


class _Application(Flask):
    """Flask with a shorter answer to OPTIONS."""

    def make_default_options_response(self) -> Response:
        """204 and which methods there are; it is the same for everybody, so it needs no key."""
        response = super().make_default_options_response()
        response.status_code = 204
        del response.headers["Content-Type"]
        return response


def create_app(
    name: str,
    title: str,
    settings: Settings,
    database: Database,
    blueprints: Iterable[wire.Blueprint],
    *,
    about: str,
    webhooks: Iterable[openapi.Webhook] = (),
    migrations: str,
    parts: dict[str, Any],
) -> Flask:
    """The application `name`: its blueprints, health, problems, and in its extension `tandem` the admin port's.

    `about` and `webhooks`, the events that it sends, are for its OpenAPI document; `migrations` is the folder of
    alembic's scripts; `parts` is what the service's own views need.
    """
    logs.configure(name, settings.log_level)
    app = _Application(name, static_folder=None)
    app.url_map.merge_slashes = False  # //v1/orders is no path of ours, and no redirect to one
    app.config.update(
        MAX_CONTENT_LENGTH=wire.MAX_BODY,
        API_TITLE=title,
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    checks = health.Health(database, migrations)
    gauges = metrics.DatabaseGauges(name)
    admin_app = admin.application(settings.database_url, checks, gauges)
    request_log = logs.RequestLog(name, settings.log_level)
    guard = Guard(name, settings, database)
    app.extensions["tandem"] = Service(name, settings, database, checks, gauges, admin_app, request_log, guard, parts)
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    api = Api(app)
    openapi.prepare(app, api)
    described = list(blueprints)
    for blueprint in described:
        app.register_blueprint(blueprint)
    app.register_blueprint(docs.blueprint(lambda: openapi.document(app, api, described, about, webhooks)))
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(health.blueprint(checks))
    app.before_request(_begin)
    app.before_request(_refuse_other_spellings)
    app.before_request(_refuse_queries)
    app.after_request(_end)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _exception)
    metrics.announce(__version__)
    if settings.auth_off:
        log.warning("auth_is_off", advice="anybody who reaches this port can act for any merchant")
    return app


def service() -> Service:
    """The service that is handling the current request."""
    found: Service = current_app.extensions["tandem"]
    return found


class Answer(Response):
    """Flask's response without a search for what an answer of ours never has: a Location that is no path in ASCII."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """The headers as they are, if there is a body that goes with them."""
        return self.headers if self.status_code < 204 else super().get_wsgi_headers(environ)


def answer(
    body: str | bytes,
    status: int = 200,
    *,
    version: int | None = None,
    tagged: bool = False,
    headers: dict[str, str] | None = None,
) -> Response:
    """A JSON answer from text that is already JSON; `version` becomes its ETag, or a hash of the text does.

    `tagged` asks for the hash where it is not the answer to a GET, which always has an ETag.
    """
    data = body.encode() if isinstance(body, str) else body
    response = Answer(data, status, mimetype="application/json", headers=headers)
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
    elif tagged:
        response.add_etag()
    if request.method in ("GET", "HEAD"):
        response.add_etag()
        if "If-None-Match" in request.headers:
            response.make_conditional(request)
    return response


def onward() -> dict[str, str]:
    """The headers of this request that go with what it sets off: its id, and its trace if it has one."""
    headers = {"X-Request-Id": g.request_id}
    if g.trace_id is not None:
        headers["traceparent"] = request.headers["traceparent"]
        state = request.headers.get("tracestate", "")
        if _TRACESTATE.fullmatch(state) and not cards.has_card_number(state):
            headers["tracestate"] = state
    return headers


def _trace_id() -> str | None:
    """The id of the trace that this request is part of (W3C Trace Context), if it says so in a way that can be kept."""
    given = request.headers.get("traceparent", "")
    trace = _TRACEPARENT.fullmatch(given) if given else None
    return None if trace is None or cards.has_card_number(given) else trace[1]


def _begin() -> None:
    g.began = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    usable = _REQUEST_ID.fullmatch(given) and not cards.has_card_number(given)
    g.request_id = given if usable else str(uuid_utils.uuid7())
    g.trace_id = _trace_id()


def _refuse_other_spellings() -> None:
    """Refuse what werkzeug lets pass: a path with more than one slash before it. Raises Problem `not-found`."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise Problem("not-found", "No path begins with two slashes.")


def _refuse_queries() -> None:
    """Refuse a query where the view reads none: who sends one means something by it. Raises Problem `validation`."""
    if not request.query_string or request.method == "OPTIONS":
        return
    blueprint = current_app.blueprints.get(request.blueprint or "")
    view = current_app.view_functions.get(request.endpoint or "")
    if isinstance(blueprint, wire.Blueprint) and not getattr(view, "reads_query", False):
        wire.refuse_query(request)


def _end(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-Id"] = g.request_id
    headers["X-Content-Type-Options"] = "nosniff"
    if response.status_code in (429, 503):
        headers.setdefault("Retry-After", "1")
    if "Cache-Control" not in headers:
        # Whoever may keep an answer asks whether it still holds (ETag), and asks again with another key.
        kept = response.status_code in (200, 304) and request.method in ("GET", "HEAD")
        headers["Cache-Control"] = "private, no-cache" if kept else "no-store"
        headers["Vary"] = "Authorization, Tandem-Merchant"
    path = request.path
    if path in _QUIET:
        return response
    route = request.url_rule.rule if request.url_rule else "unmatched"
    seconds = time.perf_counter() - g.began
    method = request.method if request.method in _METHODS else "OTHER"
    metrics.answered(method, route, response.status_code)(seconds)
    ms = round(seconds * 1000, 2)
    service().request_log.write(method, route, path, response.status_code, ms, g.get("merchant"), g.get("key"))
    return response


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _problem(problem: Problem, status: int | None = None) -> Response:
    body = json.dumps(problem.body(quote(cards.mask(request.path)), g.request_id, status))
    response = Response(body, status or problem.status, mimetype="application/problem+json")
    response.headers.update(problem.headers)
    return response


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    problem = from_status(status, error.description)
    for name, value in error.get_headers(request.environ):
        if name not in ("Content-Type", "Content-Length"):
            problem.headers[name] = value
    return _problem(problem, status)


def _exception(error: Exception) -> Response:
    if isinstance(error, DOWN):
        log.warning("database_unavailable", error=error)
        return _problem(unavailable("The database of this service does not answer."))
    log.error("unexpected", exc_info=error)
    return _problem(Problem("internal-error", "An unexpected error; nothing is half done."))
