"""A service's Flask application: what is the same for every service."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import uuid_utils
from flask import Flask, Request, Response, current_app, g, json, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis import __version__, cards
from chassis.auth.guard import Guard
from chassis.config import Settings
from chassis.http import pages, parsing
from chassis.http.answers import Application
from chassis.http.problems import Problem, from_status, unavailable
from chassis.openapi import document as openapi
from chassis.openapi import page
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.server import admin, health
from chassis.telemetry import logs, metrics, trace_context, tracing

log = logs.get_logger()

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Service:
    """What views and hooks find in `current_app.extensions["tandem"]`."""

    name: str
    settings: Any
    database: Database
    health: health.Health
    gauges: metrics.DatabaseGauges
    admin: admin.Application
    request_log: logs.RequestLog
    guard: Guard
    use_cases: dict[str, Any]


def create_app(
    name: str,
    title: str,
    settings: Settings,
    database: Database,
    blueprints: Iterable[parsing.Blueprint],
    *,
    about: str,
    webhooks: Iterable[openapi.Webhook] = (),
    migrations: str,
    use_cases: dict[str, Any],
    admin_pages: Mapping[str, admin.Application] | None = None,
) -> Flask:
    """Create the application of the service `name`, with its blueprints, health, OpenAPI document and error handling.

    `about` describes the service, and `webhooks` the events that it sends, in its OpenAPI document. `migrations` is the
    folder of Alembic's scripts. `use_cases` are objects for the service's own views, by name. `admin_pages` are further
    applications of the admin port, by path.
    """
    logs.configure(name, settings.log_level)
    app = Application(name, static_folder=None)
    app.url_map.merge_slashes = False  # a path with two slashes is unknown, not a redirect
    app.config.update(
        MAX_CONTENT_LENGTH=parsing.MAX_BODY,
        API_TITLE=title,
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    checks = health.Health(database, migrations)
    gauges = metrics.DatabaseGauges(name)
    admin_app = admin.application(settings.database_url, checks, gauges, admin_pages or {})
    request_log = logs.RequestLog(name, settings.log_level)
    guard = Guard(name, settings, database)
    app.extensions["tandem"] = Service(
        name, settings, database, checks, gauges, admin_app, request_log, guard, use_cases
    )
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    tracing.instrument(app, _QUIET, _METHODS)
    api = Api(app)
    openapi.prepare(app, api)
    described = list(blueprints)
    for blueprint in described:
        app.register_blueprint(blueprint)
    app.register_blueprint(page.blueprint(lambda: openapi.document(app, api, described, about, webhooks)))
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(health.blueprint(checks))
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _exception)
    metrics.set_build(__version__)
    if settings.auth_off:
        log.warning("auth_is_off", advice="anybody who can reach this port can act for any merchant")
    return app


def service() -> Service:
    """Return the service that handles the current request."""
    found: Service = current_app.extensions["tandem"]
    return found


def propagated_headers() -> dict[str, str]:
    """Return the headers for later requests that continue this one: the request id and the trace context.

    Work for the background is stored with them.
    """
    context = g._get_current_object()
    headers = {"X-Request-Id": context.request_id}
    if context.trace_id is not None:
        headers["traceparent"] = request.headers["traceparent"]
        state = request.headers.get("tracestate", "")
        if trace_context.is_state(state):
            headers["tracestate"] = state
    return headers


def _begin() -> None:
    """Start a request. Raises Problem `not-found`, or `validation` for an unexpected query."""
    context, req = g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]
    context.began = time.perf_counter()
    given = req.headers.get("X-Request-Id", "")
    usable = given and _REQUEST_ID.fullmatch(given) and not cards.has_card_number(given)
    context.request_id = given if usable else str(uuid_utils.uuid7())
    traceparent = req.headers.get("traceparent")
    context.trace_id = trace_context.trace_id(traceparent) if traceparent else None
    if req.environ["PATH_INFO"].startswith("//"):  # werkzeug strips leading slashes
        raise Problem("not-found", "No path begins with two slashes.")
    if req.query_string and req.method != "OPTIONS":
        _refuse_query(req)


def _refuse_query(req: Request) -> None:
    """Raise Problem `validation` for a query if the view does not read one, instead of ignoring it."""
    blueprint = current_app.blueprints.get(req.blueprint or "")
    view = current_app.view_functions.get(req.endpoint or "")
    if isinstance(blueprint, parsing.Blueprint) and not getattr(view, "reads_query", False):
        parsing.refuse_query(req)


# Caches must revalidate a response (ETag), and not use it for requests with another key.
_VARY = ("Vary", "Authorization, Tandem-Merchant")
_CACHEABLE = (("Cache-Control", "private, no-cache"), _VARY)
_NOT_CACHEABLE = (("Cache-Control", "no-store"), _VARY)


def _end(response: Response) -> Response:
    context, req = g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]
    method, status = req.method, response.status_code
    added = [("X-Request-Id", context.request_id), ("X-Content-Type-Options", "nosniff")]
    if "Cache-Control" not in [name for name, _ in response.headers]:
        added += _CACHEABLE if status in (200, 304) and method in ("GET", "HEAD") else _NOT_CACHEABLE
    response.headers.extend(added)
    if status in (429, 503):
        response.headers.setdefault("Retry-After", "1")
    path = req.path
    if path in _QUIET:
        return response
    route = req.url_rule.rule if req.url_rule else "unmatched"
    seconds = time.perf_counter() - context.began
    method = method if method in _METHODS else "OTHER"
    metrics.count_request(method, route, status, seconds)
    service().request_log.write(context, method, route, path, status, seconds)
    return response


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
    if isinstance(error, UNAVAILABLE):
        log.warning("database_unavailable", error=error)
        return _problem(unavailable("The database of this service does not respond."))
    log.error("unexpected", exc_info=error)
    return _problem(Problem("internal-error", "An unexpected error. No change was applied in part."))
