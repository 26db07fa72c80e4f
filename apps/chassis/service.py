"""The Flask application that every service has: hooks, error responses, health, OpenAPI, and the objects views use."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import uuid_utils
from flask import Flask, Request, Response, current_app, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis import __version__, cards, replica
from chassis.auth.guard import Guard
from chassis.config import Settings
from chassis.http import cors, pages, parsing
from chassis.http.application import Application
from chassis.http.blueprint import Blueprint
from chassis.http.bulkhead import Bulkhead
from chassis.http.compression import compress
from chassis.http.facts import facts_of
from chassis.http.generic_problems import from_status
from chassis.http.problems import Catalogue, Problem, base_url, render, unavailable
from chassis.openapi import page
from chassis.openapi.document import Webhook, document
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.server import admin, health
from chassis.telemetry import logs, metrics, trace_context, tracing

log = logs.get_logger()

DATABASE_SECONDS = 14.0
"""How long a request may wait for the database altogether, in seconds: a caller has its answer within 15."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Service:
    """The objects that views and hooks use. `service()` returns those of the current application.

    `admin` is the application of the admin port, `pages` that of the port for the service's own pages, if there is one.
    `use_cases` are the service's own objects, by name. `deprecated` has the headers of endpoints that will go away.
    """

    name: str
    settings: Any
    database: Database
    health: health.Health
    gauges: metrics.DatabaseGauges
    pages: admin.Application
    admin: admin.Application
    request_log: logs.RequestLog
    guard: Guard
    problems: Catalogue
    use_cases: dict[str, Any]
    bulkhead: Bulkhead
    deprecated: dict[str, list[tuple[str, str]]]


def create_app(
    name: str,
    title: str,
    settings: Settings,
    database: Database,
    blueprints: Iterable[Blueprint],
    *,
    about: str,
    webhooks: Iterable[Webhook] = (),
    problems: Catalogue,
    migrations: str,
    table: str,
    use_cases: dict[str, Any],
    admin_pages: Mapping[str, admin.Application] | None = None,
) -> Flask:
    """Return the application of the service `name`. It opens no connection.

    `title`, `about` (the first paragraph of the description) and `webhooks` (the events that the service sends) are for
    its OpenAPI document. `problems` has every kind of problem that it can answer with. `migrations` is the folder of
    Alembic's scripts, and `table` one that only this service's database has. `use_cases` are the objects that the
    service's own views need. `admin_pages` maps the first segment of a path, such as "/admin", to the WSGI application
    for it and all paths below it, on the port OPERATOR_PORT or, if that is not set, on the admin port.
    """
    logs.configure(name, settings.log_level)
    Database.pooled = settings.database_pooled
    app = Application(name, static_folder=None)
    app.url_map.merge_slashes = False  # a path with two slashes is not found, instead of redirected
    app.config.update(MAX_CONTENT_LENGTH=parsing.MAX_BODY, PROPAGATE_EXCEPTIONS=False)
    checks = health.Health(database, migrations, table)
    gauges = metrics.DatabaseGauges(name)
    if settings.read_database_url:
        replica.add_gauges(gauges, settings.read_database_url)
    own_pages = admin_pages or {}
    on_admin_port = own_pages if settings.operator_port is None else {}
    admin_app = admin.application(name, settings.database_url, checks, gauges, on_admin_port)
    pages_app = admin.pages_application(name, own_pages)
    request_log = logs.RequestLog(name, settings.log_level)
    guard = Guard(name, settings, database)
    app.extensions["tandem"] = Service(
        name,
        settings,
        database,
        checks,
        gauges,
        pages_app,
        admin_app,
        request_log,
        guard,
        problems,
        use_cases,
        Bulkhead(settings.web_threads),
        {},
    )
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    tracing.instrument(app, _QUIET, _METHODS)
    described = list(blueprints)
    for blueprint in described:
        app.register_blueprint(blueprint)
    app.register_blueprint(page.blueprint(lambda: document(app, described, title, about, webhooks, problems)))
    app.register_blueprint(pages.blueprint(title, about, problems))
    app.register_blueprint(health.blueprint(checks))
    for endpoint, view in app.view_functions.items():
        known = facts_of(view)
        if known is not None and known.deprecated is not None:
            app.extensions["tandem"].deprecated[endpoint] = known.deprecated.headers()
    app.before_request(_begin)
    if settings.cors_origins:
        app.after_request(_cors)  # Flask calls it after _end, which is registered later
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
    """Return the headers for requests that this request causes: its request id and its trace context.

    They are stored with work that is done in the background.
    """
    context = g._get_current_object()
    headers = {"X-Request-Id": context.request_id}
    if context.trace_id is not None:
        headers["traceparent"] = request.headers["traceparent"]
        state = request.headers.get("tracestate", "")
        if trace_context.is_state(state):
            headers["tracestate"] = state
    return headers


def usable_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return those of the given headers that `propagated_headers` could have returned. Others are dropped."""
    headers = {}
    if _is_request_id(given.get("X-Request-Id", "")):
        headers["X-Request-Id"] = given["X-Request-Id"]
    if trace_context.trace_id(given.get("traceparent", "")) is not None:
        headers["traceparent"] = given["traceparent"]
        if trace_context.is_state(given.get("tracestate", "")):
            headers["tracestate"] = given["tracestate"]
    return headers


def _is_request_id(text: str) -> bool:
    return bool(_REQUEST_ID.fullmatch(text)) and not cards.has_card_number(text)


def _begin() -> Response | None:
    """Set the request id, the trace id, the start time and the deadline of a request; refuse what no view has to check.

    Raises Problem `unsupported-media-type` for a Content-Encoding (RFC 9110, section 15.5.16), Problem `not-found` for
    a path that begins with two slashes, and what `parsing.refuse_query` and `Bulkhead.enter` raise.
    """
    context, req = g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]
    context.began = time.perf_counter()
    given = req.headers.get("X-Request-Id", "")
    context.request_id = given if given and _is_request_id(given) else str(uuid_utils.uuid7())
    traceparent = req.headers.get("traceparent")
    context.trace_id = trace_context.trace_id(traceparent) if traceparent else None
    current = service()
    current.database.limit(DATABASE_SECONDS)
    current.bulkhead.enter(req.method)
    if "HTTP_CONTENT_ENCODING" in req.environ:
        detail = "A Content-Encoding is not supported; send the body as it is."
        raise Problem("unsupported-media-type", detail, headers={"Accept-Encoding": "identity"})
    path = req.environ["PATH_INFO"]
    if path.startswith("//"):  # werkzeug strips leading slashes
        raise Problem("not-found", "No path begins with two slashes.")
    if path == "*" and req.method == "OPTIONS":  # about the service as a whole (RFC 9110, section 9.3.7)
        methods = {method for rule in current_app.url_map.iter_rules() for method in rule.methods or ()}
        answer = Response(status=204, headers={"Allow": ", ".join(sorted(methods))})
        del answer.headers["Content-Type"]
        return answer
    if req.query_string and req.method != "OPTIONS":
        _refuse_query(req)
    return None


def _refuse_query(req: Request) -> None:
    """Refuse a query if the view reads none: to ignore it would hide a mistake of the client."""
    known = facts_of(current_app.view_functions.get(req.endpoint or ""))
    if known is not None and known.query is None:
        parsing.refuse_query(req)


_VERSION = ("Tandem-Version", __version__)

# Caches must revalidate a response (ETag), and not use it for requests with another key.
_VARY = ("Vary", "Authorization, Tandem-Merchant, Accept-Encoding")
_CACHEABLE = (("Cache-Control", "private, no-cache"), _VARY)
_NOT_CACHEABLE = (("Cache-Control", "no-store"), _VARY)


def _end(response: Response) -> Response:
    context, req = g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]
    method, status = req.method, response.status_code
    added = [("X-Request-Id", context.request_id), ("X-Content-Type-Options", "nosniff"), _VERSION]
    if "Cache-Control" not in [name for name, _ in response.headers]:
        added += _CACHEABLE if status in (200, 304) and method in ("GET", "HEAD") else _NOT_CACHEABLE
    else:
        added.append(("Vary", "Accept-Encoding"))
    current = service()
    if current.deprecated:
        added += current.deprecated.get(req.endpoint or "", [])
    response.headers.extend(added)
    if status in (429, 503):
        response.headers.setdefault("Retry-After", "1")
    if "HTTP_ACCEPT_ENCODING" in req.environ:
        compress(req, response)
    current.bulkhead.leave()
    path = req.path
    if path in _QUIET:
        return response
    route = req.url_rule.rule if req.url_rule else "unmatched"
    seconds = time.perf_counter() - context.began
    method = method if method in _METHODS else "OTHER"
    metrics.count_request(method, route, status, seconds)
    current.request_log.write(context, method, route, path, status, seconds)
    return response


def _cors(response: Response) -> Response:
    cors.allow(service().settings.cors_origins, request, response)
    return response


def _problem(problem: Problem, status: int | None = None) -> Response:
    instance = quote(cards.masked_path(request.path))
    current = service()
    base = current.settings.public_url or base_url(request.environ)
    rendered = render(problem, current.problems, base=base, instance=instance, request_id=g.request_id, status=status)
    return Response(rendered.body, rendered.status, rendered.headers)


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    problem = from_status(status)
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
