"""The Flask application of the operator's page: its resources, its limits and its error pages."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, Response, current_app, make_response, render_template
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis.auth.guard import Guard
from chassis.http.problems import Problem
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.replica import Replica
from chassis.server import admin
from chassis.telemetry import logs
from order.config import Settings
from order.gateway import PaymentGateway
from order.operator import access, formatting
from order.operator.admission import MAX_BODY, Admission
from order.operator.payments import Payments
from order.operator.sessions import Sessions
from order.problems import CATALOGUE
from order.service import Orders
from order.webhooks.service import Webhooks

log = logs.get_logger()

PATH = "/operator"

NAME = "tandem-operator"


@dataclass(frozen=True, slots=True)
class Resources:
    """What the views need. Get them with `resources()`. Their connections belong to one request."""

    database: Database
    guard: Guard
    sessions: Sessions
    payments: Payments
    webhooks: Webhooks
    orders: Orders

    def close(self) -> None:
        """Close this thread's connections. The thread ends with the request."""
        self.guard.close()
        self.database.close()
        self.payments.close()


def resources() -> Resources:
    """Return the resources of the application that handles the current request."""
    found: Resources = current_app.extensions[NAME]
    return found


def create(settings: Settings, gateway: PaymentGateway) -> Flask:
    """Create the Flask application, without its views. Connects only when needed."""
    app = Flask("order.operator", static_url_path=f"{PATH}/static", static_folder="static")
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, MAX_FORM_PARTS=20, SEND_FILE_MAX_AGE_DEFAULT=0)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    database = Database(settings.database_url, "operator", statement_timeout=5.0)
    guard = Guard("order", settings, database)
    sessions = Sessions(database, guard)
    webhooks = Webhooks(database, settings.webhooks)
    lists = Replica(database, "", "operator")
    app.extensions[NAME] = Resources(
        database,
        guard,
        sessions,
        Payments(settings.payment_url, settings.payment_api_key),
        webhooks,
        # The page never waits for an outcome: its commands are sent by the relay.
        Orders(database, lists, gateway, webhooks.wake, waiting=1),
    )
    formatting.register(app)
    access.register(app, PATH, sessions)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _exception)
    return app


def wsgi(app: Flask, trusted_proxies: int) -> admin.Application:
    """Return the WSGI application: limits requests by address, closes connections after each request.

    The client's address, and whether it used TLS, are taken from the headers of that many trusted proxies.
    """
    admission = Admission(app, app.extensions[NAME].close)
    return ProxyFix(admission, x_for=trusted_proxies, x_proto=trusted_proxies) if trusted_proxies else admission


def message_page(title: str, text: str, status: int, back: str | None = None) -> Response:
    """Return a page that shows only a message, with a link to the orders and, if it is given, to the page `back`."""
    return make_response(render_template("message.html", title=title, text=text, back=back), status)


def _problem(problem: Problem) -> Response:
    kind = CATALOGUE[problem.name]
    response = message_page(kind.title, problem.detail, kind.status)
    response.headers.update(problem.headers)
    return response


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return make_response(error.get_response())
    response = message_page(error.name, error.description or "", status)
    # Such as Allow, which a 405 must have (RFC 9110, section 15.5.6).
    response.headers.update([(name, value) for name, value in error.get_headers() if name != "Content-Type"])
    return response


def _exception(error: Exception) -> Response:
    if isinstance(error, UNAVAILABLE):
        log.warning("database_unavailable", error=error)
        response = message_page(
            "The order database does not respond", "No page and no action works until it does. Try again shortly.", 503
        )
        response.headers["Retry-After"] = "1"
        return response
    log.error("unexpected", exc_info=error)
    return message_page(
        "Unexpected error", "No action was carried out partially. The log of this pod has the details.", 500
    )
